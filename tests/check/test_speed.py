"""What is slow: float where integers could be, roundings in the way, widths that fill no pack."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
from graphs import Sketch
from onnx import TensorProto as T

from edgeseg.check import speed
from edgeseg.check.findings import merged
from edgeseg.check.network import Network
from edgeseg.check.readers import RTX_VERSION, Reader

RTX, OLD = Reader("trt-rtx", RTX_VERSION), Reader("trt", (8, 6))
f32 = np.float32
WIDE = (1, 32, 8, 8)
SQUARE = (32, 32, 3, 3)


def said(model, reader=RTX):
    network = Network(model)
    rules = [rule for rule in speed.RULES if rule is not speed.float_results_on_rtx]  # said of every one here
    return {f.rule: f for f in merged(f for rule in rules for f in rule(network, reader))}


def integer_conv(s, x, shape=SQUARE, **attributes):
    return s.conv(x, s.integer_weight(shape), **attributes)


def test_a_chain_of_integers_is_fast():
    s = Sketch(WIDE)
    y = s.rounded(s.node("Relu", integer_conv(s, s.rounded("x")), name="relu"))
    assert said(s.model(integer_conv(s, y))) == {}


def test_a_convolution_that_stays_in_float():
    s = Sketch(WIDE)
    y = s.conv("x", s.weight(SQUARE), name="stem.Conv")
    found = said(s.model(integer_conv(s, s.rounded(y))))
    assert found["float-convolution"].nodes == ("stem.Conv",)
    assert "50.0% of the multiply-adds" in found["float-convolution"].message
    assert "input" in found["float-convolution"].message
    assert found["float32"].severity == "slow"


def test_weights_alone_in_float():
    s = Sketch(WIDE)
    y = s.conv(s.rounded("x"), s.weight(SQUARE), name="stem.Conv")
    assert "its weights are not" in said(s.model(integer_conv(s, s.rounded(y))))["float-convolution"].message


def test_depthwise_left_in_float_is_a_note():
    s = Sketch(WIDE)
    y = s.conv("x", s.weight((32, 1, 3, 3)), group=32)
    found = said(s.model(integer_conv(s, s.rounded(y))), OLD)
    assert {rule: f.severity for rule, f in found.items()} == {"depthwise-float": "note"}


def test_integers_that_come_out_as_floats():
    s = Sketch(WIDE)
    y = integer_conv(s, s.rounded("x"), name="body.Conv")
    y = s.node("Softmax", y, axis=1)
    found = said(s.model(integer_conv(s, s.rounded(y))))
    assert found["float-output"].nodes == ("body.Conv",)


def test_a_concatenation_is_rounded_as_its_parts():
    s = Sketch(WIDE)
    x = s.rounded("x")
    y = s.node("Concat", integer_conv(s, x), integer_conv(s, x), axis=1)
    assert said(s.model(integer_conv(s, s.rounded(y), (32, 64, 3, 3)))) == {}


def test_logits_stay_float():
    s = Sketch(WIDE)
    y = s.node("Softmax", integer_conv(s, s.rounded("x")), axis=1)
    assert said(s.model(y)) == {}


@pytest.mark.parametrize("kind", ["BatchNormalization", "Relu"])
def test_a_rounding_between_what_fuses(kind):
    s = Sketch(WIDE)
    y = s.rounded(integer_conv(s, s.rounded("x"), name="body.Conv"))
    extra = [s.constant(np.ones(32, f32)) for _ in range(4)] if kind == "BatchNormalization" else []
    found = said(s.model(integer_conv(s, s.rounded(s.node(kind, y, *extra)))))
    assert found["split-fusion"].nodes == ("body.Conv",)
    assert kind in found["split-fusion"].message


def residual(s, left, right):
    return s.model(integer_conv(s, s.rounded(s.node("Relu", s.node("Add", left, right, name="add")))))


def test_a_sum_with_one_branch_in_float():
    s = Sketch(WIDE)
    x = s.rounded("x")
    branch = s.node("Softmax", integer_conv(s, x), axis=1)
    assert said(residual(s, x, branch))["residual"].nodes == ("add",)


def test_sums_that_fuse():
    s = Sketch(WIDE)
    x = s.rounded("x")
    assert "residual" not in said(residual(s, x, s.rounded(integer_conv(s, x))))
    s = Sketch(WIDE)
    x = s.rounded("x")
    assert "residual" not in said(residual(s, x, integer_conv(s, x))), "one branch straight from its convolution"


def test_float32_between_is_counted():
    s = Sketch(WIDE)
    y = s.node("Softmax", integer_conv(s, s.rounded("x")), axis=1, name="middle")
    found = said(s.model(integer_conv(s, s.rounded(y))))
    # The convolution's result, 32 * 8 * 8 floats; softmax's own goes into the rounding.
    assert "0.01 MiB" in found["float32"].message
    assert "1 of them" in found["float32"].message


def test_float16_throughout_is_fast_and_float32_is_not():
    s = Sketch(WIDE, T.FLOAT16)
    assert said(s.model(s.conv("x", s.weight(SQUARE, np.float16)), dtype=T.FLOAT16)) == {}
    s = Sketch(WIDE)
    model = s.model(s.conv("x", s.weight(SQUARE)))
    assert said(model)["float32"].severity == "slow"
    assert said(model, OLD) == {}, "8.6 is told by a flag"


def test_int8_depthwise_is_a_matter_of_rtx():
    s = Sketch(WIDE)
    model = s.model(integer_conv(s, s.rounded("x"), (32, 1, 3, 3), group=32))
    assert "rtx-depthwise" in said(model)
    assert "rtx-depthwise" not in said(model, Reader("trt", (10, 0)))


@pytest.mark.parametrize(
    ("per_channel", "target", "times"), [(True, "trt-rtx", 1), (False, "trt-rtx", 0), (True, "trt", 0)]
)
def test_scales_per_channel_cost_float_results_on_rtx(per_channel, target, times):
    s = Sketch(WIDE)
    model = s.model(s.conv(s.rounded("x"), s.integer_weight(SQUARE, per_channel=per_channel)))
    reader = RTX if target == "trt-rtx" else Reader("trt", (10, 0))
    assert len(list(speed.float_results_on_rtx(Network(model), reader))) == times


def test_channels_are_filled_up():
    s = Sketch((1, 16, 8, 8))
    found = said(s.model(integer_conv(s, s.rounded("x"), (24, 16, 3, 3))))
    assert found["channels"].severity == "note"
    assert "up to 2.67 times" in found["channels"].message  # 32 / 24 * 32 / 16


def test_the_tail_belongs_behind_the_engine():
    s = Sketch((1, 5, 8, 8))
    y = s.node("Resize", "x", "", s.constant(np.array([1, 1, 8, 8], f32)), mode="linear", name="up")
    found = said(s.model(s.node("ArgMax", y, axis=1, name="labels"), dtype=T.INT64))
    assert found["tail"].nodes == ("labels", "up")
    assert "Resize and ArgMax" in found["tail"].message
