"""What a check found: a finding, and the report over the graphs that were looked at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["refused", "wrong", "slow", "note"]
SEVERITIES: tuple[Severity, ...] = ("refused", "wrong", "slow", "note")
STOPS = ("refused", "wrong")


@dataclass(frozen=True)
class Finding:
    """One thing about a graph, and the nodes it was seen at.

    ``refused``: the parser or the builder says no. ``wrong``: it says yes, and the engine computes something else.
    ``slow``: it runs, and could run faster. ``note``: good to know.
    """

    severity: Severity
    rule: str
    nodes: tuple[str, ...]  # paths of modules where the graph bears them, otherwise names of nodes or tensors
    message: str  # what was found, why it matters, what to do


@dataclass(frozen=True)
class GraphReport:
    """The findings about one graph, gravest first."""

    graph: str  # the file's name
    reader: str  # "TensorRT 10.0"
    findings: tuple[Finding, ...]

    def of(self, *severities: str) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity in severities)


@dataclass(frozen=True)
class Report:
    """Every graph before every reader."""

    path: str
    target: str
    graphs: tuple[GraphReport, ...]

    @property
    def stopped(self) -> bool:
        """Whether some graph would not be built, or would answer something else."""
        return any(graph.of(*STOPS) for graph in self.graphs)

    def count(self, severity: Severity) -> int:
        return sum(len(graph.of(severity)) for graph in self.graphs)

    @property
    def sentence(self) -> str:
        """``3 graphs before TensorRT 10.0: 1 refused, 2 slow``."""
        graphs = sorted({graph.graph for graph in self.graphs})
        readers = list(dict.fromkeys(graph.reader for graph in self.graphs))
        counts = ", ".join(f"{n} {severity}" for severity in SEVERITIES if (n := self.count(severity)))
        return f"{', '.join(graphs)} before {' and '.join(readers)}: {counts or 'nothing found'}"

    def to_json(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "stopped": self.stopped}, indent=2) + "\n"


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same said of several nodes becomes one finding with all their names; gravest first."""
    nodes: dict[tuple[Severity, str, str], list[str]] = {}
    for f in findings:
        nodes.setdefault((f.severity, f.rule, f.message), []).extend(f.nodes)
    found = [Finding(s, rule, _unique(names), text) for (s, rule, text), names in nodes.items()]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
