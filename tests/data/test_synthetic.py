"""The street that a program draws: reproducible, varied, with everything in it, and not too easy."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.data import IGNORE, Dataset, open_dataset
from edgeseg.data.synthetic.painter import Camera
from edgeseg.errors import DataError


@pytest.fixture(scope="module")
def street() -> Dataset:
    return open_dataset("synthetic:street?frames=40", "train")


def test_sizes_and_options():
    data = open_dataset("synthetic:street", "train")
    assert len(data) == 400 and len(open_dataset("synthetic:street", "val")) == 100
    assert data[0].image.shape == (192, 320, 3) and data[0].mask.shape == (192, 320)
    small = open_dataset("synthetic:street?size=64x96&frames=3&seed=5", "train")
    assert len(small) == 3 and small[0].image.shape == (64, 96, 3)
    assert len(open_dataset("synthetic:street?frames=3", "val")) == 1


def test_a_frame_depends_on_seed_split_and_number_alone():
    spec = "synthetic:street?size=64x96&frames={}&seed={}"
    first = open_dataset(spec.format(8, 1), "train")
    again = open_dataset(spec.format(20, 1), "train")
    for i in (5, 0):  # in any order
        np.testing.assert_array_equal(first[i].image, again[i].image)
        np.testing.assert_array_equal(first[i].mask, again[i].mask)
    others = [first[1], open_dataset(spec.format(8, 1), "val")[0], open_dataset(spec.format(8, 2), "train")[0]]
    assert all((other.mask != first[0].mask).any() for other in others)


def test_what_was_drawn_is_not_drawn_again(street):
    again = open_dataset(street.spec, "train")
    assert again[0].image is street[0].image
    assert open_dataset(street.spec, "val")[0].image is not street[0].image


def test_every_class_occurs_and_some_are_rare(street):
    counts = np.zeros(256)
    frames = np.zeros(256)
    for sample in street:
        here = np.bincount(sample.mask.ravel(), minlength=256)
        counts, frames = counts + here, frames + (here > 0)
    known = len(street.classes)
    assert known == len(street.colors) >= 10
    assert (frames[:known] >= 20).all()  # each in half of the frames or more
    share = dict(zip(street.classes, counts / counts.sum()))
    assert all(share[name] < 0.03 for name in ("pole", "sign", "pedestrian", "lane-marking"))
    assert share["road"] > 0.2
    assert counts[IGNORE] > 0 and counts[known:IGNORE].sum() == 0


def test_color_alone_does_not_tell_the_classes_apart(street):
    """A pixel's colour is worth more than guessing and far from enough."""
    pixels = np.concatenate([s.image[::4, ::4].reshape(-1, 3) for s in street]).astype(int)
    labels = np.concatenate([s.mask[::4, ::4].ravel() for s in street])
    bins = (pixels // 32) @ (64, 8, 1)
    table = np.zeros((512, 256), int)
    train = np.arange(len(labels)) < len(labels) // 2
    np.add.at(table, (bins[train], labels[train]), 1)
    guess = table.argmax(1)[bins[~train]]
    recall = [(guess[labels[~train] == k] == k).mean() for k in range(len(street.classes))]
    assert 0.1 < np.mean(recall) < 0.5


def test_things_stand_where_a_camera_would_see_them(street):
    """The mean height in the frame: sky over buildings over cars over road."""
    row = np.broadcast_to(np.arange(192)[:, None], (192, 320))
    height = {
        name: np.mean([row[sample.mask == k].mean() for sample in street if (sample.mask == k).any()])
        for k, name in enumerate(street.classes)
    }
    assert height["sky"] < height["building"] < height["car"] < height["road"]


def test_the_camera_projects_by_hand():
    camera = Camera(focal=100, cx=50, horizon=40, height=1.5, roll=0, bend=0)
    assert camera.project([(0, 1.5, 10), (2, 0, 10)]) == pytest.approx([50, 40, 70, 55])
    assert camera.project_upright([(0, 1.5), (2, 0)], 10) == pytest.approx([50, 40, 70, 55])
    bent = Camera(focal=100, cx=50, horizon=40, height=1.5, roll=0, bend=0.01)
    assert bent.project([(0, 1.5, 10)]) == pytest.approx([60, 40])  # 1 m to the right at 10 m


def test_upright_and_ground_agree_with_the_camera():
    camera = Camera(focal=90, cx=47, horizon=33, height=1.4, roll=0.03, bend=-0.002)
    points = [(-2, 0.4), (3, 2.2)]
    assert camera.project_upright(points, 12) == pytest.approx(camera.project([(x, y, 12) for x, y in points]))
    x, z = camera.ground((80, 100))
    row, column = 60, 30
    seen = camera.project([(x[row, column], 0, z[row, column])])
    assert seen == pytest.approx([column + 0.5, row + 0.5], abs=1e-2)
    assert z[5].min() == 1000  # above the horizon


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("forest", "no synthetic scene 'forest'"),
        ("street?frame=3", "no option 'frame'"),
        ("street?frames=0", "at least 1 for frames, got '0'"),
        ("street?frames=", "at least 1 for frames, got ''"),
        ("street?size=192", "at least 32 for width, got ''"),
        ("street?size=8x96", "at least 32 for height"),
        ("street?seed=-1", "for seed, got '-1'"),
    ],
)
def test_what_cannot_be_drawn_is_named(path, message):
    with pytest.raises(DataError, match=message):
        open_dataset(f"synthetic:{path}", "train")
    with pytest.raises(DataError, match="no split 'all'"):
        open_dataset("synthetic:street", "all")
