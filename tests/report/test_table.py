"""Joining what was timed with what was evaluated."""

from __future__ import annotations

import io

import pytest

from edgeseg.measure.measurement import Golden
from edgeseg.report.table import HEADINGS, footnotes, render, rows


def test_a_measurement_and_its_evaluation_are_one_row(measured, evaluated):
    table = rows([measured()], [evaluated("openvino-int8", 0.709), evaluated("torch-int8", 0.71)])
    assert [(r.backend, r.precision, r.miou, r.verdict) for r in table] == [
        ("torch", "int8", 0.71, None),
        ("openvino", "fp32", None, "baseline"),
        ("openvino", "int8", 0.709, "MET"),
    ]
    assert table[-1].cells == (
        "int8-net", "openvino 1.2", "INT8", "70.9%", "99.93%", "10.0", "10.0", "100", "5.9 MB", "MET"
    )  # fmt: skip
    assert len(HEADINGS) == len(table[-1].cells)


def test_without_an_evaluation_agreement_is_the_golden_frames_and_marked(measured):
    baseline, int8 = rows([measured()], [])
    assert int8.agreement == 0.9991 and int8.cells[4] == "99.91%†" and int8.name == "street"
    assert baseline.cells[6] == "40.0*"  # p99 of 100 frames
    assert [note[0] for note in footnotes([baseline, int8])] == ["†", "*"]
    assert footnotes([]) == []


def test_baselines_are_joined_too(measured, evaluated):
    baseline, _ = rows([measured()], [evaluated("openvino-fp32", 0.72)])
    assert baseline.miou == 0.72 and baseline.verdict == "baseline"


def test_an_evaluation_of_another_bundle_or_engine_stays_apart(measured, evaluated):
    other = evaluated("openvino-int8", 0.5, bundle_digest="dead" * 16)
    third = evaluated("onnxruntime-int8", 0.6)
    table = rows([measured()], [other, third])
    assert [(r.backend, r.miou, r.p50_ms) for r in table[1:]] == [
        ("openvino", None, 10.0),
        ("openvino", 0.5, None),
        ("onnxruntime", 0.6, None),
    ]


def test_the_same_bundle_goes_before_one_that_is_not_named(measured, evaluated):
    anonymous, own = evaluated("openvino-int8", 0.5, bundle_digest=None), evaluated("openvino-int8", 0.7)
    assert rows([measured()], [anonymous, own])[1].miou == 0.7
    assert rows([measured()], [anonymous])[1].miou == 0.5


def test_wrong_answers_are_invalid_in_the_table(measured):
    assert rows([measured(golden=Golden(agreements=(0.5,)))], [])[-1].verdict == "INVALID"


def test_the_terminal_table_says_the_same(measured, evaluated):
    console = pytest.importorskip("rich.console").Console(width=160, file=io.StringIO())
    console.print(render(rows([measured()], [evaluated("openvino-int8", 0.709)])))
    text = console.file.getvalue()
    for word in (*HEADINGS, "70.9%", "99.93%", "MET", "baseline", "fewer than 299 frames"):
        assert word in text
