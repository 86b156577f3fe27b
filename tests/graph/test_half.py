"""fp16 in a graph: where it changes nothing that was rounded, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeseg import pixels
from edgeseg.bundle import Bundle
from edgeseg.errors import NetworkError
from edgeseg.graph.half import leave_depthwise_float, to_half

node = helper.make_node


def run(model: onnx.ModelProto, given: np.ndarray) -> np.ndarray:
    """Node by node, nothing fused."""
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


def graph_of(nodes, constants, channels=4) -> onnx.ModelProto:
    """From bytes ``image`` (1, 4, 4, C) to floats ``out``, through nodes that read ``x`` (1, C, 4, 4)."""
    head = [
        node("Cast", ["image"], ["pixels.real"], name="pixels.Cast", to=TensorProto.FLOAT),
        node("Transpose", ["pixels.real"], ["x"], name="pixels.Transpose", perm=[0, 3, 1, 2]),
    ]
    graph = helper.make_graph(
        [*head, *nodes],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, 4, 4, channels))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, None, None, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def rounded(tensor, out, scale="step"):
    return [
        node("QuantizeLinear", [tensor, scale, "zero"], [f"{out}.q"], name=f"{out}.Q"),
        node("DequantizeLinear", [f"{out}.q", scale, "zero"], [out], name=f"{out}.DQ"),
    ]


def residual(step: float = 0.25):
    """conv, relu, rounding, and a sum with what went in."""
    rng = np.random.default_rng(0)
    constants = {
        "step": np.float32(step),
        "zero": np.int8(0),
        "w_q": rng.integers(-60, 60, (4, 4, 3, 3)).astype(np.int8),
        "w_step": np.float32(1 / 64),
        "bias": rng.normal(size=4).astype(np.float32),
    }
    nodes = [
        *rounded("x", "a"),
        node("DequantizeLinear", ["w_q", "w_step", "zero"], ["w"], name="w.DQ"),
        node("Conv", ["a", "w", "bias"], ["b"], name="conv", pads=[1] * 4),
        node("Relu", ["b"], ["c"], name="relu"),
        *rounded("c", "d"),
        node("Add", ["a", "d"], ["e"], name="sum"),
        *rounded("e", "f"),
        node("Sigmoid", ["f"], ["out"], name="squash"),
    ]
    return graph_of(nodes, constants)


def types(model: onnx.ModelProto) -> dict[str, str]:
    """What each node computes in, by its name."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    known = {v.name: v.type.tensor_type.elem_type for v in [*inferred.graph.value_info, *inferred.graph.output]}
    names = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT8: "int8"}
    return {n.name: names[known[n.output[0]]] for n in model.graph.node if known[n.output[0]] in names}


IMAGE = np.random.default_rng(1).integers(0, 32, (1, 4, 4, 4)).astype(np.uint8)


def test_only_what_is_rounded_already_is_fp16():
    half = to_half(residual())
    found = types(half)
    assert found["conv"] == found["relu"] == found["pixels.Cast"] == "fp32"
    assert found["sum"] == found["squash"] == "fp16"
    assert found["a.DQ"] == "fp32" and found["a.DQ.half"] == "fp16"  # the convolution's, and the sum's
    assert found["d.DQ.half"] == "fp16" and "d.DQ" not in found
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_every_rounded_value_is_what_it_was():
    model = residual()
    model.graph.node.pop()
    model.graph.node[-1].output[0] = "out"
    np.testing.assert_array_equal(run(to_half(model), IMAGE), run(model, IMAGE))


def test_a_scale_that_is_no_fp16_number_stays_fp32():
    model = residual(0.1)
    half = to_half(model)
    assert {"a.DQ", "d.DQ"} <= set(types(half)) and "a.DQ.half" not in types(half)
    np.testing.assert_allclose(run(half, IMAGE), run(model, IMAGE), atol=2e-3)


def test_a_float_graph_is_fp16_from_head_to_output():
    weights = np.random.default_rng(2).normal(size=(5, 4, 3, 3)).astype(np.float32) / 32
    model = graph_of([node("Conv", ["x", "w"], ["out"], name="conv")], {"w": weights})
    half = to_half(model)
    assert types(half) == {
        "pixels.Cast": "fp32",
        "pixels.Transpose": "fp32",
        "x.half.Cast": "fp16",
        "conv": "fp16",
        "out.float.Cast": "fp32",
    }
    np.testing.assert_allclose(run(half, IMAGE), run(model, IMAGE), rtol=0, atol=0.02)


def test_the_scales_of_a_resize_stay_what_its_operator_wants():
    nodes = [
        node(
            "Resize", ["x", "", "sizes"], ["out"], name="up", mode="linear", coordinate_transformation_mode="half_pixel"
        )
    ]
    model = graph_of(nodes, {"sizes": np.array([1, 1, 2, 2], np.float32)})
    np.testing.assert_allclose(run(to_half(model), IMAGE), run(model, IMAGE), atol=0.02)


def test_a_constant_that_fp16_cannot_hold_is_refused():
    nodes = [node("Relu", ["x"], ["y"], name="relu"), node("Mul", ["y", "huge"], ["out"], name="scale")]
    model = graph_of(nodes, {"huge": np.float32(1e6)})
    with pytest.raises(NetworkError, match=r"huge reaches 1e\+06, fp16 ends at 65504"):
        to_half(model)


def depthwise():
    rng = np.random.default_rng(3)
    constants = {
        "step": np.float32(0.25),
        "zero": np.int8(0),
        "zeros": np.zeros(4, np.int8),
        "w_q": rng.integers(-60, 60, (4, 1, 3, 3)).astype(np.int8),
        "v_q": rng.integers(-60, 60, (4, 2, 1, 1)).astype(np.int8),
        "w_step": (2.0 ** -rng.integers(5, 8, 4)).astype(np.float32),
    }
    nodes = [
        *rounded("x", "a"),
        node("DequantizeLinear", ["w_q", "w_step", "zeros"], ["w"], name="w.DQ", axis=0),
        node("Conv", ["a", "w"], ["b"], name="deep", group=4),
        *rounded("b", "c"),
        node("DequantizeLinear", ["v_q", "w_step", "zeros"], ["v"], name="v.DQ", axis=0),
        node("Conv", ["c", "v"], ["d"], name="grouped", group=2),
        *rounded("d", "out"),
    ]
    return graph_of(nodes, constants)


def test_depthwise_left_float_rounds_where_it_did():
    model = depthwise()
    float_, left = leave_depthwise_float(model)
    assert left == ["deep"]  # not the grouped one
    assert "w.DQ" not in {n.name for n in float_.graph.node} and "v.DQ" in {n.name for n in float_.graph.node}
    np.testing.assert_array_equal(run(float_, IMAGE), run(model, IMAGE))
    half = to_half(float_)
    assert types(half)["deep"] == "fp32"  # fp16 would round its sums before they are rounded
    np.testing.assert_array_equal(run(half, IMAGE), run(model, IMAGE))


@pytest.mark.parametrize(("form", "least"), [("int8", 1.0), ("float", 0.998)])
def test_a_trained_network_keeps_its_labels(exported, form, least):
    bundle = Bundle.load(exported)
    model, contract = onnx.load(bundle.graph(form)), bundle.contract
    same = []
    for frame in bundle.golden().frames:
        ours, theirs = (
            pixels.labels_of(run(graph, frame[None]), contract.size_hw, contract) for graph in (to_half(model), model)
        )
        same.append(np.mean(ours == theirs))
    assert np.mean(same) >= least
