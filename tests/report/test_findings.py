"""The sentences of a report."""

from __future__ import annotations

import pytest

from edgeseg.measure.measurement import Golden
from edgeseg.report.findings import findings, headline


def of(*measurements, evaluations=()):
    return headline(findings(measurements, evaluations))


def test_one_engine(measured):
    assert of(measured()) == ("MET", "openvino-int8 keeps 50 frames per second.")
    assert of(measured(ms=[25.0] * 300)) == ("MISSED", "openvino-int8 misses 50 frames per second.")
    assert of(measured(ms=[1.0] * 5)) == ("INVALID", "openvino-int8 has no valid measurement.")
    assert of() == (None, "Nothing was timed: there is no verdict, only accuracy.")


def test_several_engines_best_first_and_the_worst_status(measured):
    good, other, late = measured(), measured("onnxruntime"), measured("third", ms=[25.0] * 300)
    wrong = measured("fourth", golden=Golden(agreements=(0.1,)))
    assert of(good, other) == ("MET", "openvino-int8 and onnxruntime-int8 keep 50 frames per second.")
    assert of(wrong, late, good) == (
        "INVALID",
        "openvino-int8 keeps 50 frames per second; third-int8 misses them; fourth-int8 has no valid measurement.",
    )


@pytest.mark.parametrize(("engine", "kept"), [(0.708, True), (0.7065, False), (0.72, True)])
def test_accuracy_is_against_the_network_of_the_same_precision(measured, evaluated, engine, kept):
    evaluations = [evaluated("torch-float", 0.80), evaluated("torch-int8", 0.71), evaluated("openvino-int8", engine)]
    (finding,) = findings([measured()], evaluations)
    assert finding.accuracy.kept is kept
    said = headline([finding])[1]
    assert ("But openvino-int8 loses more accuracy than allowed." in said) == (not kept)
    assert "against int8-net in torch (71.0%" in finding.accuracy.text


def test_no_claim_about_accuracy_without_one_network_to_compare_with(measured, evaluated):
    engine = evaluated("openvino-int8", 0.7)
    for networks, word in (
        ([], "was not evaluated there"),
        ([evaluated("torch-int8", 0.7, split="train")], "was not evaluated there"),
        ([evaluated("torch-int8", 0.7), evaluated("torch-int8", 0.9)], "one of several"),
    ):
        (finding,) = findings([measured()], [engine, *networks])
        assert finding.accuracy.kept is None and word in finding.accuracy.text
    (finding,) = findings([measured()], [])
    assert "not evaluated on labelled frames" in finding.accuracy.text


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (0.708, "INT8 against FP32 on this engine: mIoU 70.8% against 71.2% (−0.4 points)"),
        (
            0.700,
            "INT8 is not a win: it is less accurate than FP32 on this engine: mIoU 70.0% against 71.2% (−1.2 points)",
        ),
    ],
)
def test_what_int8_costs_is_said_with_both_figures(measured, evaluated, engine, said):
    (finding,) = findings([measured()], [evaluated("openvino-int8", engine), evaluated("openvino-fp32", 0.712)])
    assert finding.notes[-1].startswith(said)
