"""Verdicts on measurements that we made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import QUIET

from edgeseg.errors import UserError
from edgeseg.measure.judge import judge
from edgeseg.measure.measurement import Golden
from edgeseg.target import Target


def test_met_and_missed(measured):
    met = judge(measured([10.0] * 300))
    assert (met.status, met.exit_code, met.notes) == ("MET", 0, ())
    assert met.why == "p99 is 10.00 ms, within the 20.00 ms of 50 frames per second"
    missed = judge(measured([10.0] * 300, deadline_ms=9.0))
    assert (missed.status, missed.exit_code) == ("MISSED", 3) and "over the 9.00 ms" in missed.why


@pytest.mark.parametrize(("late", "status"), [(0, "MET"), (3, "MET"), (4, "MISSED")])
def test_one_percent_of_frames_may_be_late(measured, late, status):
    verdict = judge(measured([10.0] * (400 - late) + [50.0] * late))
    assert verdict.status == status
    assert any(f"{late} of 400 frames were late; the slowest took 50.00 ms" == n for n in verdict.notes) == (late > 0)


def test_a_deadline_inside_the_interval_is_a_close_call(measured):
    """3 of 400 late: p99 is observed in time, but its true value may well be beyond the deadline."""
    verdict = judge(measured([10.0] * 397 + [50.0] * 3))
    assert verdict.status == "MET"
    assert any("close call: the true p99 lies between 10.00 ms and 50.00 ms" in n for n in verdict.notes)
    assert not any("close call" in n for n in judge(measured([10.0] * 400)).notes)


def test_too_few_frames_are_invalid_at_the_exact_number(measured):
    verdict = judge(measured([1.0] * 298))
    assert (verdict.status, verdict.exit_code) == ("INVALID", 4)
    assert "298 frames cannot show p99" in verdict.why and "at least 299" in verdict.why
    assert judge(measured([1.0] * 299)).status == "MET"


def test_a_wrong_engine_is_never_fast(measured):
    verdict = judge(measured([1.0] * 300, golden=Golden(agreements=(1.0, 0.9)), baselines={"fp32": [3.0] * 100}))
    assert verdict.status == "INVALID" and verdict.int8_is_a_win is None
    assert "95.00% of the golden pixels" in verdict.why and "worst: frame 2 with 90.00%" in verdict.why


@pytest.mark.parametrize(
    ("change", "word"),
    [({"busy_s": 125.0}, "loaded"), ({"mhz": (2000.0, 900.0)}, "throttled"), ({"thermal_throttles": 8}, "throttled")],
)
def test_a_disturbed_host_is_invalid(measured, change, word):
    verdict = judge(measured(readings=(QUIET[0], replace(QUIET[1], **change))))
    assert verdict.status == "INVALID" and f"the host was {word}" in verdict.why


def test_every_reason_is_given(measured):
    m = measured([1.0] * 5, golden=Golden(agreements=(0.5,)), readings=(QUIET[0], replace(QUIET[1], busy_s=125.0)))
    assert [word in judge(m).why for word in ("wrong answers", "5 frames", "loaded")] == [True] * 3


def test_int8_that_is_faster_is_a_win_over_the_best_float(measured):
    verdict = judge(measured([10.0] * 300, baselines={"fp32": [40.0] * 100, "bf16": [15.0] * 100}))
    assert verdict.int8_is_a_win is True
    assert "INT8 is 1.50x faster" in verdict.notes[-1]
    assert "median 10.00 ms against 15.00 ms for BF16" in verdict.notes[-1]


def test_int8_that_is_slower_is_no_win_and_both_figures_are_said(measured):
    verdict = judge(measured([10.0] * 300, baselines={"fp32": [40.0] * 100, "bf16": [9.0] * 100}))
    assert verdict.status == "MET" and verdict.int8_is_a_win is False
    assert "INT8 is not a win: it is no faster (median 10.00 ms against 9.00 ms for BF16" in verdict.notes[-1]


def test_medians_whose_intervals_touch_are_no_win(measured):
    ours, theirs = [9.9, 10.0, 10.1] * 100, [9.8, 10.0, 10.3, 10.1] * 25
    verdict = judge(measured(ours, baselines={"fp32": theirs}))
    assert verdict.int8_is_a_win is False and "too close to call" in verdict.notes[-1]


def test_int8_that_is_faster_and_less_accurate_is_no_win(measured):
    verdict = judge(
        measured([10.0] * 300, baselines={"fp32": [40.0] * 100}, base_golden=Golden(agreements=(1.0, 1.0), miou=0.72))
    )
    assert verdict.int8_is_a_win is False
    assert "4.00x faster" in verdict.notes[-2] and "not a win" in verdict.notes[-2]
    assert "mIoU 70.00% against 72.00% for FP32 on the 2 golden frames" in verdict.notes[-1]


def test_a_float_form_with_wrong_answers_is_no_baseline(measured):
    verdict = judge(measured([10.0] * 300, baselines={"bf16": [5.0] * 100}, base_golden=Golden(agreements=(0.9,))))
    assert verdict.int8_is_a_win is None
    assert "BF16 labels only 90.00%" in verdict.notes[0]


def test_without_a_baseline_nothing_is_claimed(measured):
    assert judge(measured([10.0] * 300)).int8_is_a_win is None


def test_the_same_samples_against_another_deadline(measured):
    m = measured([10.0] * 300)
    assert judge(m, replace(m.target, deadline_ms=9.0)).status == "MISSED"
    with pytest.raises(UserError, match="says nothing about openvino-int8"):
        judge(m, Target(backend="openvino"))
