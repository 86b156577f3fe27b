"""What the machine did while we measured: read from counters before, between and after, judged against limits.

The limits are ours. They are wide enough for a quiet machine's own housekeeping and narrow enough that what passes can
be measured again:

* other work on the cores we may use, time stolen by a hypervisor included, at most ``MAX_OTHER_LOAD`` of what these
  cores could do. On two cores that is a fifth of one core. The load average is recorded and not judged: it counts
  our own threads and lags by a minute.
* the fastest core's clock never more than ``MAX_CLOCK_DROP`` below where it stood after warm-up. A boost that settles
  costs a few per cent, a power or heat limit more.
* no heat throttling and no container quota running out: those counters must not move at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg.measure.host import UNKNOWN, Facts, Reading

MAX_OTHER_LOAD = 0.10
MAX_CLOCK_DROP = 0.10
SHORTEST_S = 0.5  # the kernel counts CPU time in ticks of 10 ms: below this they are too coarse to tell 10 %


def elapsed_s(readings: Sequence[Reading]) -> float:
    return (readings[-1].at_ns - readings[0].at_ns) / 1e9


def other_load(facts: Facts, readings: Sequence[Reading]) -> float | None:
    """Share of our cores' time (0 to 1) that went to anyone but this process. None where it cannot be told."""
    first, last = readings[0], readings[-1]
    wall_s = elapsed_s(readings)
    if first.busy_s is None or last.busy_s is None or wall_s < SHORTEST_S:
        return None
    busy_s, own_s = last.busy_s - first.busy_s, last.own_s - first.own_s
    if busy_s < own_s / 2:
        return None  # a sandbox that keeps no accounts: everyone together cannot have worked less than we alone
    return max(0.0, busy_s - own_s) / (wall_s * facts.cores)


def stolen_share(facts: Facts, readings: Sequence[Reading]) -> float | None:
    """The part of :func:`other_load` that a hypervisor took for its other guests."""
    first, last = readings[0], readings[-1]
    if first.stolen_s is None or last.stolen_s is None or elapsed_s(readings) < SHORTEST_S:
        return None
    return (last.stolen_s - first.stolen_s) / (elapsed_s(readings) * facts.cores)


def clock_mhz(readings: Sequence[Reading]) -> tuple[float, ...]:
    """The fastest core's clock at each reading; idle cores sleep at a low clock and say nothing."""
    return tuple(max(r.mhz) for r in readings if r.mhz)


def spoiled(facts: Facts, readings: Sequence[Reading]) -> list[str]:
    """Why these readings make a timing worthless, in words; empty when the machine was quiet and steady."""
    reasons = []
    load = other_load(facts, readings)
    if load is not None and load > MAX_OTHER_LOAD:
        stolen = stolen_share(facts, readings) or 0.0
        by = f", {stolen:.0%} taken by the hypervisor" if stolen >= 0.005 else ""
        reasons.append(
            f"the host was loaded: other work used {load:.0%} of the {facts.cores} cores{by} "
            f"(limit {MAX_OTHER_LOAD:.0%}); stop it and measure again"
        )
    clock = clock_mhz(readings)
    if clock and min(clock) < (1 - MAX_CLOCK_DROP) * clock[0]:
        reasons.append(
            f"the host was throttled: its clock fell from {clock[0]:.0f} to {min(clock):.0f} MHz "
            f"(limit {MAX_CLOCK_DROP:.0%}); fix the governor or let it cool, and measure again"
        )
    if hot := _grown(readings[0].thermal_throttles, readings[-1].thermal_throttles):
        reasons.append(f"the host was throttled: the CPU reported heat throttling {hot} times; let it cool")
    if held := _grown(readings[0].quota_throttles, readings[-1].quota_throttles):
        quota = f"its CPU quota of {facts.quota_cores:g} cores" if facts.quota_cores else "a CPU quota"
        reasons.append(
            f"the host was throttled: {quota} held the process back in {held} periods; "
            "raise the quota or use fewer threads"
        )
    return reasons


def unwatched(facts: Facts, readings: Sequence[Reading]) -> list[str]:
    """What could not be seen, so that nobody takes silence for a clean bill."""
    notes = []
    if facts.clock == UNKNOWN or not clock_mhz(readings):
        where = "in this virtual machine" if facts.virtual else "on this host"
        notes.append(f"the CPU clock could not be watched {where}: a throttled clock would have gone unseen")
    if other_load(facts, readings) is None:
        short = elapsed_s(readings) < SHORTEST_S and readings[0].busy_s is not None
        why = f"the run took under {SHORTEST_S:g} s" if short else "this host does not say who used its cores"
        notes.append(f"other load could not be told ({why}): a busy machine would have gone unseen")
    return notes


def _grown(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else after - before
