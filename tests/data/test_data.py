"""What holds for every dataset, and what the formats share: opening, checking, keeping frames in memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeseg.data import IGNORE, Dataset, Frame, Sample, from_files, names, open_dataset, palette, read_image
from edgeseg.errors import DataError

CLASSES = {"classes": ("road", "car"), "colors": ((1, 2, 3), (4, 5, 6))}


@pytest.fixture
def frames(tmp_path, write_image, write_mask) -> list[Frame]:
    """Four good pairs."""
    found = [Frame(f"f{i}", tmp_path / f"f{i}.png", tmp_path / f"m{i}.png") for i in range(4)]
    for frame in found:
        write_image(frame.image)
        write_mask(frame.mask, [0, 1, 255])
    return found


def test_every_format_is_one_function_that_says_what_is_not_there(tmp_path):
    assert {"camvid", "cityscapes", "folder", "images", "synthetic"} <= set(names())
    for kind in names():
        with pytest.raises(DataError, match="nowhere"):
            open_dataset(f"{kind}:{tmp_path / 'nowhere'}", "train")


@pytest.mark.parametrize("spec", ["camvid", "camvid:", "", "/data/camvid"])
def test_a_spec_without_kind_or_path_is_refused(spec):
    with pytest.raises(DataError, match="KIND:PATH"):
        open_dataset(spec, "train")


def test_an_unknown_kind_says_what_was_meant():
    with pytest.raises(DataError, match="did you mean 'camvid'"):
        open_dataset("camvidd:/data", "train")


def test_samples_are_what_the_files_hold(tmp_path, write_image, write_mask):
    image, mask = write_image(tmp_path / "a.png"), write_mask(tmp_path / "m.png", [5, 9, 255])
    frame = Frame("a", tmp_path / "a.png", tmp_path / "m.png")
    sample = from_files("x:y", "train", [frame], **CLASSES, ids={5: 1, 9: IGNORE})[0]
    assert sample.name == "a"
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.mask, np.where(mask == 5, 1, IGNORE))
    assert sample.image.dtype == sample.mask.dtype == np.uint8


def test_grey_frames_become_rgb(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(grey).save(tmp_path / "g.png")
    sample = from_files("x:y", "train", [Frame("g", tmp_path / "g.png", None)])[0]
    np.testing.assert_array_equal(sample.image, np.repeat(grey[..., None], 3, axis=2))
    assert sample.mask is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_sideways(orientation, tmp_path, write_mask):
    """Frames are as viewers and tools for annotation show them, and masks as these made them."""
    frame = Frame("f", tmp_path / "f.jpg", tmp_path / "m.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)).save(frame.image, exif=exif)
    with Image.open(frame.image) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    mask = write_mask(frame.mask, [0, 1], shown.shape[:2])
    sample = from_files("x:y", "train", [frame], **CLASSES)[0]
    np.testing.assert_array_equal(sample.image, shown)
    np.testing.assert_array_equal(sample.mask, mask)
    if orientation > 4:
        write_mask(frame.mask, [0, 1], (16, 32))
        with pytest.raises(DataError, match=r"m.png is 32x16, but .*f.jpg is 16x32 once it is turned as its EXIF says"):
            from_files("x:y", "train", [frame], **CLASSES)


def test_what_nobody_can_read_in_exif_turns_nothing(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "f.png", exif=b"Exif\0\0nothing that one could read")
    np.testing.assert_array_equal(read_image(tmp_path / "f.png"), pixels)


def test_indices_are_those_of_a_sequence(frames):
    data = from_files("x:y", "train", frames, **CLASSES)
    assert len(data) == 4 and [s.name for s in data] == ["f0", "f1", "f2", "f3"]
    assert data[-1].name == "f3"
    with pytest.raises(IndexError):
        data[4]


def test_a_mask_of_nothing_known_is_fine(tmp_path, frames, write_mask):
    write_mask(frames[0].mask, [255])
    assert (from_files("x:y", "train", frames, **CLASSES)[0].mask == IGNORE).all()


def break_header(frame: Frame) -> None:
    frame.image.write_bytes(b"not a picture")


def break_pixels(frame: Frame) -> None:
    frame.image.write_bytes(frame.image.read_bytes()[:-60])


def break_mask_size(frame: Frame) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(frame.mask)


def break_ids(frame: Frame) -> None:
    Image.fromarray(np.full((6, 8), 2, np.uint8)).save(frame.mask)


def break_mask_kind(frame: Frame) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(frame.mask)


def break_depth(frame: Frame) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(frame.image)


def remove_mask(frame: Frame) -> None:
    frame.mask.unlink()


HEADERS = [  # seen when the dataset is opened
    (break_header, "f2.png is not an image.*replace it"),
    (break_mask_size, "m2.png is 5x5, but its image .*f2.png is 8x6: resize"),
    (break_mask_kind, "m2.png has pixels of kind 'RGB', expected class ids"),
    (break_depth, "f2.png has pixels of kind 'I;16', expected 8 bits"),
    (remove_mask, "m2.png is missing: restore it"),
]
PIXELS = [  # seen when the sample is read
    (break_pixels, "f2.png is damaged .*replace it"),
    (break_ids, r"m2.png holds the ids \[2\], which are no class here .*mend the mask"),
]


@pytest.mark.parametrize(("damage", "message"), HEADERS)
def test_bad_headers_are_named_when_opening(frames, damage, message):
    damage(frames[2])
    with pytest.raises(DataError, match=message):
        from_files("x:y", "train", frames, **CLASSES)


@pytest.mark.parametrize(("damage", "message"), PIXELS)
def test_bad_pixels_are_named_when_reading(frames, damage, message):
    damage(frames[2])
    data = from_files("x:y", "train", frames, **CLASSES)
    assert data[1].name == "f1"
    with pytest.raises(DataError, match=message):
        data[2]


@pytest.mark.parametrize(("damage", "message"), HEADERS + PIXELS)
def test_skip_bad_leaves_them_out_and_lists_them(frames, damage, message):
    damage(frames[2])
    data = from_files("x:y", "train", frames, **CLASSES, skip_bad=True)
    assert [s.name for s in data] == ["f0", "f1", "f3"]
    assert len(data.skipped) == 1
    with pytest.raises(DataError, match=message):
        raise DataError(data.skipped[0])


def test_nothing_good_left_is_an_error_even_when_skipping(frames):
    for frame in frames:
        break_header(frame)
    with pytest.raises(DataError, match=r"none of 4 frames.*f0\.png is not an image"):
        from_files("x:y", "train", frames, **CLASSES, skip_bad=True)
    with pytest.raises(DataError, match="none of 0 frames"):
        from_files("x:y", "train", [], **CLASSES)


def counted(cache_bytes: int) -> tuple[Dataset, list[int]]:
    """Four samples of 400 bytes, and a record of what was read."""
    reads: list[int] = []

    def read(i: int) -> Sample:
        reads.append(i)
        return Sample(str(i), np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.uint8))

    return Dataset("x:y", "train", (), (), "abcd", read, cache_bytes=cache_bytes), reads


def test_frames_are_decoded_once_while_they_fit():
    data, reads = counted(cache_bytes=2 * 400)
    for _ in range(3):
        for i in range(4):
            data[i]
    assert reads == [0, 1, 2, 3, 2, 3, 2, 3]


def test_samples_cannot_be_changed_behind_the_cache():
    sample = counted(1 << 20)[0][0]
    for array in (sample.image, sample.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_dataset_travels_to_a_worker_without_its_frames(frames):
    data = from_files("x:y", "train", frames, **CLASSES)
    empty = len(pickle.dumps(data))
    for i in range(4):
        data[i]
    assert len(pickle.dumps(data)) == empty
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[1].image, data[1].image)


def test_made_up_colors_differ():
    assert len(set(palette(40))) == 40


def test_several_splits_are_one(tmp_path, write_image, write_mask):
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            write_image(tmp_path / "images" / split / f"{split}{i}{'x' * i}.png")
            write_mask(tmp_path / "masks" / split / f"{split}{i}{'x' * i}.png", [0, 1, 2][: i + 1])
    both = open_dataset(f"folder:{tmp_path}", "train+val")
    parts = [open_dataset(f"folder:{tmp_path}", split) for split in ("train", "val")]
    assert both.split == "train+val" and list(both.names) == [n for p in parts for n in p.names] and len(both) == 5
    for i in range(5):
        expected = parts[0][i] if i < 3 else parts[1][i - 3]
        assert both[i].name == expected.name and (both[i].image == expected.image).all()
    with pytest.raises(DataError, match="more than one of train\\+train"):
        open_dataset(f"folder:{tmp_path}", "train+train")


def test_a_list_says_what_is_trained_on(tmp_path, write_image, write_mask):
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            write_image(tmp_path / "images" / split / f"{i}.png")
            write_mask(tmp_path / "masks" / split / f"{i}.png", [0, 1])
    listing = tmp_path / "some.txt"
    listing.write_text("train/1\ntrain/3\n\n")
    some, others = (
        open_dataset(f"folder:{tmp_path}?{option}={listing}", "train") for option in ("train", "train-without")
    )
    assert list(some.names) == ["train/1", "train/3"] and list(others.names) == ["train/0", "train/2"]
    assert some[1].name == "train/3" and some[1].mask is not None
    assert len(open_dataset(some.spec, "val")) == 2 and len(open_dataset(some.spec, "train+val")) == 4
    listing.write_text("train/9\n")
    with pytest.raises(DataError, match="names 'train/9', which is no frame"):
        open_dataset(some.spec, "train")
    with pytest.raises(DataError, match=r"none\.txt is missing"):
        open_dataset(f"folder:{tmp_path}?train={tmp_path / 'none.txt'}", "train")


def test_without_labels_no_mask_is_opened(tmp_path, write_image):
    root = tmp_path / "camvid"
    (root / "trainannot").mkdir(parents=True)
    image = write_image(root / "train/a.png")
    (root / "trainannot/a.png").write_bytes(b"no image")
    (root / "train.txt").write_text("a.png\n")
    with pytest.raises(DataError):
        open_dataset(f"camvid:{root}", "train")
    data = open_dataset(f"camvid:{root}", "train", labels=False)
    assert len(data.classes) == 11 and data[0].mask is None and np.array_equal(data[0].image, image)
    assert data.files == (root / "train/a.png",)
    folder = tmp_path / "folder"
    write_image(folder / "images/a.png")
    data = open_dataset(f"folder:{folder}", "train", labels=False)
    assert data.classes == () and data[0].mask is None
    drawn = open_dataset("synthetic:street?frames=2&size=32x64", "train", labels=False)
    assert drawn[1].mask is None and drawn[1].image.shape == (32, 64, 3) and drawn.files == ()


def test_files_of_several_splits_follow_each_other(tmp_path, write_image, write_mask):
    for split in ("train", "val"):
        write_image(tmp_path / f"images/{split}/a.png")
        write_mask(tmp_path / f"masks/{split}/a.png", [0, 1])
    data = open_dataset(f"folder:{tmp_path}", "train+val")
    assert data.files == tuple(tmp_path / f"images/{split}/a.png" for split in ("train", "val"))
    assert pickle.loads(pickle.dumps(data)).files == data.files
