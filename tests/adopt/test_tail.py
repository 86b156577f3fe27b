"""The analysis alone: steps in, a decoding out, with no format near."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.adopt.rules import nearest_table
from edgeseg.adopt.steps import Step, in_words
from edgeseg.adopt.tail import decode, stride_of

K, SIZE_HW = 19, (64, 128)
COARSE, FULL = (1, K, 8, 16), (1, K, 64, 128)


def resize(mode: str = "linear", coordinates: str = "half_pixel", given=COARSE, made=FULL, **more) -> Step:
    scales = tuple(m / n for n, m in zip(given, made, strict=True))
    said = {"mode": mode, "coordinates": coordinates, "rounding": "floor", "scales": scales}
    return Step("resize", {**said, **more}, given, made)


def softmax(shape=COARSE) -> Step:
    return Step("softmax", {"axis": 1}, shape, shape)


def argmax(shape=FULL) -> Step:
    return Step("argmax", {"axis": 1}, shape, (shape[0], *shape[2:]))


def test_a_decoding_by_hand():
    found, reasons = decode([softmax(), resize(), argmax()], (1, *SIZE_HW), K, SIZE_HW)
    assert (found.cut, found.layout, found.hw, found.stride) == (0, "NCHW", (8, 16), 8)
    assert (found.activation, found.interpolation, found.coordinates) == ("softmax", "bilinear", "half_pixel")
    assert (found.returned, found.roles, reasons) == ("labels", ("N", "H", "W"), [])


def test_the_earliest_point_that_can_be_said_is_taken():
    odd = Step("softmax", {"axis": 2}, COARSE, COARSE)
    found, reasons = decode([odd, softmax(), resize(), argmax()], (1, *SIZE_HW), K, SIZE_HW)
    assert (found.cut, found.activation) == (1, "softmax")
    assert reasons == ["softmax over another axis than the classes'"]


def test_an_axis_of_the_same_length_is_not_taken_for_the_classes():
    """16 columns and 16 classes: only with classes first do the resize and the argmax mean anything."""
    given, made = (1, 16, 8, 16), (1, 16, 64, 128)
    found, _ = decode([resize(given=given, made=made), argmax(made)], (1, *SIZE_HW), 16, SIZE_HW)
    assert found.layout == "NCHW"


def test_nothing_to_cut_is_a_decoding_too():
    found, _ = decode([], COARSE, K, SIZE_HW)
    assert (found.cut, found.stride, found.returned) == (0, 8, "logits")


@pytest.mark.parametrize("shape", [(1, K + 1, 8, 16), (2, K, 8, 16), (K, 8, 16), (1, K, 7, 16), (1, 64, 128)])
def test_what_is_no_map_of_logits(shape):
    assert decode([], shape, K, SIZE_HW)[0] is None


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (resize("cubic"), "cubic"),
        (resize(antialias=True), "antialiasing"),
        (resize(coordinates="tf_half_pixel_for_nn"), "coordinates"),
        (resize(given=(1, K, 8, 16), made=(1, 2 * K, 64, 128)), "other axes"),
        (resize(scales=(1, 1, 8.1, 8)), "not output over input"),
        (resize(given=FULL, made=COARSE), "shrinks"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_resizes_without_a_word_for_them(step, why):
    _, reasons = decode([step], step.made, K, SIZE_HW)
    assert why in " ".join(reasons)


def test_nearest_where_centres_and_corners_fall_apart():
    """60 from 8: no whole factor, and one table is that of neither."""
    given, made, size_hw = (1, K, 8, 8), (1, K, 60, 60), (60, 60)
    for coordinates, rounding, want in (
        ("asymmetric", "floor", "asymmetric"),
        ("half_pixel", "round_prefer_ceil", "half_pixel"),
        ("asymmetric", "round_prefer_floor", None),
    ):
        step = resize("nearest", coordinates, given, made, rounding=rounding)
        found, _ = decode([step], made, K, size_hw)
        assert (found.coordinates if found.cut == 0 else None) == want


def test_labels_are_never_interpolated():
    small, large = (1, 1, 8, 16), (1, 1, 64, 128)
    first = Step("argmax", {"axis": 1}, COARSE, small)
    cast = Step("cast", {"to": "float32"}, small, small)
    assert decode([first, cast, resize(given=small, made=large)], large, K, SIZE_HW)[0] is None
    found, _ = decode([first, cast, resize("nearest", "asymmetric", small, large)], large, K, SIZE_HW)
    assert found.interpolation == "nearest"


@pytest.mark.parametrize(
    ("hw", "size_hw", "stride"), [((8, 16), (64, 128), 8), ((65, 129), (513, 1025), 8), ((4, 4), (4, 4), 1)]
)
def test_strides(hw, size_hw, stride):
    assert stride_of(hw, size_hw) == stride


def test_a_nearest_table_by_hand():
    assert nearest_table(2, 4, 2.0, "asymmetric", "floor").tolist() == [0, 0, 1, 1]
    assert nearest_table(2, 4, 2.0, "asymmetric", "ceil").tolist() == [0, 1, 1, 1]
    assert nearest_table(2, 4, 2.0, "half_pixel", "round_prefer_floor").tolist() == [0, 0, 1, 1]
    assert nearest_table(2, 4, 2.0, "align_corners", "round_prefer_floor").tolist() == [0, 0, 1, 1]
    assert nearest_table(3, 4, 4 / 3, "align_corners", "floor").tolist() == [0, 0, 1, 2]


def test_the_nearest_table_is_torchs():
    torch = pytest.importorskip("torch")
    for size, out in ((3, 12), (5, 8), (7, 64)):
        want = torch.nn.functional.interpolate(torch.arange(size).view(1, 1, size).float(), size=out, mode="nearest")
        mine = nearest_table(size, out, out / size, "asymmetric", "floor")
        np.testing.assert_array_equal(mine, want.flatten().int())


def test_words():
    assert in_words(resize()) == "Resize x8 linear"
    assert in_words(Step("logsoftmax")) == "LogSoftmax"
