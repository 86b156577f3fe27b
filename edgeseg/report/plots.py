"""The report's plots: latency over time, accuracy against latency, IoU per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeseg.measure.accuracy import Evaluation
from edgeseg.measure.measurement import Measurement
from edgeseg.report import svg
from edgeseg.report.svg import BAD, INK, MUTED, SERIES
from edgeseg.report.table import Row

FORMS = {"int8": SERIES[0], "fp32": SERIES[1], "bf16": SERIES[2], "fp16": SERIES[3]}
VECTOR_POINTS = 4000  # more dots than this become one picture inside the SVG


def latency(m: Measurement, name: str) -> str:
    """Every frame over time, all forms in turns, and beside it their histogram on the same axis."""
    with svg.style(name):
        figure = svg.figure(9.6, 3.3)
        over_time, histogram = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        forms = {m.target.precision: m.samples, **{p: b.samples for p, b in m.baselines.items()}}
        totals = {p: np.asarray(s.total_ns) / 1e6 for p, s in forms.items()}
        slowest, fastest = max(t.max() for t in totals.values()), min(t.min() for t in totals.values())
        logarithmic = slowest > 8 * np.median(totals[m.target.precision]) and fastest > 0
        top = max(slowest, m.target.deadline_ms) * (1.6 if logarithmic else 1.12)
        bottom = fastest * 0.8 if logarithmic else 0.0
        bins: Any = np.geomspace(bottom, top, 60) if logarithmic else np.linspace(bottom, top, 60)
        for precision, samples in forms.items():
            ms, color = totals[precision], FORMS[precision]
            seconds = np.asarray(samples.started_ns) / 1e9
            late = ms > m.target.deadline_ms if precision == m.target.precision else np.zeros(len(ms), bool)
            dots = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "rasterized": len(ms) > VECTOR_POINTS}
            own = precision == m.target.precision
            over_time.plot(
                seconds[~late], ms[~late], color=color, markersize=3.2, label=precision.upper(), zorder=2 + own, **dots
            )
            over_time.plot(seconds[late], ms[late], color=BAD, markersize=4.5, zorder=4, **dots)
            histogram.hist(
                ms, bins, orientation="horizontal", color=color, histtype="stepfilled", alpha=0.85 if own else 0.45
            )
        for axes in (over_time, histogram):
            axes.axhline(m.target.deadline_ms, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)))
        over_time.annotate(
            f"deadline {m.target.deadline_ms:.1f} ms", (1, m.target.deadline_ms), (-2, 3), ha="right", va="bottom",
            xycoords=("axes fraction", "data"), textcoords="offset points", color=BAD, fontsize=9,
        )  # fmt: skip
        over_time.set(
            xlabel="seconds since the first timed frame",
            ylabel="ms, frame to labels" + (" (logarithmic)" if logarithmic else ""),
            yscale="log" if logarithmic else "linear",
            ylim=(bottom, top),
        )
        histogram.set(xlabel="frames")
        histogram.grid(axis="x", visible=False)
        figure.legend(loc="outside upper left", ncols=len(forms), markerscale=2, handletextpad=0.2, columnspacing=1.2)
        return svg.inline(figure, name)


def tradeoff(rows: Sequence[Row], deadline_ms: float | None, name: str) -> str | None:
    """mIoU against median latency, a whisker to p99. None where no row has both."""
    known = [r for r in rows if r.miou is not None and r.p50_ms is not None and r.p99_ms is not None]
    if not known:
        return None
    with svg.style(name):
        figure = svg.figure(9.6, 3.6)
        axes = figure.subplots()
        fastest_first = sorted(known, key=lambda r: (r.p50_ms or 0, r.miou or 0))
        for row in fastest_first:
            x, y, tail = row.p50_ms or 0.0, 100 * (row.miou or 0.0), row.p99_ms or 0.0
            color = FORMS.get(row.precision, MUTED)
            axes.plot([x, tail], [y, y], color=color, linewidth=1.4, alpha=0.6, solid_capstyle="butt")
            axes.plot([tail], [y], color=color, marker="|", markersize=8, alpha=0.6)
            axes.plot([x], [y], color=color, marker="o", markersize=8, markeredgewidth=0)
        if deadline_ms is not None:
            axes.axvline(deadline_ms, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(
                f"deadline {deadline_ms:.1f} ms", (deadline_ms, 1), (4, -2), va="top", color=BAD,
                xycoords=("data", "axes fraction"), textcoords="offset points",
            )  # fmt: skip
        shares = [100 * (r.miou or 0) for r in known]
        margin = max(0.35 * (max(shares) - min(shares)), 0.5)
        right = max([r.p99_ms or 0.0 for r in known] + ([deadline_ms] if deadline_ms else []))
        axes.set(
            xlabel="ms, frame to labels: dot p50, tick p99",
            ylabel="mIoU, %",
            xlim=(0, 1.25 * right),
            ylim=(min(shares) - margin, max(shares) + margin),
        )
        _labels_apart(figure, axes, [(r.p50_ms or 0, 100 * (r.miou or 0), f"{r.engine} {r.precision.upper()}")
                                     for r in fastest_first])  # fmt: skip
        return svg.inline(figure, name)


def per_class(evaluations: Sequence[Evaluation], name: str) -> str:
    """IoU per class as bars, one colour per evaluation; all of the same classes, best first by the first of them."""
    first = evaluations[0]
    classes = sorted(first.per_class, key=lambda c: -1.0 if (iou := first.per_class[c]) is None else iou)
    count = len(evaluations)
    with svg.style(name):
        figure = svg.figure(9.6, 0.9 + len(classes) * (0.14 + 0.115 * count))
        axes = figure.subplots()
        height = 0.82 / count
        for i, evaluation in enumerate(evaluations):
            at = np.arange(len(classes)) + 0.41 - (i + 0.5) * height
            ious = [evaluation.per_class[c] for c in classes]
            color, alpha = SERIES[i % len(SERIES)], 1.0 if i < len(SERIES) else 0.5
            label = f"{evaluation.name}, {evaluation.target}"
            axes.barh(at, [100 * (v or 0) for v in ious], 0.9 * height, color=color, alpha=alpha, label=label)
            for y, iou in zip(at, ious, strict=True):
                text = "absent" if iou is None else f"{100 * iou:.1f}"
                axes.annotate(text, (100 * (iou or 0), y), (3, 0), textcoords="offset points", va="center",
                              fontsize=7, color=MUTED)  # fmt: skip
        axes.set(xlim=(0, 106), xlabel="IoU, %", ylim=(-0.6, len(classes) - 0.4))
        axes.set_yticks(range(len(classes)), classes, color=INK)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1, columnspacing=1.5)
        return svg.inline(figure, name)


def _labels_apart(figure: Any, axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """A label right above each point, pushed up where it would cover one that is there already."""
    taken: list[tuple[float, float, float]] = []  # left, right, bottom in points
    scale = 72 / figure.dpi
    figure.draw_without_rendering()  # places the axes
    for x, y, text in sorted(points, key=lambda p: p[1]):
        left, bottom = axes.transData.transform((x, y)) * scale
        left, bottom, width = left - 4, bottom + 7, 5.6 * len(text)
        lift = 0.0
        while any(left < r and left + width > lo and abs(bottom + lift - b) < 12 for lo, r, b in taken):
            lift += 2
        taken.append((left, left + width, bottom + lift))
        axes.annotate(text, (x, y), (-4, 7 + lift), textcoords="offset points", ha="left", va="bottom", fontsize=8.5)
