"""Teachers of all kinds under one student."""

import json
import sys

import pytest
import torch
from torch import nn

from edgeseg import pipeline
from edgeseg.committee import Renormalised, committee
from edgeseg.data import open_dataset
from edgeseg.errors import DataError, UserError
from edgeseg.outputs import Outputs
from edgeseg.train import Options

MODULE = """
import torch
from torch import nn

class Colours(nn.Module):
    classes = ("box", "sky", "road")
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def forward(self, images):
        red, green, blue = images.split(1, 1)
        return torch.cat((9 * (red - blue), 9 * (blue - red), 0.5 + 0 * red), 1)[..., ::4, ::4]
"""


class Answers(nn.Module):
    stride = 1

    def forward(self, images):
        return Outputs(images)


def test_images_are_normalised_as_the_teacher_knows_them():
    pixels = torch.rand(1, 3, 4, 4)
    as_students = (pixels - 128 / 255) / (128 / 255)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.1]).view(1, 3, 1, 1)
    out = Renormalised(Answers(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.1))(as_students).logits
    torch.testing.assert_close(out, (pixels - mean) / std, atol=1e-5, rtol=1e-5)


@pytest.fixture
def colours(tmp_path, monkeypatch):
    (tmp_path / "colours_teacher.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colours_teacher", raising=False)
    return "python:colours_teacher:Colours"


def test_a_run_and_a_network_from_elsewhere_teach_together(runs, drawn, colours, tmp_path):
    run = pipeline.distill(
        teacher=[runs / "teacher", colours],
        student="fast-scnn",
        network={"width": 0.25},
        data=drawn,
        out=tmp_path / "run",
        options=Options(steps=1, batch_size=4, crop=(96, 128)),
    )
    parents = run.facts["parents"]["teacher"]
    assert [p["path"] for p in parents] == [str(runs / "teacher"), colours]
    assert all(len(p["weights_sha256"]) == 64 for p in parents)
    assert set(json.loads((run.path / "log.jsonl").read_text())) == {"step", "cross-entropy", "kl", "cwd"}


def test_what_it_says_is_in_the_classes_of_the_data(drawn, colours):
    dataset = open_dataset(drawn, "val")
    found = committee([colours], dataset)
    sample = dataset[0]
    image = (torch.tensor(sample.image).permute(2, 0, 1)[None].float() - 128) / 128
    labels = found.network(image).logits.argmax(1)[0].numpy()
    assert (labels == sample.mask[::4, ::4]).mean() > 0.95


def test_other_classes_are_refused_with_both_sets(drawn, colours, tmp_path):
    dataset = open_dataset(drawn, "val")
    (tmp_path / "colours_teacher.py").write_text(MODULE.replace('"box"', '"crate"'))
    with pytest.raises(DataError, match=r"crate, sky, road; folder:.* has sky, road, box"):
        committee([colours], dataset)
    table = tmp_path / "map.toml"
    table.write_text('[classes]\ncrate = "box"\nsky = "sky"\nroad = "road"\n')
    assert committee([colours], dataset, classes=table).network(torch.zeros(1, 3, 32, 32)).logits.shape[1] == 3
    with pytest.raises(UserError, match="at least one --teacher"):
        committee([], dataset)
