"""The SegNet layout of CamVid."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.data import open_dataset
from edgeseg.errors import DataError


@pytest.fixture
def root(tmp_path, write_image, write_mask):
    for name in ("a", "b"):
        write_image(tmp_path / "train" / f"{name}.png")
        write_mask(tmp_path / "trainannot" / f"{name}.png", list(range(12)))
    (tmp_path / "train.txt").write_text("b.png\na.png\n\n")
    return tmp_path


def test_the_list_decides_what_and_in_which_order(root):
    data = open_dataset(f"camvid:{root}", "train")
    assert (data.spec, data.split, data.names) == (f"camvid:{root}", "train", ("b", "a"))
    (root / "train.txt").write_text(
        "/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n"
    )  # as SegNet wrote it
    assert open_dataset(f"camvid:{root}", "train").names == ("a",)


def test_eleven_classes_and_the_twelfth_id_is_unknown(root):
    data = open_dataset(f"camvid:{root}", "train")
    assert len(data.classes) == len(data.colors) == 11
    assert data.classes[3] == "road" and data.colors[3] == (128, 64, 128)
    np.testing.assert_array_equal(data[0].mask.ravel()[:12], [*range(11), 255])


def test_a_split_without_a_list_is_named(root):
    with pytest.raises(DataError, match=r"test\.txt is missing: .*one a line"):
        open_dataset(f"camvid:{root}", "test")


def test_a_listed_frame_that_is_not_there(root):
    (root / "train.txt").write_text("a.png\nc.png\n")
    with pytest.raises(DataError, match=r"c\.png is missing"):
        open_dataset(f"camvid:{root}", "train")
    data = open_dataset(f"camvid:{root}", "train", skip_bad=True)
    assert data.names == ("a",) and "c.png" in data.skipped[0]
