"""Every head that is one affine map of pixels is cut, whatever it is made of; the labels stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import MEAN, SIZE_HW, STD, Build, law, wishes

from edgeseg.adopt.ends import open_model
from edgeseg.adopt.recognise import recognise
from edgeseg.errors import UserError

NCHW, NHWC = (1, 3, *SIZE_HW), (1, *SIZE_HW, 3)
MEAN_255, STD_255 = [255 * m for m in MEAN], [255 * s for s in STD]
FLOAT = 1
HALF = wishes(mean=None, std=None)


def per_channel(values: Any, layout: str = "NCHW") -> Any:
    return np.reshape(np.asarray(values), (1, 3, 1, 1) if layout == "NCHW" else (1, 1, 1, 3))


def sub_div(b: Build, x: str, layout: str = "NCHW") -> str:
    return b("Div", b("Sub", x, b.constant(per_channel(MEAN_255, layout))), b.constant(per_channel(STD_255, layout)))


def unit_then_normalise(b: Build, x: str) -> str:
    x = b("Div", x, b.constant(255.0))
    return b("Div", b("Sub", x, b.constant(per_channel(MEAN))), b.constant(per_channel(STD)))


def mul_add(b: Build, x: str) -> str:
    scale = 1 / np.asarray(STD_255)
    return b("Add", b("Mul", x, b.constant(per_channel(scale))), b.constant(per_channel(-np.asarray(MEAN_255) * scale)))


def batch_norm(b: Build, x: str) -> str:
    values = [np.ones(3), np.zeros(3), np.asarray(MEAN_255), np.asarray(STD_255) ** 2]
    return b("BatchNormalization", x, *(b.constant(v) for v in values), epsilon=0.0)


def first(b: Build, x: str) -> str:
    return b("Transpose", b("Cast", x, to=FLOAT), perm=[0, 3, 1, 2])


def last(b: Build, x: str) -> str:
    return b("Transpose", sub_div(b, b("Cast", x, to=FLOAT), "NHWC"), perm=[0, 3, 1, 2])


HEADS: dict[str, tuple[Any, tuple[int, ...], Callable[[Build, str], str]]] = {
    "bytes NCHW": (np.uint8, NCHW, lambda b, x: sub_div(b, b("Cast", x, to=FLOAT))),
    "bytes NHWC": (np.uint8, NHWC, lambda b, x: sub_div(b, first(b, x))),
    "bytes NHWC, normalised there": (np.uint8, NHWC, last),
    "bytes HWC": (np.uint8, (*SIZE_HW, 3), lambda b, x: sub_div(b, first(b, b("Unsqueeze", x, b.ints(0))))),
    "bytes, mul and add": (np.uint8, NCHW, lambda b, x: mul_add(b, b("Cast", x, to=FLOAT))),
    "bytes, batch norm": (np.uint8, NCHW, lambda b, x: batch_norm(b, b("Cast", x, to=FLOAT))),
    "bytes, four steps": (np.uint8, NCHW, lambda b, x: unit_then_normalise(b, b("Cast", x, to=FLOAT))),
    "floats 0 to 255": (np.float32, NCHW, sub_div),
    "floats NHWC": (np.float32, NHWC, lambda b, x: sub_div(b, b("Transpose", x, perm=[0, 3, 1, 2]))),
    "floats 0 to 1": (
        np.float32,
        NCHW,
        lambda b, x: b("Div", b("Sub", x, b.constant(per_channel(MEAN))), b.constant(per_channel(STD))),
    ),
}


def model(tmp_path: Path, kind: Any, shape: tuple[int, ...], head: Callable[[Build, str], str], seed: int = 0) -> Path:
    b = Build()
    out = b("ArgMax", b.resize(b.body(head(b, "x"), seed=seed)), axis=1, keepdims=0)
    return b.save(tmp_path / "model.onnx", (kind, shape), [out])


@pytest.mark.parametrize("case", HEADS)
def test_a_head_is_cut_and_the_contract_says_it(case, tmp_path):
    found = law(model(tmp_path, *HEADS[case]), tmp_path, wishes(mean=None, std=None))
    np.testing.assert_allclose(found.contract.mean, MEAN, atol=1e-6)
    np.testing.assert_allclose(found.contract.std, STD, atol=1e-6)
    assert found.cut[0] == "normalisation"
    ops = [n.op_type for n in onnx.load(tmp_path / "adopted.onnx").graph.node]
    assert ops[:4] == ["Cast", "Transpose", "Sub", "Conv"]


SWAPS: dict[str, Callable[[Build, str], str]] = {
    "gather": lambda b, x: b("Gather", x, b.ints(2, 1, 0), axis=1),
    "slice": lambda b, x: b("Slice", x, b.ints(-1), b.ints(-100), b.ints(1), b.ints(-1)),
    "split": lambda b, x: b("Concat", *b("Split", x, b.ints(1, 1, 1), outputs=3, axis=1)[::-1], axis=1),
    "three slices": lambda b, x: b(
        "Concat", *(b("Slice", x, b.ints(i), b.ints(i + 1), b.ints(1)) for i in (2, 1, 0)), axis=1
    ),
}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("swap", SWAPS)
def test_a_reversal_of_the_channels_turns_the_colour_order(swap, color, tmp_path):
    head = lambda b, x: sub_div(b, SWAPS[swap](b, b("Cast", x, to=FLOAT)))  # noqa: E731
    found = law(model(tmp_path, np.uint8, NCHW, head), tmp_path, wishes(mean=None, std=None, color=color))
    assert found.contract.color == {"rgb": "bgr", "bgr": "rgb"}[color]
    np.testing.assert_allclose(found.contract.mean, MEAN, atol=1e-6)


def test_a_reversal_behind_the_normalisation(tmp_path):
    head = lambda b, x: SWAPS["gather"](b, sub_div(b, b("Cast", x, to=FLOAT)))  # noqa: E731
    found = law(model(tmp_path, np.uint8, NCHW, head), tmp_path, wishes(mean=None, std=None))
    np.testing.assert_allclose(found.contract.mean, MEAN[::-1], atol=1e-6)


def test_what_was_said_is_put_in(tmp_path):
    found = law(model(tmp_path, np.float32, NCHW, lambda b, x: x), tmp_path)
    np.testing.assert_allclose((found.contract.mean, found.contract.std), (MEAN, STD), atol=1e-6)


def test_a_mean_of_zero_needs_no_subtraction(tmp_path):
    file = model(tmp_path, np.float32, NCHW, lambda b, x: x, seed=1)
    law(file, tmp_path, wishes(mean=(0, 0, 0), std=(1, 1, 1)))
    assert [n.op_type for n in onnx.load(tmp_path / "adopted.onnx").graph.node][:3] == ["Cast", "Transpose", "Conv"]


@pytest.mark.parametrize(
    "head",
    [
        lambda b, x: b("AveragePool", x, kernel_shape=[1, 1]),
        lambda b, x: b("Add", x, b("Mul", x, x)),
        lambda b, x: b("Sub", b.constant(1.0), x),
        lambda b, x: b("Mul", x, b.constant(np.linspace(0.5, 1, SIZE_HW[1]))),
    ],
    ids=["pool", "read twice", "negative", "varies along a row"],
)
def test_where_no_convolution_comes_first_a_factor_is_put_in(head, tmp_path):
    law(model(tmp_path, np.float32, NCHW, head), tmp_path)
    ops = [n.op_type for n in onnx.load(tmp_path / "adopted.onnx").graph.node]
    assert ops[:4] == ["Cast", "Transpose", "Sub", "Mul"]


def test_half_floats(tmp_path):
    b = Build()
    x = b("Cast", b.body(b("Cast", "x", to=FLOAT)), to=10)
    file = b.save(tmp_path / "model.onnx", (np.float16, NCHW), [x])
    assert law(file, tmp_path, least=0.999).contract.stride == 8


def test_open_sizes_are_fixed(tmp_path):
    b = Build()
    logits = b.body("x")
    size = b("Concat", b.ints(1, 5), b("Slice", b("Shape", "x"), b.ints(2), b.ints(4)), axis=0)
    out = b("ArgMax", b("Resize", logits, "", "", size, mode="linear"), axis=1, keepdims=0)
    file = b.save(tmp_path / "model.onnx", (np.float32, ("n", 3, "h", "w")), [out])
    found = law(file, tmp_path, size=SIZE_HW)
    assert (found.contract.size_hw, found.contract.stride) == (SIZE_HW, 8)
    with pytest.raises(UserError, match="--size HxW"):
        open_model(file, None)
    with pytest.raises(UserError, match="fixed to 48x80, --size says 32x32"):
        open_model(model(tmp_path, *HEADS["floats 0 to 1"]), (32, 32))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": None, "std": None}, "--mean 0,0,0 --std 1,1,1 for pixels / 255"),
        ({"mean": None}, "go together"),
        ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
    ],
)
def test_a_model_that_does_not_normalise_asks(given, message, tmp_path):
    opened = open_model(model(tmp_path, np.float32, NCHW, lambda b, x: x), None)
    with pytest.raises(UserError, match=message):
        recognise(opened, wishes(**given))


def test_a_model_that_normalises_takes_no_advice(tmp_path):
    with pytest.raises(UserError, match="leave --mean and --std out"):
        recognise(open_model(model(tmp_path, *HEADS["bytes NHWC"]), None), wishes())


def test_a_grey_model_is_refused(tmp_path):
    b = Build()
    out = b("Conv", "x", b.constant(np.ones((5, 1, 1, 1))))
    with pytest.raises(UserError, match="expected three channels"):
        recognise(open_model(b.save(tmp_path / "m.onnx", (np.float32, (1, 1, 8, 8)), [out]), None), wishes())


def test_a_model_as_tensorflow_exports_it(tmp_path):
    """Channels last at both ends, transposes inwards, and every operation of the ends on that layout."""
    b = Build()
    x = b("Sub", b("Mul", "x", b.constant(1 / 127.5)), b.constant(1.0))
    logits = b("Transpose", b.body(b("Transpose", x, perm=[0, 3, 1, 2])), perm=[0, 2, 3, 1])
    sizes = b.ints(1, *SIZE_HW, 5)
    large = b("Resize", logits, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    out = b("Cast", b("ArgMax", b("Softmax", large, axis=-1), axis=-1, keepdims=0), to=6)
    found = law(b.save(tmp_path / "m.onnx", (np.float32, ("n", None, None, 3)), [out]), tmp_path, HALF, size=SIZE_HW)
    assert found.cut == ("normalisation", "Resize x8 linear", "Softmax", "ArgMax")
    np.testing.assert_allclose((found.contract.mean, found.contract.std), 0.5, atol=1e-6)
    ops = [n.op_type for n in onnx.load(tmp_path / "adopted.onnx").graph.node]
    assert (ops[:4], ops[-1]) == (["Cast", "Transpose", "Sub", "Conv"], "Conv")
