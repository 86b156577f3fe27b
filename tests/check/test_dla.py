"""What a DLA leaves to the GPU, as its documents say; none was asked."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
from graphs import Sketch

from edgeseg.check import check_graph
from edgeseg.check.network import Network
from edgeseg.check.readers import Reader

f32 = np.float32


def said(model, version=(10, 3)):
    found = check_graph(Network(model), Reader("trt", version, dla=True))
    return {(f.severity, f.rule, f.nodes) for f in found if f.rule.startswith("dla")}


def of(op, *constants, shape=(1, 8, 16, 16), **attributes):
    s = Sketch(shape)
    return s.model(s.node(op, "x", *("" if c is None else s.constant(c) for c in constants), name="it", **attributes))


def up(h, w):
    return np.array([1, 1, h, w], f32)


LEFT = {("slow", "dla-limit", ("it",))}


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (of("Relu"), set()),
        (of("Conv", np.ones((8, 8, 3, 3), f32)), set()),
        (of("Conv", np.ones((8, 8, 3, 3), f32), strides=[9, 9]), LEFT),
        (of("ConvTranspose", np.ones((8, 8, 2, 2), f32), strides=[2, 2]), set()),
        (of("ConvTranspose", np.ones((8, 8, 4, 4), f32), strides=[2, 2], pads=[1] * 4), LEFT),
        (of("ConvTranspose", np.ones((8, 4, 2, 2), f32), group=2), LEFT),
        (of("MaxPool", kernel_shape=[3, 3]), set()),
        (of("AveragePool", kernel_shape=[9, 9]), LEFT),
        (of("GlobalAveragePool"), LEFT),
        (of("GlobalAveragePool", shape=(1, 8, 8, 8)), set()),
        (of("Resize", None, up(2, 2), mode="linear"), set()),
        (of("Resize", None, up(2, 2), mode="linear", coordinate_transformation_mode="align_corners"), LEFT),
        (of("Resize", None, up(8, 8), mode="linear"), LEFT),
        (of("Resize", None, up(8, 8), mode="nearest"), set()),
        (of("Resize", None, up(1.5, 1.5), mode="nearest"), LEFT),
        (of("Erf"), {("slow", "dla-operator", ("it",))}),
    ],
)
def test_limits(model, left):
    assert said(model) == left


@pytest.mark.parametrize(("version", "there"), [((8, 6), 1), ((10, 7), 1), ((10, 8), 0), ((11, 0), 0), ((11, 4), 1)])
def test_not_every_tensorrt_has_a_dla(version, there):
    assert (("refused", "dla", ()) in said(of("Relu"), version)) is not bool(there)


def test_roundings_keep_a_graph_off_dla():
    s = Sketch()
    assert ("slow", "dla-quantization", ()) in said(s.model(s.conv(s.rounded("x"), s.integer_weight())))


def test_sizes_must_be_fixed():
    s = Sketch((1, 8, "h", 8))
    assert ("slow", "dla-shape", ("it",)) in said(s.model(s.node("Relu", "x", name="it")))
