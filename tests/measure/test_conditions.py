"""What the counters of a made-up host mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FACTS, QUIET

from edgeseg.measure import conditions


def after(**changes):
    return (QUIET[0], replace(QUIET[1], **changes))


def test_other_load_leaves_out_our_own():
    # 15.2 s of work by anyone, 15 s of it ours, on two cores for 10 s.
    assert conditions.other_load(FACTS, QUIET) == pytest.approx(0.01)
    assert conditions.spoiled(FACTS, QUIET) == []
    assert conditions.unwatched(FACTS, QUIET) == []


@pytest.mark.parametrize(("others_s", "loaded"), [(1.9, False), (2.1, True)])
def test_a_tenth_of_two_cores_is_the_limit(others_s, loaded):
    readings = after(busy_s=100 + 15 + others_s)
    assert bool(conditions.spoiled(FACTS, readings)) == loaded


def test_stolen_time_is_other_load_and_is_named():
    (reason,) = conditions.spoiled(FACTS, after(busy_s=120.0, stolen_s=4.0))
    assert "25% of the 2 cores, 20% taken by the hypervisor" in reason


def test_counting_errors_do_not_make_the_load_negative():
    assert conditions.other_load(FACTS, after(busy_s=114.9)) == 0


def test_a_sandbox_without_accounts_is_unknown_not_idle():
    readings = after(busy_s=100.0)
    assert conditions.other_load(FACTS, readings) is None
    assert "does not say who used its cores" in conditions.unwatched(FACTS, readings)[0]


def test_a_blink_is_too_short_to_tell():
    readings = after(at_ns=QUIET[0].at_ns + 10**8, own_s=0.1, busy_s=100.5)
    assert conditions.other_load(FACTS, readings) is None and conditions.spoiled(FACTS, readings) == []
    assert "under 0.5 s" in conditions.unwatched(FACTS, readings)[0]


def test_the_clock_is_the_fastest_cores_at_its_lowest():
    dip = replace(QUIET[0], mhz=(800.0, 2600.0))
    (reason,) = conditions.spoiled(FACTS, (QUIET[0], dip, QUIET[1]))
    assert "fell from 3000 to 2600 MHz" in reason
    settled = replace(QUIET[0], mhz=(800.0, 2750.0))  # a boost that settles
    assert conditions.spoiled(FACTS, (QUIET[0], settled, QUIET[1])) == []


def test_heat_counters_that_move():
    (reason,) = conditions.spoiled(FACTS, after(thermal_throttles=9))
    assert "heat throttling 2 times" in reason


def test_a_quota_that_runs_out():
    (reason,) = conditions.spoiled(replace(FACTS, quota_cores=1.5), after(quota_throttles=12))
    assert "CPU quota of 1.5 cores held the process back in 12 periods" in reason


def test_an_unwatched_clock_is_said_and_not_held_against_the_run():
    facts = replace(FACTS, clock="unknown", virtual=True)
    blind = tuple(replace(r, mhz=()) for r in QUIET)
    assert conditions.spoiled(facts, blind) == []
    (note,) = conditions.unwatched(facts, blind)
    assert "clock could not be watched in this virtual machine" in note
