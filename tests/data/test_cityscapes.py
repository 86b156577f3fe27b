"""Cityscapes' folders and ids."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.data import open_dataset
from edgeseg.errors import DataError

TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
TRAIN_IDS |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


@pytest.fixture
def root(tmp_path, write_image, write_mask):
    for city, name in (("ulm", "ulm_000001_000019"), ("aachen", "aachen_000000_000019")):
        write_image(tmp_path / "leftImg8bit/val" / city / f"{name}_leftImg8bit.png")
        write_mask(tmp_path / "gtFine/val" / city / f"{name}_gtFine_labelIds.png", [*range(34), 255])
        write_mask(tmp_path / "gtFine/val" / city / f"{name}_gtFine_instanceIds.png", [200])
    return tmp_path


def test_all_cities_of_a_split(root):
    data = open_dataset(f"cityscapes:{root}", "val")
    assert data.names == ("aachen_000000_000019", "ulm_000001_000019")
    assert len(data.classes) == len(data.colors) == 19
    assert (data.classes[0], data.classes[13], data.classes[18]) == ("road", "car", "bicycle")
    assert data.colors[10] == (70, 130, 180)


def test_34_ids_become_19_classes(root):
    expected = [*(TRAIN_IDS.get(i, 255) for i in range(34)), 255]
    np.testing.assert_array_equal(open_dataset(f"cityscapes:{root}", "val")[0].mask.ravel()[:35], expected)


def test_what_has_not_been_unpacked_is_named(root):
    with pytest.raises(DataError, match=r"leftImg8bit.train is missing: unpack leftImg8bit_trainvaltest\.zip"):
        open_dataset(f"cityscapes:{root}", "train")
    (root / "leftImg8bit/train").mkdir()
    with pytest.raises(DataError, match=r"gtFine.train is missing: unpack gtFine_trainvaltest\.zip"):
        open_dataset(f"cityscapes:{root}", "train")
    (root / "gtFine/train").mkdir()
    with pytest.raises(DataError, match="none of 0 frames"):
        open_dataset(f"cityscapes:{root}", "train")


def test_a_frame_without_its_mask_is_named(root):
    (root / "gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"ulm_000001_000019_gtFine_labelIds\.png is missing"):
        open_dataset(f"cityscapes:{root}", "val")
