"""What is said besides a verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fakes import QUIET, samples

from edgeseg.measure.judge import judge
from edgeseg.measure.remarks import remarks

RNG = np.random.default_rng(0)


def noisy(ms, n=400):
    return (ms * np.exp(0.01 * RNG.standard_normal(n))).tolist()


def test_a_steady_run_needs_no_remark(measured):
    assert remarks(measured(noisy(10)), 99) == []
    (compared,) = judge(measured([10.0] * 400, baselines={"fp32": [40.0] * 100})).notes
    assert compared.startswith("INT8 is 4.00x faster")


def test_two_modes_are_named(measured):
    mixed = RNG.permutation([*noisy(8, 300), *noisy(12, 100)]).tolist()
    (said,) = remarks(measured(mixed), 99)
    assert said.startswith("two modes near 8 ms (75% of frames) and 12 ms (25% of frames)")


def test_warm_up_that_went_on_among_the_timed_frames_is_said(measured):
    m = measured([*noisy(20, 30), *noisy(10, 370)], warmed=samples(noisy(20, 20)))
    assert any("warmup of 50 frames" in s and "30 of them were timed" in s for s in remarks(m, 99))


def test_what_creeps_over_a_long_run_is_said(measured):
    """Two minutes in which frames get slower by a tenth and memory grows by 100 MB."""
    totals = (np.linspace(100, 110, 1200) * np.exp(0.01 * RNG.standard_normal(1200))).tolist()
    readings = tuple(
        replace(QUIET[0], at_ns=i * 10**9, own_s=1.5 * i, busy_s=100 + 1.52 * i, rss_bytes=200_000_000 + i * 830_000)
        for i in range(121)
    )
    said = remarks(measured(totals, deadline_ms=200, readings=readings), 99)
    assert any(s.startswith("latency rises by ") and "over the run" in s for s in said)
    assert any(s.startswith("memory rises by 2.99e+03 MB per hour") for s in said)
