"""The report's plots: latency over time, accuracy against latency, IoU per class."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeseg.measure.accuracy import Evaluation
from edgeseg.measure.measurement import Measurement
from edgeseg.report import svg
from edgeseg.report.svg import BAD, CARD, INK, MUTED, SERIES
from edgeseg.report.table import Row

FORMS = {"int8": SERIES[0], "fp32": SERIES[1], "bf16": SERIES[2], "fp16": SERIES[3]}
DEADLINE = {"color": BAD, "linewidth": 1.2, "linestyle": (0, (4, 3))}
BEHIND = {"facecolor": CARD, "edgecolor": "none", "alpha": 0.85, "pad": 1}  # keeps a text readable over lines
VECTOR_POINTS = 4000  # more dots than this become one picture inside the SVG


def latency(m: Measurement, name: str) -> str:
    """Every frame over time, all forms in turns, and beside it their histogram on the same axis."""
    forms = {m.target.precision: m.samples, **{p: b.samples for p, b in m.baselines.items()}}
    totals = {p: np.asarray(s.total_ns) / 1e6 for p, s in forms.items()}
    axis = _axis(list(totals.values()), m.target.deadline_ms)
    with svg.style(name):
        figure = svg.figure(9.6, 3.3)
        over_time, histogram = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        for precision, samples in forms.items():
            own = precision == m.target.precision
            ms, seconds, color = totals[precision], np.asarray(samples.started_ns) / 1e9, FORMS[precision]
            late = (ms > m.target.deadline_ms) & own
            _dots(over_time, seconds[~late], ms[~late], color, precision.upper(), 2 + own)
            if late.any():
                _dots(over_time, seconds[late], ms[late], BAD, f"{precision.upper()}, late", 4)
            look = {"histtype": "stepfilled", "color": color, "alpha": 0.85 if own else 0.45}
            histogram.hist(ms, axis.bins, orientation="horizontal", **look)
        for axes in (over_time, histogram):
            axes.axhline(m.target.deadline_ms, zorder=5, **DEADLINE)
        over_time.annotate(
            f"deadline {m.target.deadline_ms:.1f} ms", (1, m.target.deadline_ms), (-2, 4), ha="right", va="bottom",
            xycoords=("axes fraction", "data"), textcoords="offset points", color=BAD, bbox=BEHIND, zorder=6,
        )  # fmt: skip
        ylabel = "ms, frame to labels" + (" (logarithmic)" if axis.scale == "log" else "")
        over_time.set(xlabel="seconds since the first timed frame", ylabel=ylabel, yscale=axis.scale, ylim=axis.limits)
        histogram.set(xlabel="frames")
        histogram.grid(axis="x", visible=False)
        figure.legend(loc="outside upper left", ncols=8, markerscale=2, handletextpad=0.2, columnspacing=1.2)
        return svg.inline(figure, name)


def tradeoff(rows: Sequence[Row], deadline_ms: float | None, name: str) -> str | None:
    """mIoU against median latency, a whisker to p99. None where no row has both."""
    points = [
        (r.p50_ms, r.p99_ms, 100 * r.miou, FORMS.get(r.precision, MUTED), f"{r.engine} {r.precision.upper()}")
        for r in rows
        if r.miou is not None and r.p50_ms is not None and r.p99_ms is not None
    ]
    if not points:
        return None
    with svg.style(name):
        figure = svg.figure(9.6, 3.6)
        axes = figure.subplots()
        for p50, p99, miou, color, _ in points:
            axes.plot([p50, p99], [miou, miou], color=color, linewidth=1.4, alpha=0.6, solid_capstyle="butt")
            axes.plot([p99], [miou], color=color, marker="|", markersize=8, alpha=0.6)
            axes.plot([p50], [miou], color=color, marker="o", markersize=8, markeredgewidth=0)
        if deadline_ms is not None:
            axes.axvline(deadline_ms, **DEADLINE)
            axes.annotate(
                f"deadline {deadline_ms:.1f} ms", (deadline_ms, 1), (4, -2), va="top", color=BAD,
                xycoords=("data", "axes fraction"), textcoords="offset points",
            )  # fmt: skip
        mious = [miou for _, _, miou, _, _ in points]
        margin = max(0.35 * (max(mious) - min(mious)), 0.5)
        slowest = max([deadline_ms or 0.0, *(p99 for _, p99, _, _, _ in points)])
        axes.set(xlabel="ms, frame to labels: dot p50, tick p99", ylabel="mIoU, %")
        axes.set(xlim=(0, 1.25 * slowest), ylim=(min(mious) - margin, max(mious) + margin))
        _labels_apart(figure, axes, [(p50, miou, text) for p50, _, miou, _, text in points])
        return svg.inline(figure, name)


def per_class(evaluations: Sequence[Evaluation], name: str) -> str:
    """IoU per class as bars, a colour per evaluation; all of the same classes, best first by the first of them.

    An int8 engine has the colour that int8 has in the other plots.
    """
    first, count = evaluations[0], len(evaluations)
    classes = sorted(first.per_class, key=lambda c: -1.0 if (iou := first.per_class[c]) is None else iou)
    with svg.style(name):
        figure = svg.figure(9.6, 0.9 + len(classes) * (0.14 + 0.11 * count))
        axes = figure.subplots()
        height = 0.82 / count
        for i, (evaluation, color) in enumerate(zip(evaluations, _colors(evaluations), strict=True)):
            at = np.arange(len(classes)) + 0.41 - (i + 0.5) * height
            ious = [evaluation.per_class[c] for c in classes]
            label = f"{evaluation.target}: {evaluation.name}"
            axes.barh(at, [100 * (v or 0) for v in ious], 0.9 * height, color=color, label=label)
            for y, iou in zip(at, ious, strict=True):
                text = "absent" if iou is None else f"{100 * iou:.1f}"
                axes.annotate(
                    text, (100 * (iou or 0), y), (3, 0), textcoords="offset points", va="center", size=7, color=MUTED
                )
        axes.set(xlim=(0, 106), xlabel="IoU, %", ylim=(-0.6, len(classes) - 0.4))
        axes.set_yticks(range(len(classes)), classes, color=INK)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1, columnspacing=1.5)
        return svg.inline(figure, name)


class _Axis(NamedTuple):
    scale: str
    limits: tuple[float, float]
    bins: np.ndarray


def _axis(totals: Sequence[np.ndarray], deadline_ms: float) -> _Axis:
    """From zero; logarithmic where one frame took so long that the others would lie on the ground."""
    slowest, fastest = max(t.max() for t in totals), min(t.min() for t in totals)
    if slowest > 8 * np.median(totals[0]) and fastest > 0:
        limits = (0.8 * min(fastest, deadline_ms), 1.6 * max(slowest, deadline_ms))
        return _Axis("log", limits, np.geomspace(*limits, 60))
    limits = (0.0, 1.12 * max(slowest, deadline_ms))
    return _Axis("linear", limits, np.linspace(*limits, 60))


def _dots(axes: Any, x: np.ndarray, y: np.ndarray, color: str, label: str, zorder: int) -> None:
    look = {"linestyle": "none", "marker": "o", "markersize": 3.4, "markeredgewidth": 0}
    axes.plot(x, y, color=color, label=label, zorder=zorder, rasterized=len(x) > VECTOR_POINTS, **look)


def _colors(evaluations: Sequence[Evaluation]) -> list[str]:
    """One each, as long as there are that many; the first colour is kept for an int8 engine."""
    own = next((e for e in evaluations if (e.subject, e.precision) == ("engine", "int8")), None)
    others = itertools.cycle(SERIES[1:])
    return [SERIES[0] if e is own else next(others) for e in evaluations]


def _labels_apart(figure: Any, axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """A label right above each point, pushed up where it would cover one that is there already."""
    taken: list[tuple[float, float, float]] = []  # left, right, bottom in points
    figure.draw_without_rendering()  # places the axes
    for x, y, text in sorted(points, key=lambda p: p[1]):
        left, bottom = axes.transData.transform((x, y)) * 72 / figure.dpi + (-4, 7)
        right, lift = left + 5.6 * len(text), 0
        while any(left < r and right > lo and abs(bottom + lift - b) < 12 for lo, r, b in taken):
            lift += 2
        taken.append((left, right, bottom + lift))
        axes.annotate(
            text, (x, y), (-4, 7 + lift), textcoords="offset points", ha="left", va="bottom", size=8.5, bbox=BEHIND
        )
