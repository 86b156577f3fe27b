"""The report as Markdown: the same verdicts and tables, for a pull request or a README."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg.report.documents import Documents, comparable
from edgeseg.report.findings import findings, headline
from edgeseg.report.provenance import conditions
from edgeseg.report.table import HEADINGS, TEXT_COLUMNS, footnotes, rows
from edgeseg.report.units import NOTHING, percent


def render(documents: Documents, title: str) -> str:
    measurements, evaluations = documents.measurements, documents.evaluations
    found = findings(measurements, evaluations)
    table = rows(measurements, evaluations)
    parts = [f"# {_escape(title)}", f"**{_escape(headline(found)[1])}**"]
    for f in found:
        lines = [f"**{f.verdict.status}** {f.name}: {f.verdict.why}.", "", f"- {f.accuracy.text}"]
        parts.append("\n".join([*lines, *(f"- {note}." for note in f.notes)]))
    if table:
        numeric = [TEXT_COLUMNS <= i < len(HEADINGS) - 1 for i in range(len(HEADINGS))]
        parts.append(_table(HEADINGS, [row.cells for row in table], numeric))
        parts += map(_escape, footnotes(table))
    for same in comparable(evaluations):
        headings = [f"IoU on {same[0].data}, {same[0].split}", *(f"{e.name}, {e.target}" for e in same)]
        ious = [[c, *(percent(e.per_class[c]) for e in same)] for c in same[0].per_class]
        parts.append(_table(headings, ious, [False] + [True] * len(same)))
    if found:
        parts.append("## Where this comes from")
        parts.append(
            _table(["", *(f.name for f in found)], [[what, *values] for what, values in conditions(measurements)])
        )
    parts.append(_table(["File", "SHA-256"], [[name, f"`{digest}`"] for name, digest in documents.sources]))
    return "\n\n".join(parts) + "\n"


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool] | None = None) -> str:
    rule = ["---:" if right else "---" for right in numeric or [False] * len(headings)]
    return "\n".join("| " + " | ".join(map(_escape, cells)) + " |" for cells in (headings, rule, *lines))


def _escape(text: str) -> str:
    """Keep a cell a cell: names of files and classes may hold bars and stars."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ") or NOTHING
