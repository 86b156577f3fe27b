"""OpenVINO's own format: the same ends, cut from graphs of every operator set that says them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import MEAN, SIZE_HW, STD, Build, K, law, wishes
from test_onnx_heads import HEADS, NCHW, SWAPS, model, sub_div
from test_onnx_tails import CUT, LEFT

from edgeseg.adopt.ends import open_model
from edgeseg.adopt.recognise import recognise
from edgeseg.errors import UserError

ov = pytest.importorskip("openvino")

H, W = SIZE_HW


def converted(file: Path, half: bool = False) -> Path:
    out = file.with_suffix(".xml")
    ov.save_model(ov.Core().read_model(file), out, compress_to_fp16=half)
    return out


@pytest.mark.parametrize("case", CUT)
def test_the_tails_of_onnx_are_cut_from_an_ir_of_it(case, make, tmp_path):
    tail, expected = CUT[case]
    found = law(converted(make(tail)), tmp_path)
    c = found.contract
    assert (c.output, c.activation, c.interpolation, c.coordinates, c.stride) == ("logits", *expected)


@pytest.mark.parametrize("case", LEFT)
def test_the_tails_that_stay_in_onnx_stay_in_an_ir(case, make, tmp_path):
    tail, stride, why = LEFT[case]
    found = law(converted(make(tail)), tmp_path)
    assert (found.contract.output, found.contract.stride) == ("logits", stride)
    assert why in found.left


@pytest.mark.parametrize("case", HEADS)
def test_the_heads_of_onnx_are_cut_from_an_ir_of_it(case, tmp_path):
    found = law(converted(model(tmp_path, *HEADS[case])), tmp_path, wishes(mean=None, std=None))
    np.testing.assert_allclose((found.contract.mean, found.contract.std), (MEAN, STD), atol=1e-6)
    kinds = [op.get_type_name() for op in ov.Core().read_model(tmp_path / "adopted.xml").get_ordered_ops()]
    flow = [k for k in kinds if k not in ("Parameter", "Constant", "Result")]
    assert flow[:4] == ["Transpose", "Convert", "Subtract", "Convolution"]


@pytest.mark.parametrize("swap", ["gather", "slice", "split"])
def test_a_reversal_of_the_channels_turns_the_colour_order(swap, tmp_path):
    head = lambda b, x: sub_div(b, SWAPS[swap](b, b("Cast", x, to=1)))  # noqa: E731
    found = law(converted(model(tmp_path, np.uint8, NCHW, head)), tmp_path, wishes(mean=None, std=None))
    assert found.contract.color == "bgr"


def test_weights_kept_in_half_floats(make, tmp_path):
    tail, _ = CUT["softmax resize argmax"]
    law(converted(make(tail), half=True), tmp_path)


def test_labels_made_in_another_way_stay_labels(make, tmp_path):
    last = lambda b, x: b("ArgMax", b.resize(x), axis=1, keepdims=0, select_last_index=1)  # noqa: E731
    assert law(converted(make(last)), tmp_path).contract.output == "labels"


def test_open_sizes_are_fixed(tmp_path):
    b = Build()
    logits = b.body("x")
    size = b("Concat", b.ints(1, 5), b("Slice", b("Shape", "x"), b.ints(2), b.ints(4)), axis=0)
    out = b("ArgMax", b("Resize", logits, "", "", size, mode="linear"), axis=1, keepdims=0)
    file = converted(b.save(tmp_path / "model.onnx", (np.float32, ("n", 3, "h", "w")), [out]))
    assert law(file, tmp_path, size=SIZE_HW).contract.stride == 8
    with pytest.raises(UserError, match="--size HxW"):
        open_model(file, None)


def _interpolates():
    """name: (a function from logits to labels' scores, what the contract says)"""
    from openvino import opset1, opset10, opset11

    sizes, scales, axes = np.array([H, W], np.int64), np.array([8, 8], np.float32), np.array([2, 3], np.int64)
    old = {"axes": [2, 3], "antialias": False, "pads_begin": [0], "pads_end": [0]}
    return {
        "v0 align_corners": (
            lambda x: opset1.interpolate(x, sizes, {**old, "mode": "linear", "align_corners": True}),
            ("bilinear", "align_corners", 8),
        ),
        "v0 nearest": (
            lambda x: opset1.interpolate(x, sizes, {**old, "mode": "nearest", "align_corners": False}),
            ("nearest", "half_pixel", 8),
        ),
        "v0 linear": (
            lambda x: opset1.interpolate(x, sizes, {**old, "mode": "linear", "align_corners": False}),
            ("bilinear", "half_pixel", 1),
        ),
        "v4 linear sizes": (
            lambda x: opset10.interpolate(x, sizes, scales, "linear", "sizes", axes=axes),
            ("bilinear", "half_pixel", 8),
        ),
        "v4 linear_onnx scales": (
            lambda x: opset10.interpolate(
                x, sizes, scales, "linear_onnx", "scales", coordinate_transformation_mode="asymmetric", axes=axes
            ),
            ("bilinear", "asymmetric", 8),
        ),
        "v4 nearest": (
            lambda x: opset10.interpolate(
                x, sizes, scales, "nearest", "sizes", coordinate_transformation_mode="asymmetric",
                nearest_mode="simple", axes=axes,
            ),
            ("nearest", "half_pixel", 8),
        ),
        "v4 tf_half_pixel_for_nn": (
            lambda x: opset10.interpolate(
                x, sizes, scales, "nearest", "sizes", coordinate_transformation_mode="tf_half_pixel_for_nn",
                nearest_mode="floor", axes=axes,
            ),
            ("nearest", "half_pixel", 8),
        ),
        "v11 pillow": (
            lambda x: opset11.interpolate(x, sizes, "bilinear_pillow", "sizes", axes=axes),
            ("bilinear", "half_pixel", 1),
        ),
        "v11 cubic": (
            lambda x: opset11.interpolate(x, sizes, "cubic", "sizes", axes=axes),
            ("bilinear", "half_pixel", 1),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("topk", ["opset1", "opset3", "opset11"])
@pytest.mark.parametrize("case", _interpolates())
def test_every_version_of_interpolate_and_topk(case, topk, tmp_path, make):
    import openvino
    from openvino import opset1, opset8

    resize, (interpolation, coordinates, stride) = _interpolates()[case]
    base = ov.Core().read_model(make())
    logits = base.get_results()[0].input_value(0)
    soft = opset1.softmax(resize(logits), 1) if topk == "opset1" else opset8.softmax(resize(logits), -3)
    best = getattr(openvino, topk).topk(soft, np.array(1, np.int32), 1, "max", "value").output(1)
    labels = opset1.convert(opset1.squeeze(best, np.array([1], np.int64)), "u8")
    ov.save_model(ov.Model([labels], base.get_parameters()), tmp_path / "made.xml", compress_to_fp16=False)
    found = law(tmp_path / "made.xml", tmp_path)
    c = found.contract
    assert (c.interpolation, c.coordinates, c.stride) == (interpolation, coordinates, stride)


def test_a_file_without_its_weights_is_said(make, tmp_path):
    file = converted(make())
    file.with_suffix(".bin").unlink()
    with pytest.raises(UserError, match=r"is its \.bin beside it"):
        open_model(file, None)


def test_another_number_of_classes_is_said(make, tmp_path):
    with pytest.raises(UserError, match="does --classes list every class"):
        recognise(open_model(converted(make()), None), wishes(classes=tuple("abcdefg")))
    assert K == 5
