"""Graphs that are not ours go through the rewrites for ONNX Runtime as they are."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgeseg.backends import onnxruntime  # noqa: E402


def run(nodes, constants, x: np.ndarray, folder, rewritten: bool) -> np.ndarray:
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    if rewritten:
        onnxruntime.prefer_integers(model)
    onnx.save(model, folder / "foreign.onnx")
    return onnxruntime.plain(folder / "foreign.onnx")(x)


@pytest.mark.parametrize("top", [6.0, 127 * 0.05], ids=["relu6", "ours"])
def test_a_clip_before_a_rounding_keeps_its_end(top, tmp_path):
    constants = {"low": np.float32(0), "high": np.float32(top), "scale": np.float32(0.05), "zero": np.uint8(0)}
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    x = np.linspace(-1, 20, 64, dtype=np.float32)
    before, after = (run(nodes, constants, x, tmp_path, rewritten) for rewritten in (False, True))
    np.testing.assert_array_equal(before, after)
    assert after.max() == pytest.approx(top)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pool_over_one_pixel_that_thins_out_stays(stride, tmp_path):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[1, 1], strides=[stride] * 2),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert run(nodes, {}, x, tmp_path, True).shape[2] == 4 // stride
