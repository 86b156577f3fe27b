"""Which class becomes which, by hand."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.class_map import ClassMap, Mapped, known_to_any, positions
from edgeseg.errors import DataError
from edgeseg.outputs import Outputs

OURS = ("road", "vehicle")
THEIRS = ("car", "road", "truck", "sky")


def written(folder: Path, text: str) -> ClassMap:
    (folder / "map.toml").write_text(text)
    return ClassMap.read(folder / "map.toml")


def of(theirs, given=None, ours=OURS):
    return positions("hf:x", theirs, "folder:y", ours, given)


def test_the_same_classes_need_no_map():
    assert of(OURS) is None


def test_the_same_classes_in_another_order_are_told_apart_by_name():
    assert of(("vehicle", "road")) == [1, 0]


def test_other_classes_need_a_map_and_both_are_listed():
    with pytest.raises(
        DataError, match=r"hf:x knows the classes car, road, truck, sky; folder:y has road, vehicle: .*--classes"
    ):
        of(THEIRS)
    with pytest.raises(DataError, match=r"it does not say.*names = "):
        of(())


def test_a_map_says_what_becomes_of_each(tmp_path):
    given = written(tmp_path, '[classes]\ncar = "vehicle"\ntruck = "vehicle"\nroad = "road"\n')
    assert of(THEIRS, given) == [1, 0, 1, None]
    named = written(tmp_path, 'names = ["vehicle", "sky", "road"]\n')
    assert of((), named) == [1, None, 0], "without a table, classes of one name are one"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[classes]\ncar = "vehicle"\n', "no class of the teacher becomes road"),
        ('[classes]\ncar = "vehicle"\nroad = "raod"\n', "'raod', which is no class of the dataset"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(text, says, tmp_path):
    with pytest.raises(DataError, match=says):
        of(THEIRS, written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("names = [", "is not TOML"),
        ("name = []", "has a key 'name'"),
        ("names = [1]", "different names"),
        ('names = ["a", "a"]', "different names"),
        ("classes = 3", "must hold lines"),
        ("[classes]\ncar = 3", "must hold lines"),
    ],
)
def test_a_broken_file_is_told(text, says, tmp_path):
    with pytest.raises(DataError, match=says):
        written(tmp_path, text)
    with pytest.raises(DataError, match="does not exist"):
        ClassMap.read(tmp_path / "none.toml")


def test_a_line_about_an_unknown_class_is_a_misspelt_one(tmp_path):
    given = written(tmp_path, '[classes]\ncra = "vehicle"\n')
    with pytest.raises(DataError, match="'cra'"):
        known_to_any(given, [OURS, THEIRS])
    known_to_any(written(tmp_path, '[classes]\ncar = "vehicle"\n'), [OURS, THEIRS])


class Answers(nn.Module):
    stride = 1

    def forward(self, images):
        return Outputs(images)


def test_probabilities_that_become_one_class_are_summed():
    logits = torch.tensor([1.0, 2.0, 0.5, 3.0]).view(1, 4, 1, 1)
    out = Mapped(Answers(), [1, 0, 1, None], 2)(logits).logits
    p = torch.tensor([1.0, 2.0, 0.5, 3.0]).softmax(0)
    expected = torch.stack((p[1], p[0] + p[2])) / (p[0] + p[1] + p[2])  # as if there were no sky
    torch.testing.assert_close(out.softmax(1).flatten(), expected)
    swapped = Mapped(Answers(), [1, 0, 2, 3], 4)(logits).logits
    assert torch.equal(swapped.flatten(), torch.tensor([2.0, 1.0, 0.5, 3.0])), "one to one, logits are what they were"
    assert F.softmax(out, 1).sum() == pytest.approx(1)
    with pytest.raises(DataError, match="has 4 classes, and 3 names"):
        Mapped(Answers(), [0, 1, 2], 3)(logits)
