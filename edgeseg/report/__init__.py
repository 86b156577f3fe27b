"""Measurements, evaluations and pictures as a report that somebody can decide by: verdict first, then the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseg.errors import UserError
from edgeseg.measure import document
from edgeseg.report import html, markdown
from edgeseg.report.documents import read
from edgeseg.report.table import Row, render, rows

__all__ = ["Row", "render", "report", "rows"]


def report(files: Sequence[Path | str], out: Path | str, title: str = "edgeseg report") -> Path:
    """Write one self-contained page from result files, and return its path.

    ``files`` hold measurements ("edgeseg bench --out"), evaluations ("edgeseg eval --out") and panels; ``out`` ends in
    .html or .md. The same files give the same bytes. Raises UserError naming a file that cannot be used, and
    BackendMissing where the HTML report's libraries are not installed.
    """
    out = Path(out)
    renderers = {".html": html.render, ".md": markdown.render}
    if out.suffix not in renderers:
        raise UserError(f"a report is .html or .md, got {out.name!r}")
    document.write(out, renderers[out.suffix](read(files), title))
    return out
