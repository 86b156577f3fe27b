"""A measurement against a requirement: met, missed, or not worth an answer. Pure, so that it can be asked again.

The order follows MLPerf Inference (Reddi et al. 2020): first whether the run is valid, then what it says. A wrong
answer, a disturbed host or too few frames is INVALID, never fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseg.errors import UserError
from edgeseg.measure import conditions, energy, stats
from edgeseg.measure.latency import Samples
from edgeseg.measure.measurement import Baseline, Measurement
from edgeseg.measure.overhead import LIMIT_NS, LIMIT_SHARE, Harness
from edgeseg.measure.remarks import remarks
from edgeseg.target import Target

Status = Literal["MET", "MISSED", "INVALID"]
EXIT_CODES: dict[Status, int] = {"MET": 0, "MISSED": 3, "INVALID": 4}
# How much mIoU int8 may lose against float on the golden frames and still be a win. They are few: on so few frames a
# smaller difference is chance. A whole validation split tells finer; the report compares those where it has them.
MAX_GOLDEN_DROP = 0.01


@dataclass(frozen=True)
class Verdict:
    """``why`` in one sentence; ``notes`` say what a careful reader must know besides.

    ``int8_is_a_win``: faster than the best float form of the same engine, and as accurate on the golden frames. None
    where there is nothing to compare, or the run is INVALID.
    """

    status: Status
    why: str
    notes: tuple[str, ...] = ()
    int8_is_a_win: bool | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]


@dataclass(frozen=True)
class Check:
    """One requirement. ``met`` is None where nobody measured what it is about."""

    name: str
    met: bool | None
    says: str


def judge(m: Measurement, target: Target | None = None) -> Verdict:
    """The verdict on a measurement, against its own target or another deadline for the same backend and precision.

    Under a camera, a frame's latency is the age of its label map, and a dropped frame's is infinite; with several
    cameras the worst one is judged.
    """
    target = target or m.target
    if target.name != m.target.name:
        raise UserError(f"this measurement was taken on {m.target.name}, it says nothing about {target.name}")
    unseen = [*conditions.before(m.facts, m.readings[0]), *conditions.unwatched(m.facts, m.readings)]
    if reasons := _invalid(m, target):
        return Verdict("INVALID", "; ".join(reasons), tuple(unseen))
    win, comparison = compare(m, target)
    asked = requirements(m, target)
    broken = [check for check in asked if check.met is False]
    return Verdict(
        "MISSED" if broken else "MET",
        "; ".join(check.says for check in broken or asked if check.met is not None),
        tuple(_doubts(m, target) + remarks(m, target.percentile) + comparison + unseen),
        win,
    )


def requirements(m: Measurement, target: Target | None = None) -> list[Check]:
    """All that a target asks for, its own if no other is given, each with its figures."""
    target = target or m.target
    found = [_throughput(m, target) if m.scenario.kind == "throughput" else _deadline(m, target)]
    if target.max_miss is not None:
        missed, frames = misses(m, target.deadline_ms)
        says = f"{missed} of {frames} frames were late or dropped, {target.max_miss:.3%} may be"
        found.append(Check("miss rate", missed <= target.max_miss * frames, says))
    found.append(_accuracy_kept(m, target))
    if target.max_watts is not None:
        used = m.energy
        says = f"{used.watts:.1f} W by {used.source}" if used else "what was drawn could not be read"
        met = used.watts <= target.max_watts if used else None
        found.append(Check("power", met, f"{says}, at most {target.max_watts:g} W were asked for"))
    return found


def _throughput(m: Measurement, target: Target) -> Check:
    rate = m.samples.delivered_fps
    says = f"{rate:.1f} label maps per second from {m.scenario.says}, {target.fps:g} were asked for"
    return Check("rate", rate >= target.fps, says)


def _deadline(m: Measurement, target: Target) -> Check:
    late_ms, whose = latency_ms(m, target.percentile)
    q, met = f"p{target.percentile:g}", late_ms <= target.deadline_ms
    what = f"the age of a label map{whose} at {q}" if m.scenario.paced else q
    figure = f"{late_ms:.2f} ms" if math.isfinite(late_ms) else "more than any: so many frames were dropped"
    within = f"{'within' if met else 'over'} the {target.deadline_ms:.2f} ms of {target.fps:g} frames per second"
    return Check(f"deadline at {q}", met, f"{what} is {figure}, {within}")


def _accuracy_kept(m: Measurement, target: Target) -> Check:
    q, allowed = m.quality, f"{100 * target.max_miou_drop:.2f} are allowed"
    if q is None or q.drop is None:
        return Check("mIoU drop", None, f"points of mIoU lost are not known, {allowed}")
    says = f"mIoU is {q.miou:.2%} on {q.frames} frames ({q.data}), {100 * q.drop:.2f} points below {q.reference}"
    return Check("mIoU drop", q.drop <= target.max_miou_drop, f"{says}, {allowed}")


def latency_ms(m: Measurement, q: float) -> tuple[float, str]:
    """The q-th percentile of frame to label map, a dropped frame counted as never; of several cameras the worst's,
    and then its name."""
    whose = m.samples.camera or (0,) * len(m.samples)
    ages: dict[int, list[float]] = {}
    for camera, age in zip(whose, m.samples.age_ns, strict=True):
        ages.setdefault(camera, []).append(age / 1e6)
    for camera in m.drops.camera:
        ages.setdefault(camera, []).append(math.inf)
    worst, camera = max((stats.percentile(values, q), camera) for camera, values in ages.items())
    return worst, f" of camera {camera}" if len(ages) > 1 else ""


def misses(m: Measurement, deadline_ms: float) -> tuple[int, int]:
    """Frames that were late or dropped, and all that came."""
    return m.samples.late(deadline_ms) + len(m.drops), len(m.samples) + len(m.drops)


def _invalid(m: Measurement, target: Target) -> list[str]:
    reasons = []
    if m.cut_short:
        reasons.append(f"the run ended before its time ({m.cut_short}): {len(m.samples)} frames were timed and kept")
    if m.golden.agreement < target.min_agreement:
        worst = min(range(len(m.golden.agreements)), key=m.golden.agreements.__getitem__)
        reasons.append(
            f"wrong answers: the engine labels {m.golden.agreement:.2%} of the golden pixels as its network does "
            f"(at least {target.min_agreement:.2%}; worst: frame {worst + 1} with {m.golden.agreements[worst]:.2%}), "
            "so its speed means nothing"
        )
    if (frames := misses(m, target.deadline_ms)[1]) < target.min_samples:
        what = f"p{target.percentile:g}" if target.max_miss is None else f"p{target.percentile:g} and the misses"
        reasons.append(f"{frames} frames cannot show {what} at 95% confidence: time at least {target.min_samples}")
    if m.harness is not None:
        reasons += _harness(m.harness, m.samples)
    if target.max_watts is not None and m.energy is None:
        why = energy.why_not(m.facts, m.readings)
        reasons.append(f"at most {target.max_watts:g} W were asked for, and what was drawn could not be read ({why})")
    return reasons + conditions.spoiled(m.facts, m.readings)


def _harness(harness: Harness, samples: Samples) -> list[str]:
    cost_ns, frame_ns = harness.per_frame_ns, samples.percentile_ms(50) * 1e6
    if cost_ns > LIMIT_NS or cost_ns > LIMIT_SHARE * frame_ns:
        return [
            f"the harness itself takes {cost_ns / 1e3:.1f} us per frame, {harness.share(frame_ns):.1%} of what it "
            f"measures (limits: {LIMIT_NS / 1e3:.0f} us and {LIMIT_SHARE:.0%})"
        ]
    return []


def _doubts(m: Measurement, target: Target) -> list[str]:
    """Late frames, and whether the deadline lies inside the percentile's interval."""
    notes = []
    q, deadline = f"p{target.percentile:g}", f"{target.deadline_ms:.2f} ms"
    missed, frames = misses(m, target.deadline_ms)
    if missed:
        were = "was" if missed == 1 else "were"
        late = f"{missed} of {frames} frames {were} late"
        if len(m.drops):
            late += f" or dropped ({len(m.drops)} dropped)"
        slowest = f"the oldest label map was {max(m.samples.age_ns) / 1e6:.2f} ms old"
        notes.append(f"{late}; {slowest if m.scenario.paced else f'the slowest took {m.samples.max_ms():.2f} ms'}")
    if m.scenario.kind == "throughput":
        return notes
    ages = np.concatenate([np.asarray(m.samples.age_ns) / 1e6, np.full(len(m.drops), np.inf)])
    # A deadline is a bound on one side: min_samples frames, all in time, are enough to show that it holds.
    low, high = stats.percentile_interval(ages.tolist(), target.percentile, two_sided=False)
    if low <= target.deadline_ms < high:
        above = f"{high:.2f} ms" if high < float("inf") else "any higher value"
        notes.append(
            f"close call: the true {q} lies between {max(low, 0):.2f} ms and {above} (each bound at 95%), on both "
            f"sides of {deadline}; more frames would narrow it"
        )
    return notes


def compare(m: Measurement, target: Target) -> tuple[bool | None, list[str]]:
    """Whether int8 earns its trouble over the fastest float form that answers right, with both figures.

    Faster means that the intervals of the two medians do not touch; as accurate, that mIoU on the golden frames drops
    by at most ``MAX_GOLDEN_DROP``.
    """
    if target.precision != "int8":
        return None, []
    if m.scenario.kind == "latency" and not m.baselines:
        return None, ["INT8 was not compared with a float form: none was timed beside it"]
    right = {p: b for p, b in m.baselines.items() if b.golden.agreement >= target.min_agreement}
    notes = [
        f"{p.upper()} labels only {b.golden.agreement:.2%} of the golden pixels as the float network does: "
        "no fair baseline, left out"
        for p, b in m.baselines.items()
        if p not in right
    ]
    if not right:
        return None, notes
    precision, best = min(right.items(), key=lambda item: item[1].samples.percentile_ms(50))
    ours, theirs = m.samples.percentile_ms(50), best.samples.percentile_ms(50)
    less_accurate = _accuracy(m, precision, best)
    figures = f"median {ours:.2f} ms against {theirs:.2f} ms for {precision.upper()} on the same engine"
    if ours >= theirs:
        return False, [*notes, f"INT8 is not a win: it is no faster ({figures})", *less_accurate]
    if m.samples.interval_ms(50).high >= best.samples.interval_ms(50).low:
        note = f"INT8 is not shown to be a win: too close to call ({figures}); time more frames"
        return False, [*notes, note, *less_accurate]
    if less_accurate:
        return False, [*notes, f"INT8 is {theirs / ours:.2f}x faster ({figures}), but not a win:", *less_accurate]
    return True, [*notes, f"INT8 is {theirs / ours:.2f}x faster than the best float form ({figures})"]


def _accuracy(m: Measurement, precision: str, best: Baseline) -> list[str]:
    if m.golden.miou is None or best.golden.miou is None or best.golden.miou - m.golden.miou <= MAX_GOLDEN_DROP:
        return []
    return [
        f"INT8 is less accurate: mIoU {m.golden.miou:.2%} against {best.golden.miou:.2%} for {precision.upper()} on "
        f"the {len(m.golden.agreements)} golden frames (at most {MAX_GOLDEN_DROP:.0%} lower is chance)"
    ]
