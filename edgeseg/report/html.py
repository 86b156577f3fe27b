"""One self-contained page: the verdict first, then the evidence, then where it comes from.

Everything is inline; the page asks no network for anything and runs no script.
"""

from __future__ import annotations

from typing import Any

from edgeseg.errors import BackendMissing
from edgeseg.measure.latency import STAGES
from edgeseg.report import plots, units
from edgeseg.report.documents import Documents, comparable, grid
from edgeseg.report.findings import Finding, findings, headline
from edgeseg.report.provenance import conditions
from edgeseg.report.table import HEADINGS, TEXT_COLUMNS, footnotes, rows

STAGE_NAMES = {"prepare": "prepare the frame", "infer": "engine", "labels": "label map", "total": "frame to labels"}
ROLES = {"frame": "Frame", "truth": "Truth", "teacher": "Teacher", "student": "Student", "int8": "INT8 engine"}


def render(documents: Documents, title: str) -> str:
    """The page. Raises BackendMissing where jinja2 or matplotlib is not installed."""
    try:
        import jinja2
    except ModuleNotFoundError as e:
        raise BackendMissing("an HTML report needs jinja2: pip install 'edgeseg[report]'") from e
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgeseg.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["units"] = units
    page: str = environment.get_template("report.html.jinja").render(_context(documents, title))
    return page


def _context(documents: Documents, title: str) -> dict[str, Any]:
    measurements, evaluations = documents.measurements, documents.evaluations
    found = findings(measurements, evaluations)
    status, sentence = headline(found)
    table = rows(measurements, evaluations)
    deadlines = {m.target.deadline_ms for m in measurements}
    roles, pictures = grid(documents.panels)
    return {
        "title": title,
        "status": status,
        "headline": sentence,
        "cards": [_card(f) for f in found],
        "headings": HEADINGS,
        "text_columns": TEXT_COLUMNS,
        "rows": table,
        "footnotes": footnotes(table),
        "timings": [_timing(f, i) for i, f in enumerate(found)],
        "tradeoff": plots.tradeoff(table, deadlines.pop() if len(deadlines) == 1 else None, "tradeoff"),
        "class_plots": [
            {"data": es[0].data, "split": es[0].split, "svg": plots.per_class(es, f"classes-{i}")}
            for i, es in enumerate(comparable(evaluations))
        ],
        "roles": [ROLES.get(role, role.capitalize()) for role in roles],
        "grid": pictures,
        "conditions": conditions(measurements),
        "evaluations": evaluations,
        "sources": documents.sources,
    }


def _card(finding: Finding) -> dict[str, Any]:
    """The figures that a verdict rests on, and the mean frame's stages as shares of a bar."""
    m, samples = finding.measurement, finding.measurement.samples
    target = m.target
    tail = samples.percentile_ms(target.percentile)
    full = 1.08 * max(target.deadline_ms, tail)
    stages = [s for s in STAGES if s != "total"]
    return {
        "finding": finding,
        "m": m,
        "tail": tail,
        "interval": samples.interval_ms(target.percentile),
        "stages": [(s, STAGE_NAMES[s], samples.mean_ms(s), 100 * samples.mean_ms(s) / full) for s in stages],
        "deadline_at": 100 * target.deadline_ms / full,
        "tail_at": 100 * tail / full,
    }


def _timing(finding: Finding, number: int) -> dict[str, Any]:
    """One measurement's plot and its stages, each with mean, percentiles, the judged one's interval, and maximum."""
    m, samples = finding.measurement, finding.measurement.samples
    columns = sorted({50.0, 90.0, 99.0, m.target.percentile})
    stages = []
    for stage in STAGES:
        percentiles = [(samples.percentile_ms(q, stage), samples.interval_ms(q, stage)) for q in columns]
        stages.append((STAGE_NAMES[stage], samples.mean_ms(stage), percentiles, samples.max_ms(stage)))
    return {
        "finding": finding,
        "m": m,
        "columns": columns,
        "stages": stages,
        "svg": plots.latency(m, f"latency-{number}"),
    }
