"""Verdicts on measurements that we made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import QUIET

from edgeseg.errors import UserError
from edgeseg.measure.judge import judge
from edgeseg.measure.measurement import Drops, Golden, Quality
from edgeseg.measure.overhead import Harness
from edgeseg.measure.scenario import Scenario
from edgeseg.target import Target

ALONE = "INT8 was not compared with a float form: none was timed beside it"


def test_met_and_missed(measured):
    met = judge(measured([10.0] * 300))
    assert (met.status, met.exit_code, met.notes) == ("MET", 0, (ALONE,))
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


STREAM = Scenario(kind="stream", fps=50.0)


def streamed(measured, ages_ms, dropped=0, cameras=(), **changes):
    """Frames of a 50 FPS camera whose label maps were so old; each takes 5 ms of work."""
    m = measured([5.0] * len(ages_ms), scenario=changes.pop("scenario", STREAM), **changes)
    arrived = tuple(round(20e6 * i) for i in range(len(ages_ms)))
    started = tuple(a + round((age - 5) * 1e6) for a, age in zip(arrived, ages_ms, strict=True))
    taken = replace(m.samples, arrived_ns=arrived, started_ns=started, camera=cameras)
    return replace(m, samples=taken, drops=Drops(arrived_ns=(0,) * dropped, camera=(0,) * dropped))


def test_under_a_camera_the_age_of_the_label_map_counts(measured):
    """5 ms of work on a frame that waited 25 ms is late, whatever a stopwatch around the engine says."""
    assert judge(streamed(measured, [8.0] * 300)).why == (
        "the age of a label map at p99 is 8.00 ms, within the 20.00 ms of 50 frames per second"
    )
    late = judge(streamed(measured, [8.0] * 290 + [30.0] * 10))
    assert late.status == "MISSED" and "is 30.00 ms, over" in late.why
    assert any("10 of 300 frames were late; the oldest label map was 30.00 ms old" in n for n in late.notes)


def test_a_dropped_frame_is_never_in_time(measured):
    assert judge(streamed(measured, [8.0] * 298, dropped=2)).status == "MET"
    lost = judge(streamed(measured, [8.0] * 290, dropped=10))
    assert lost.status == "MISSED" and "more than any: so many frames were dropped" in lost.why
    assert any("10 of 300 frames were late or dropped (10 dropped)" in n for n in lost.notes)


def test_the_worst_camera_is_judged(measured):
    ages, cameras = [8.0] * 300 + [25.0] * 300, (0,) * 300 + (1,) * 300
    two = streamed(measured, ages, cameras=cameras, scenario=Scenario(kind="multi", fps=50.0, cameras=2))
    assert "of camera 1 at p99 is 25.00 ms" in judge(two).why


def test_misses_are_limited_and_must_be_shown(measured):
    target = Target(backend="fake.engine", deadline_ms=20.0, max_miss=0.001)
    few = judge(streamed(measured, [8.0] * 300, target=target))
    assert few.status == "INVALID" and "p99 and the misses" in few.why and "at least 2995" in few.why
    assert "0 of 3000 frames were late or dropped" in judge(streamed(measured, [8.0] * 3000, target=target)).why
    missed = judge(streamed(measured, [8.0] * 2990, dropped=10, target=target))
    assert missed.status == "MISSED" and "10 of 3000 frames were late or dropped, 0.100% may be" in missed.why


def test_throughput_counts_label_maps(measured):
    """300 frames of 10 ms one after another are 100 a second."""
    saturated = Scenario(kind="throughput", workers=2)
    assert judge(measured([10.0] * 300, scenario=saturated)).why == (
        "100.0 label maps per second from 2 engines, saturated, 50 were asked for"
    )
    assert judge(measured([10.0] * 300, scenario=saturated, deadline_ms=5.0)).status == "MISSED"


def test_an_engine_that_lost_accuracy_is_not_met(measured):
    scored = {"data": "camvid", "split": "val", "frames": 9, "per_class": {}, "reference": "fp32 on the same engine"}
    kept = Quality(miou=0.698, reference_miou=0.70, **scored)
    assert judge(measured(quality=kept)).status == "MET"
    lost = judge(measured(quality=replace(kept, miou=0.69)))
    assert lost.status == "MISSED" and "mIoU is 69.00% on 9 frames (camvid), 1.00 points below fp32" in lost.why


def test_a_harness_that_measures_itself_is_invalid(measured):
    assert judge(measured([1.0] * 300, harness=Harness(resolution_ns=80, overhead_ns=(9000,)))).status == "MET"
    heavy = judge(measured([1.0] * 300, harness=Harness(resolution_ns=80, overhead_ns=(11000,))))
    assert heavy.status == "INVALID" and "takes 11.0 us per frame, 1.1% of what it measures" in heavy.why
    slow = judge(measured([10.0] * 300, harness=Harness(resolution_ns=80, overhead_ns=(21000,))))
    assert slow.status == "INVALID" and "21.0 us per frame" in slow.why


def test_a_run_that_was_cut_short_is_invalid(measured):
    verdict = judge(measured(cut_short="interrupted"))
    assert verdict.status == "INVALID" and "ended before its time (interrupted): 300 frames" in verdict.why
