"""OpenVINO and ONNX Runtime: signed or unsigned, and what comes out wrong."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
from graphs import Sketch

from edgeseg.check import check_graph
from edgeseg.check.network import Network
from edgeseg.check.readers import Reader


def said(model, target):
    return {f.rule: f.severity for f in check_graph(Network(model), Reader(target))}


def rectified(zero):
    s = Sketch()
    x = s.rounded(s.node("Relu", "x"), zero=zero)
    weight = s.dequantize(s.constant(np.full((8, 8, 3, 3), 60, np.int8)), zero=np.int8(0))
    return s.model(s.conv(x, weight))


def test_signed_rounding_behind_a_relu():
    assert said(rectified(np.int8(0)), "onnxruntime") == {"signed-activations": "slow"}
    assert said(rectified(np.int8(0)), "openvino") == {"signed-activations": "note"}
    assert said(rectified(np.uint8(0)), "onnxruntime") == said(rectified(np.uint8(0)), "openvino") == {}


@pytest.mark.parametrize(
    ("count", "rounds", "wrong"), [(1, True, True), (0, True, False), (1, False, False)], ids=["int8", "sound", "float"]
)
def test_average_pools_that_count_their_padding(count, rounds, wrong):
    s = Sketch()
    x = s.rounded("x", zero=np.uint8(128)) if rounds else "x"
    y = s.node("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=count)
    assert said(s.model(s.rounded(y, zero=np.uint8(128))), "openvino") == ({"average-pool": "wrong"} if wrong else {})


def test_roundings_before_a_sum_need_something_to_hold_them():
    def summed(held):
        s = Sketch()
        branch = s.rounded(s.conv("x"))
        if held:
            branch = s.node("MaxPool", branch, kernel_shape=[1, 1])
        return s.model(s.node("Add", "x", branch))

    assert said(summed(False), "openvino") == {"rounded-sum": "note"}
    assert said(summed(True), "openvino") == said(summed(False), "onnxruntime") == {}


def test_weights_of_eight_bits():
    s = Sketch()
    model = s.model(s.conv(s.rounded("x", zero=np.uint8(0)), s.integer_weight()))
    assert said(model, "openvino") == {"saturation": "note"}
