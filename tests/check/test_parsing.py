"""Each fault is found, by the rule and with the severity that are written beside it, and nothing graver."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
from faults import FAULTS
from graphs import Sketch
from onnx import TensorProto as T

from edgeseg.check import check_graph, operators
from edgeseg.check.network import Network
from edgeseg.check.readers import RTX_VERSION, Reader

RTX = Reader("trt-rtx", RTX_VERSION)
NEW, OLD = Reader("trt", (11, 0)), Reader("trt", (8, 6))
LOUD = (
    "float32",
    "rtx-float-results",
)  # said of every graph here that computes in float32; as "tail" of those that end so


def found(model, reader=RTX):
    return [f for f in check_graph(Network(model), reader) if f.rule not in LOUD]


def rules(model, reader=RTX):
    return {(f.severity, f.rule) for f in found(model, reader)}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name):
    fault = FAULTS[name]
    findings = [f for f in found(fault.make()) if f.rule == fault.rule or f.rule != "tail"]
    if fault.severity is None:
        assert not findings
    else:
        assert (fault.severity, fault.rule) in {(f.severity, f.rule) for f in findings}
        assert findings[0].severity == fault.severity, "and nothing graver"


def test_messages_say_what_to_do():
    for fault in FAULTS.values():
        for finding in check_graph(Network(fault.make()), RTX):
            assert len(finding.message) > 30 and finding.message[-1] != "."


def mean(opset):
    s = Sketch(opset=opset)
    axes = {"axes": [2, 3]} if opset < 18 else {}
    return s.model(s.node("ReduceMean", "x", *([] if axes else [s.constant(np.array([2, 3]))]), **axes))


def test_old_parsers_overlook_axes_that_are_an_input():
    """8.6 looks for the attribute, which opset 18 did away with, and takes the mean over everything."""
    assert ("wrong", "reduction") in rules(mean(18), OLD)
    assert rules(mean(17), OLD) == set()
    assert rules(mean(18), NEW) == set()


@pytest.mark.parametrize(
    ("op", "opset", "first"),
    [("Mish", 18, (10, 0)), ("Gelu", 20, (10, 0)), ("DeformConv", 19, (10, 1)), ("RMSNormalization", 23, (10, 15))],
)
def test_operators_come_with_a_release(op, opset, first):
    s = Sketch(opset=opset)
    model = s.model(s.node(op, "x"))
    before = (first[0], first[1] - 1) if first[1] else (8, 6)
    (finding,) = [f for f in found(model, Reader("trt", before)) if f.rule == "operator"]
    assert f"came with TensorRT {first[0]}.{first[1]}" in finding.message
    assert not [f for f in found(model, Reader("trt", first)) if f.rule == "operator"]


def test_the_table_has_every_row_of_the_documents():
    assert len(operators.IN_8_6) == 145
    assert not operators.IN_8_6 & set(operators.SINCE)
    assert not operators.supported("QLinearConv", NEW) and not operators.supported("Det", NEW)
    assert [operators.newest_opset(Reader("trt", v)) for v in ((8, 6), (10, 3), (10, 15), (11, 2))] == [17, 20, 24, 25]


def test_a_plugin_of_tensorrt_is_worth_a_note():
    model = FAULTS["non_zero"].make()
    assert ("note", "plugin") in rules(model, NEW)


def test_half_precision_scales_are_misread_by_8_6():
    s = Sketch(dtype=T.FLOAT16)
    model = s.model(s.rounded("x", np.float16(0.1)), dtype=T.FLOAT16)
    assert ("wrong", "scale") in rules(model, OLD)
    assert ("wrong", "scale") not in rules(model, NEW)


def test_8_6_wants_a_zero_point():
    model = FAULTS["without_zero_point"].make()
    assert ("refused", "zero-point") in rules(model, OLD)


def test_8_6_has_no_int64_outside():
    model = FAULTS["cast_to_int64"].make()
    assert ("note", "type") in rules(model, OLD)
    assert rules(model, NEW) == set()


def test_computed_slices_are_read_since_10_3():
    s = Sketch()
    axes = s.node("Cast", s.node("ReduceMin", "x", keepdims=0), to=T.INT64)
    axes = s.node("Reshape", axes, s.constant(np.array([1])))
    ends = [s.constant(np.array([n])) for n in (0, 4)]
    model = s.model(s.node("Slice", "x", *ends, axes))
    assert ("refused", "computed-parameter") in rules(model, Reader("trt", (10, 2)))
    assert ("refused", "computed-parameter") not in rules(model, Reader("trt", (10, 3)))


def test_nodes_are_named_as_in_the_graph():
    s = Sketch()
    model = s.model(s.node("Unique", "x", name="stem.0.Unique"))
    assert [f.nodes for f in found(model) if f.rule == "operator"] == [("stem.0.Unique",)]
