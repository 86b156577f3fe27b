"""What is exported is what was trained: integers, names and arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from edgeseg import backends
from edgeseg.bundle import Bundle
from edgeseg.checkpoint import Run
from edgeseg.graph import passes


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return Bundle.load(exported)


def exact(path: Path | bytes, pixels: np.ndarray) -> np.ndarray:
    """The graph computed as written, node by node, nothing fused."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options).run(None, {"image": pixels})[0]


def noise(seed: int, bundle: Bundle) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, bundle.contract.input_shape, dtype=np.uint8)


def network_of(run: Path, pixels: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(((pixels.astype(np.float32) - 128) / 128).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        return Run.load(run).network()(images).logits.numpy()


def test_float_graph_is_the_float_network(bundle, runs):
    pixels = noise(0, bundle)
    want = network_of(runs / "student", pixels)
    np.testing.assert_allclose(exact(bundle.graph("float"), pixels), want, rtol=0, atol=1e-4)


def test_int8_graph_is_the_network_under_fake_quantization(bundle, runs):
    pixels = bundle.golden().frames[:1]
    want = network_of(runs / "qat", pixels)
    # Every rounded value is the same; the logits, which are not rounded, are sums of them in another order.
    np.testing.assert_allclose(exact(bundle.graph("int8"), pixels), want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_u8_form_computes_what_the_s8_form_does(bundle):
    s8, u8 = (exact(bundle.graph(form), noise(1, bundle)) for form in ("int8", "int8-cpu"))
    np.testing.assert_allclose(u8, s8, rtol=0, atol=1e-5 * np.abs(s8).max())


def test_s8_form_is_what_tensorrt_accepts(bundle):
    model = onnx.load(bundle.graph("int8"))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    rounding = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(rounding) > 50
    for node in rounding:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    assert not any(n.op_type == "BatchNormalization" for n in model.graph.node)


def test_weights_are_seven_bit_integers(bundle):
    weights = [
        numpy_helper.to_array(t)
        for t in onnx.load(bundle.graph("int8")).graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert len(weights) > 40
    assert all(np.abs(w.astype(int)).max() == 63 for w in weights)


def test_nodes_bear_the_names_of_modules(bundle, runs):
    modules = dict(Run.load(runs / "student").network().named_modules())
    convolutions = bundle.provenance["convolutions"]
    assert len(convolutions["float"]) == 1  # the logits stay float
    for name in convolutions["int8"] + convolutions["float"]:
        assert isinstance(modules[name.removesuffix(".Conv")], torch.nn.Conv2d)


def test_what_cannot_be_negative_is_clipped_where_training_clipped_it(bundle):
    model = onnx.load(bundle.graph("int8-cpu"))
    links = passes.Links(model.graph)
    assert not [n.name for n in model.graph.node if n.op_type == "Relu" and len(links.readers[n.output[0]]) == 1]
    rounded = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[2] == "zero_u8"]
    assert rounded
    for node in rounded:
        bottom, top = (numpy_helper.to_array(links.constants[t]) for t in links.maker[node.input[0]].input[1:])
        assert bottom == 0 and top == pytest.approx(127 * numpy_helper.to_array(links.constants[node.input[1]]))


def test_a_sum_reads_rounded_convolutions_through_a_held_rounding(bundle):
    model = onnx.load(bundle.graph("int8-cpu"))
    links = passes.Links(model.graph)
    held = [n for n in model.graph.node if n.op_type == "MaxPool"]
    assert len(held) > 10 and all(list(n.attribute[0].ints) == [1, 1] for n in held)
    assert {r.op_type for n in held for r in links.readers[n.output[0]]} == {"Add"}


def test_what_only_sums_read_stays_signed(bundle):
    model = onnx.load(bundle.graph("int8-cpu"))
    links = passes.Links(model.graph)
    signed = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[2] == "zero_s8"]
    assert len(signed) > 10
    for node in signed:
        reals = [real.output[0] for real in links.readers[node.output[0]]]
        assert {r.op_type for real in reals for r in links.readers[real]} <= {"MaxPool", "Add"}


def test_onnx_runtime_hears_unsigned_integers_only(bundle):
    """Neither Clip nor 1x1 max-pool nor signed activations are left, and what comes out is the same."""
    model = onnx.load(bundle.graph("int8-cpu"))
    backends.get("onnxruntime").prefer_integers(model)
    kinds = {n.op_type for n in model.graph.node}
    assert "Min" in kinds and not kinds & {"Clip", "MaxPool"}
    assert {n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"} == {"zero_u8", "middle_u8"}
    pixels = noise(2, bundle)
    np.testing.assert_array_equal(exact(model.SerializeToString(), pixels), exact(bundle.graph("int8-cpu"), pixels))


def two_roundings() -> onnx.ModelProto:
    """Input -> rounded -> Relu -> rounded: the first grid needs both signs, the second only one."""
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    constants = {"s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="first"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Relu", ["xd"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"], name="second"),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", float_, [4])],
        [helper.make_tensor_value_info("y", float_, [4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_what_was_negative_keeps_its_middle_zero_point():
    u8 = passes.to_u8(two_roundings())
    assert [n.input[2] for n in u8.graph.node if n.op_type == "QuantizeLinear"] == ["middle_u8", "zero_u8"]
    x = np.array([-0.5, -0.04, 0.26, 99], np.float32)
    want = ort.InferenceSession(two_roundings().SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(want, [0, 0, 0.3, 12.7], atol=1e-6)
    np.testing.assert_array_equal(ort.InferenceSession(u8.SerializeToString()).run(None, {"x": x})[0], want)


def test_a_convolution_behind_a_shuffle_should_run_in_int8():
    """Rounded -> Reshape -> Transpose -> Reshape -> convolution -> rounded: the values are integers all the way."""
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    constants = {
        "s": np.float32(0.1), "z": np.int8(0), "w": np.ones((4, 4, 1, 1), np.int8),
        "split": np.array([1, 2, 2, 3, 3]), "whole": np.array([1, 4, 3, 3]),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Reshape", ["xd", "split"], ["groups"]),
        helper.make_node("Transpose", ["groups"], ["dealt"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["dealt", "whole"], ["shuffled"]),
        helper.make_node("Conv", ["shuffled", "wd"], ["c"], name="rounded"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["cd"]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Reshape", ["r", "whole"], ["real"]),
        helper.make_node("Conv", ["real", "wd"], ["y"], name="never rounded"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", float_, [1, 4, 3, 3])],
        [helper.make_tensor_value_info(name, float_, [1, 4, 3, 3]) for name in ("cd", "y")],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    assert passes.convolutions(helper.make_model(graph)) == {"int8": ["rounded"], "float": ["never rounded"]}
