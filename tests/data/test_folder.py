"""A folder of one's own: pairing, splits, and where the classes come from."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.data import open_dataset
from edgeseg.data.folder import _held_out
from edgeseg.errors import DataError


@pytest.fixture
def make(tmp_path, write_image, write_mask):
    """Writes pairs by name and returns the dataset's spec."""

    def make(*names: str, ids: list[int] = [0, 1], **how: object) -> str:  # noqa: B006
        for name in names:
            write_image(tmp_path / "images" / f"{name}.jpg")
            write_mask(tmp_path / "masks" / f"{name}.png", ids, **how)
        return f"folder:{tmp_path}"

    return make


def toml(tmp_path, text: str) -> None:
    (tmp_path / "classes.toml").write_text(text)


# ---- splits ----


def test_split_folders(make):
    spec = make("train/a", "train/deep/b", "val/c")
    assert open_dataset(spec, "train").names == ("train/a", "train/deep/b")
    assert open_dataset(spec, "val").names == ("val/c",)
    with pytest.raises(DataError, match=r"images.test holds no images: the splits here are train, val"):
        open_dataset(spec, "test")


def test_split_lists_with_or_without_suffix(tmp_path, make):
    spec = make("a", "b", "c.x")
    (tmp_path / "train.txt").write_text("b.jpg\n\na\n")
    (tmp_path / "val.txt").write_text("c.x\n")
    assert open_dataset(spec, "train").names == ("b", "a")
    assert open_dataset(spec, "val").names == ("c.x",)
    (tmp_path / "val.txt").write_text("d.jpg\n")
    with pytest.raises(DataError, match=r"val\.txt names 'd\.jpg'.*mend the list"):
        open_dataset(spec, "val")
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt is missing: write it"):
        open_dataset(spec, "val")


def test_otherwise_a_fixed_fifth_is_held_out(make):
    spec = make(*(f"frame-{i}" for i in range(30)))
    train, val = (open_dataset(spec, split).names for split in ("train", "val"))
    assert sorted((*train, *val)) == sorted(f"frame-{i}" for i in range(30))
    make("another")
    assert set(train) <= set(open_dataset(spec, "train").names) | {"another"}
    assert set(val) <= set(open_dataset(spec, "val").names)
    with pytest.raises(DataError, match=r"no split 'test': make .*test\.txt"):
        open_dataset(spec, "test")


def test_the_fifth_is_a_fifth_and_never_nothing():
    assert 0.18 < len(_held_out([f"n{i}" for i in range(5000)])) / 5000 < 0.22
    for n in range(2, 12):
        assert 0 < len(_held_out([f"{n}-{i}" for i in range(n)])) < n


# ---- pairs ----


def test_frames_without_mask_are_named(make, tmp_path):
    spec = make("train/a", "train/b")
    (tmp_path / "masks/train/a.png").unlink()
    toml(tmp_path, 'names = ["road", "car"]')
    with pytest.raises(DataError, match=r"a\.png is missing"):
        open_dataset(spec, "train")
    assert open_dataset(spec, "train", skip_bad=True).names == ("train/b",)


def test_two_images_of_one_name(make, tmp_path, write_image):
    spec = make("a", "b")
    write_image(tmp_path / "images/a.png")
    with pytest.raises(DataError, match=r"a\.(jpg|png) and .*a\.(jpg|png) have the same name"):
        open_dataset(spec, "train")


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_missing_half(make, tmp_path, part):
    spec = make("a")
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"{part} is missing: folder:PATH expects"):
        open_dataset(spec, "train")


# ---- classes ----


@pytest.mark.parametrize("palette", [False, True])
def test_classes_are_inferred_from_the_masks_of_all_splits(make, palette):
    make("train/a", ids=[0, 7, 255], palette=palette)
    spec = make("val/b", ids=[7, 26], palette=palette)
    for split, expected in (("train", [0, 1, 255]), ("val", [1, 2])):
        data = open_dataset(spec, split)
        assert data.classes == ("class-0", "class-7", "class-26") and len(set(data.colors)) == 3
        np.testing.assert_array_equal(data[0].mask.ravel()[: len(expected)], expected)


def test_a_mask_of_0_and_255_is_not_one_class(make, tmp_path):
    spec = make("train/a", ids=[0, 255])
    with pytest.raises(DataError, match=r"the numbers \[0\] alone.*classes\.toml.*255 = \"object\""):
        open_dataset(spec, "train")
    toml(tmp_path, 'names = ["background", "object"]\n[ids]\n0 = "background"\n255 = "object"\n')  # the remedy it names
    np.testing.assert_array_equal(open_dataset(spec, "train")[0].mask.ravel()[:2], [0, 1])


def test_a_bad_mask_does_not_stop_inference_when_skipping(make, tmp_path):
    spec = make("train/a", "train/b")
    (tmp_path / "masks/train/b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.png"):
        open_dataset(spec, "train")
    data = open_dataset(spec, "train", skip_bad=True)
    assert data.names == ("train/a",) and data.classes == ("class-0", "class-1")


def test_classes_toml(make, tmp_path):
    spec = make("train/a", ids=[7, 26, 3, 255])
    toml(
        tmp_path,
        'names = ["road", "car"]\ncolors = [[1, 2, 3], [4, 5, 6]]\nignore = [3]\n[ids]\n7 = "road"\n26 = "car"\n',
    )
    data = open_dataset(spec, "train")
    assert data.classes == ("road", "car") and data.colors == ((1, 2, 3), (4, 5, 6))
    np.testing.assert_array_equal(data[0].mask.ravel()[:4], [0, 1, 255, 255])


def test_names_alone_are_enough(make, tmp_path):
    spec = make("train/a", ids=[0, 1, 255])
    toml(tmp_path, 'names = ["road", "car"]')
    data = open_dataset(spec, "train")
    assert data.classes == ("road", "car") and len(set(data.colors)) == 2
    np.testing.assert_array_equal(data[0].mask.ravel()[:3], [0, 1, 255])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names = [", "is not TOML"),
        ("", r"needs names = "),
        ('names = ["a", 3]', r"needs names = "),
        ('names = ["a", "a"]', "each once"),
        ('names = ["a", "b"]\nmap = 3', "has 'map', which means nothing here"),
        ('names = ["a", "b"]\ncolors = [[0, 0, 0]]', "colors must be 2 times"),
        ('names = ["a", "b"]\ncolors = [[0, 0, 0], [0, 0]]', "colors must be 2 times"),
        ('names = ["a", "b"]\ncolors = [[0, 0, 0], [0, 0, 256]]', "colors must be 2 times"),
        ('names = ["a", "b"]\nignore = 1', "ignores 1, which is also the number of 'b'"),
        ('names = ["a", "b"]\nignore = [-1]', "ignore holds -1, expected a whole number from 0 to 255"),
        ('names = ["a", "b"]\n[ids]\n0 = "a"\n300 = "b"', "ids holds '300', expected a whole number"),
        ('names = ["a", "b"]\n[ids]\n0 = "c"', "ids gives 0 the class 'c', which is not one of names"),
        ('names = ["a", "b"]\n[ids]\n0 = "a"', "gives the class 'b' no number"),
        ('names = ["a", "b"]\nids = [0, 1]', "ids must be a table"),
    ],
)
def test_a_bad_classes_toml_is_named(make, tmp_path, text, message):
    spec = make("train/a")
    toml(tmp_path, text)
    with pytest.raises(DataError, match=f"classes.toml.*{message}"):
        open_dataset(spec, "train")
