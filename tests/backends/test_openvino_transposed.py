"""Transposed convolutions of a quantized graph: in float, with the weights that its integers stand for."""

from __future__ import annotations

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from edgeseg.backends.openvino import as_run, core


def test_integers_become_the_floats_that_they_stand_for():
    integers = np.arange(-4, 12, dtype=np.int8).reshape(2, 2, 2, 2)
    scale = np.array([0.5, 0.25], np.float32).reshape(1, 2, 1, 1)
    x = ops.parameter([1, 2, 3, 4], np.float32, name="x")
    weights = ops.multiply(ops.convert(ops.constant(integers), np.float32), ops.constant(scale))
    up = ops.convolution_backprop_data(x, weights, strides=[2, 2])
    model = as_run(ov.Model([ops.result(up)], [x]))
    (found,) = [op for op in model.get_ops() if op.get_type_name() == "ConvolutionBackpropData"]
    given = found.input_value(1).get_node()
    assert given.get_type_name() == "Constant"
    np.testing.assert_array_equal(given.data, integers * scale)
    frame = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    answer = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([frame])[0]  # (1, H, W, C)
    want = np.einsum("nchw,cokl->nhkwlo", frame, integers * scale).reshape(1, 6, 8, 2)
    np.testing.assert_allclose(answer, want, rtol=1e-5, atol=1e-5)
