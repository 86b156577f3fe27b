"""Training on frames without labels: everywhere, resumed to the same weights, and without a look at any label."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgeseg import pipeline
from edgeseg.augment import Augment
from edgeseg.batches import Batches, Footage
from edgeseg.data import open_dataset
from edgeseg.errors import UserError
from edgeseg.recipes.segmentation import MEAN, STD, batches
from edgeseg.train import Event, Options

SHORT = {"batch_size": 2, "crop": (64, 96)}
METHODS = ("mean-teacher=1,mix=classmix,ramp=0.5", "unimatch=1,threshold=0.4")
SMALL = {"network": {"width": 0.25}, "loss": ["kl=1"]}


def same(a: Path, b: Path) -> bool:
    one, other = (load_file(run / "weights.safetensors") for run in (a, b))
    return all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def folder(drawn: str, tmp_path: Path) -> Path:
    """A copy of the drawn frames, the first four of train named in ``few.txt``."""
    root = Path(shutil.copytree(drawn.partition(":")[2], tmp_path / "data"))
    (root / "few.txt").write_text("".join(f"train/{i:02d}\n" for i in range(4)))
    return root


def specs(root: Path) -> dict[str, str]:
    few = root / "few.txt"
    return {"data": f"folder:{root}?train={few}", "unlabelled": f"folder:{root}?train-without={few}"}


def distill(root: Path, runs: Path, out: Path, **more: object):
    options = Options(**{"steps": 4, **SHORT, **more.pop("options", {})})
    return pipeline.distill(
        teacher=[runs / "teacher"], student="ddrnet-23-slim", semi=METHODS, out=out, options=options, **SMALL,
        **{**specs(root), **more},
    )  # fmt: skip


def test_labels_of_footage_change_nothing(folder, runs, tmp_path):
    distill(folder, runs, tmp_path / "with")
    for mask in sorted((folder / "masks" / "train").iterdir())[4:]:
        Image.fromarray(np.random.default_rng(0).integers(0, 3, np.asarray(Image.open(mask)).shape, np.uint8)).save(
            mask
        )
    distill(folder, runs, tmp_path / "corrupted")
    assert same(tmp_path / "with", tmp_path / "corrupted")


def test_its_frames_do(folder, runs, tmp_path):
    distill(folder, runs, tmp_path / "with")
    for image in sorted((folder / "images" / "train").iterdir())[4:]:
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    distill(folder, runs, tmp_path / "changed")
    assert not same(tmp_path / "with", tmp_path / "changed")


def test_an_interrupted_run_resumes_to_the_same_weights(folder, runs, tmp_path):
    def stop(event: Event) -> None:
        if event.losses and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    distill(folder, runs, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        distill(folder, runs, tmp_path / "cut", listen=stop)
    distill(folder, runs, tmp_path / "cut", options={"resume": True})
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_teachers_and_quantized_networks_learn_so_too(folder, runs, tmp_path):
    options = Options(steps=2, **SHORT)
    run = pipeline.train(
        model="unet", network={"width": 8, "stem_stride": 4}, semi=METHODS, out=tmp_path / "teacher", options=options,
        **specs(folder),
    )  # fmt: skip
    assert run.facts["recipe"]["batches"]["footage"]["frames"] == 8
    assert [m[1]["call"] for m in run.facts["recipe"]["objective"]["semi"]] == [
        "edgeseg.semi.mean_teacher:mean_teacher",
        "edgeseg.semi.unimatch:unimatch",
    ]
    quantized = pipeline.qat(
        runs / "student", teacher=[runs / "teacher"], semi=METHODS, out=tmp_path / "qat", options=options,
        **specs(folder),
    )  # fmt: skip
    line = json.loads((quantized.path / "log.jsonl").read_text().splitlines()[-1])
    assert {"mean-teacher", "unimatch", "kl"} <= set(line)


def test_an_images_folder_is_footage(folder, runs, tmp_path):
    images = f"images:{folder / 'images' / 'train'}"
    assert distill(folder, runs, tmp_path / "run", unlabelled=images).facts["metrics"] is not None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"unlabelled": None}, "give both"),
        ({"semi": ()}, "give both"),
        ({"semi": ["mean-techer"]}, "did you mean"),
        ({"online": "fast-scnn", "teacher": []}, "leave out --online, or --semi"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(said, words, folder, tmp_path):
    given = {"teacher": [], "baseline": "online" not in said, "semi": METHODS, **specs(folder), **said}
    with pytest.raises(UserError, match=words):
        pipeline.distill(student="fast-scnn", out=tmp_path / "run", options=Options(steps=1, **SHORT), **given)
    assert not (tmp_path / "run").exists()


def test_views_of_one_frame_show_the_same_place(drawn):
    dataset = open_dataset(drawn, "train")
    augment = Augment(crop_hw=(64, 96), scale=(0.3, 2))
    footage = Footage(dataset, augment, 4, 7, MEAN, STD, looks=2)
    batch = Batches(dataset, Augment(crop_hw=(64, 96)), 4, 7, MEAN, STD, footage=footage).batch(3)
    seen = batch.unlabelled
    assert seen.weak.shape == (4, 3, 64, 96) and seen.strong.shape == (2, 4, 3, 64, 96)
    assert seen.inside.shape == (4, 64, 96) and seen.inside.dtype == torch.bool and not seen.inside.all()
    again = footage.views(3)
    assert all(torch.equal(a, b) for a, b in zip(seen, again, strict=True))
    assert not torch.equal(seen.strong[0], seen.strong[1])
    for looks in (0, 1):  # which fewer looks leave as they are
        fewer = Footage(dataset, augment, 4, 7, MEAN, STD, looks=looks).views(3)
        assert torch.equal(fewer.weak, seen.weak) and torch.equal(fewer.strong, seen.strong[:looks])


def test_colours_change_as_much_as_is_said(drawn):
    dataset = open_dataset(drawn, "train")
    said = {"crop_hw": (64, 96), "batch_size": 4, "seed": 7, "footage": dataset}
    none, half, all_of_it = (batches(dataset, **said, strength=s).batch(3).unlabelled for s in (0.0, 0.5, 1.0))
    assert torch.equal(none.strong, none.weak.expand_as(none.strong))
    assert torch.equal(none.weak, half.weak) and torch.equal(none.weak, all_of_it.weak)
    change = [(x.strong - x.weak).abs().mean() for x in (half, all_of_it)]
    assert 0 < change[0] < change[1]
    palette = {tuple(pixel) for i in range(len(dataset)) for pixel in dataset[i].image.reshape(-1, 3).tolist()}
    seen = ((none.weak * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255).round()
    low, high = np.array(sorted(palette)).min(0), np.array(sorted(palette)).max(0)
    inside = seen.movedim(1, -1)[none.inside].numpy()
    assert (inside >= low).all() and (inside <= high).all(), "what is labelled is shown in its own colours"
    with pytest.raises(UserError, match="strength lies between"):
        Options(strength=1.5)
