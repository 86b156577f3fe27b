"""Frames without labels."""

from __future__ import annotations

import pytest

from edgeseg.data import open_dataset
from edgeseg.errors import DataError


def test_every_image_below_the_folder_in_every_split(tmp_path, write_image):
    for name in ("b.png", "cam/a.jpg", "cam/deep/c.JPEG", ".thumbs/d.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    for split in ("train", "val"):
        data = open_dataset(f"images:{tmp_path}", split)
        assert data.names == ("b", "cam/a", "cam/deep/c")
        assert data.classes == data.colors == ()
        assert data[0].mask is None and data[1].image.shape == (6, 8, 3)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(DataError, match="none of 0 frames"):
        open_dataset(f"images:{tmp_path}", "train")


def test_skip_bad(tmp_path, write_image):
    write_image(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"bad\.png"):
        open_dataset(f"images:{tmp_path}", "train")
    data = open_dataset(f"images:{tmp_path}", "train", skip_bad=True)
    assert data.names == ("good",) and "bad.png" in data.skipped[0]
