"""Plots over several engines and bundles: accuracy against latency, IoU per class."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeseg.measure.accuracy import Evaluation
from edgeseg.report import svg
from edgeseg.report.axis import BEHIND, DEADLINE, FORMS, labels_apart
from edgeseg.report.svg import BAD, CARD, INK, MUTED, SERIES, WIDTH, Plot
from edgeseg.report.table import Row
from edgeseg.report.units import ms, percent

NAMED = 12  # of more points only those of the front have their names beside them
HATCHES = (None, "////", "....", "xxxx")


class Point(NamedTuple):
    """A form that was both timed and evaluated."""

    text: str
    precision: str
    p50_ms: float
    p99_ms: float
    miou: float

    def beats(self, other: Point) -> bool:
        """As fast and as right, and better in one of the two."""
        at_least = self.p50_ms <= other.p50_ms and self.miou >= other.miou
        return at_least and (self.p50_ms, self.miou) != (other.p50_ms, other.miou)


def points(rows: Sequence[Row]) -> list[Point]:
    """Those rows that have both; named by what they differ in."""
    known = [r for r in rows if r.miou is not None and r.p50_ms is not None and r.p99_ms is not None]
    names = {r.name for r in known}
    found = []
    for r in known:
        text = f"{r.engine} {r.precision.upper()}"
        if len(names) > 1:
            text = f"{r.name}, {r.backend} {r.precision.upper()}"
        found.append(Point(text, r.precision, r.p50_ms or 0.0, r.p99_ms or 0.0, r.miou or 0.0))
    return found


def front(found: Sequence[Point]) -> list[Point]:
    """Those that no other beats, fastest first: the Pareto front."""
    best = [p for p in found if not any(other.beats(p) for other in found)]
    return sorted(set(best), key=lambda p: (p.p50_ms, -p.miou))


def tradeoff(rows: Sequence[Row], deadline_ms: float | None, name: str) -> Plot | None:
    """mIoU against median latency, a whisker to p99, and the front. None where no row has both."""
    found = points(rows)
    if not found:
        return None
    best = front(found)
    with svg.style(name):
        figure = svg.figure(WIDTH, 3.6)
        axes = figure.subplots()
        slowest = max([deadline_ms or 0.0, *(p.p99_ms for p in found)])
        mious = [100 * p.miou for p in found]
        if len(best) > 1:
            x, y = [p.p50_ms for p in best], [100 * p.miou for p in best]
            axes.step([*x, 1.25 * slowest], [*y, y[-1]], where="post", color=MUTED, linewidth=1, linestyle=":")
        for p in found:
            color, miou = FORMS.get(p.precision, MUTED), 100 * p.miou
            axes.plot([p.p50_ms, p.p99_ms], [miou, miou], color=color, linewidth=1.4, alpha=0.6)
            axes.plot([p.p99_ms], [miou], color=color, marker="|", markersize=9, alpha=0.6)
            edge = {"markeredgecolor": INK, "markeredgewidth": 1.2} if p in best else {"markeredgewidth": 0}
            axes.plot([p.p50_ms], [miou], color=color, marker="o", markersize=9, **edge)
        if deadline_ms is not None:
            axes.axvline(deadline_ms, **DEADLINE)
            axes.annotate(
                f"deadline {ms(deadline_ms)}", (deadline_ms, 1), (-4, -2), ha="right", va="top", color=BAD, size=9,
                xycoords=("data", "axes fraction"), textcoords="offset points", bbox=BEHIND,
            )  # fmt: skip
        margin = max(0.35 * (max(mious) - min(mious)), 0.5)
        axes.set(xlabel="ms, frame to labels: dot p50, tick p99", ylabel="mIoU, %")
        axes.set(xlim=(0, 1.25 * slowest), ylim=(min(mious) - margin, max(mious) + margin))
        named = found if len(found) <= NAMED else best
        labels_apart(figure, axes, [(p.p50_ms, 100 * p.miou, p.text) for p in named])
        return svg.inline(figure, name, "Accuracy against latency", front_finding(found))


def front_finding(found: Sequence[Point]) -> str:
    best = front(found)
    told = [f"{p.text} ({ms(p.p50_ms)} ms, mIoU {percent(p.miou)})" for p in best]
    beaten = len(found) - len([p for p in found if p in best])
    rest = f" For {beaten} of {len(found)} another is at least as fast and as accurate." if beaten else ""
    return f"On the front, where nothing is both faster and more accurate: {'; '.join(told)}.{rest}"


def per_class(evaluations: Sequence[Evaluation], name: str) -> Plot:
    """IoU per class as bars, a colour per evaluation; all of the same classes, best first by the first of them.

    An int8 engine has the colour that int8 has in the other plots.
    """
    first, count = evaluations[0], len(evaluations)
    classes = sorted(first.per_class, key=lambda c: -1.0 if (iou := first.per_class[c]) is None else iou)
    with svg.style(name):
        figure = svg.figure(WIDTH, 0.8 + 0.2 * count + len(classes) * (0.14 + 0.11 * count))
        axes = figure.subplots()
        height = 0.82 / count
        for i, (evaluation, look) in enumerate(zip(evaluations, _looks(evaluations), strict=True)):
            at = np.arange(len(classes)) + 0.41 - (i + 0.5) * height
            ious = [evaluation.per_class[c] for c in classes]
            label = f"{evaluation.target}: {evaluation.name}"
            axes.barh(at, [100 * (v or 0) for v in ious], 0.9 * height, label=label, linewidth=0, **look)
            for y, iou in zip(at, ious, strict=True):
                text = "absent" if iou is None else f"{100 * iou:.1f}"
                axes.annotate(
                    text, (100 * (iou or 0), y), (3, 0), textcoords="offset points", va="center", size=7, color=MUTED
                )
        axes.set(xlim=(0, 112), xlabel="IoU, %", ylim=(-0.6, len(classes) - 0.4))
        axes.set_yticks(range(len(classes)), classes, color=INK)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=1, handlelength=1, labelspacing=0.2)
        return svg.inline(figure, name, f"IoU per class on {first.data}, {first.split}", _classes_finding(first))


def _classes_finding(e: Evaluation) -> str:
    known = sorted(((iou, c) for c, iou in e.per_class.items() if iou is not None), reverse=True)
    if not known:
        return f"{e.target}: no class occurred."
    (best, easiest), (worst, hardest) = known[0], known[-1]
    absent = len(e.per_class) - len(known)
    rest = f"; {absent} never occurred" if absent else ""
    return f"{e.target}: from {easiest} with {percent(best)} to {hardest} with {percent(worst)}{rest}."


def _looks(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """A colour each, and where there are more evaluations than colours, colour and hatching; the first colour is kept
    for an int8 engine."""
    own = next((e for e in evaluations if (e.subject, e.precision) == ("engine", "int8")), None)
    others = ((hatch, color) for hatch in itertools.cycle(HATCHES) for color in SERIES[1:])
    looks = [(None, SERIES[0]) if e is own else next(others) for e in evaluations]
    return [{"facecolor": color, "edgecolor": CARD, "hatch": hatch} for hatch, color in looks]
