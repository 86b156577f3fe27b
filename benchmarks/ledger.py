"""Scores of many trainings in one file, which several processes fill together."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg.checkpoint import Run


@dataclass(frozen=True)
class Ledger:
    """A JSON file: by name what was tried, ``seeds`` among it with a score each."""

    file: Path

    def found(self) -> dict[str, Any]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def has(self, name: str, seed: int) -> bool:
        return str(seed) in self.found().get(name, {}).get("seeds", {})

    def keep(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add to what is there by now: others may write beside this process."""
        with self.file.with_suffix(".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            found = self.found()
            before = found.get(name, {})
            seeds = before.get("seeds", {}) | facts.get("seeds", {})
            found[name] = before | facts | ({"seeds": seeds} if seeds else {})
            beside = self.file.with_suffix(".writing")
            beside.write_text(json.dumps(found, indent=1) + "\n")
            beside.replace(self.file)

    def under(self, teacher: Run, name: str = "teacher") -> None:
        """Keep which teacher the results are under. Refused where others are there, which are under another."""
        digest = teacher.identity()["weights_sha256"]
        if (other := self.found().get(name, {}).get("weights_sha256", digest)) != digest:
            raise SystemExit(
                f"error: results in {self.file} are under another {name} ({other[:12]}, not {digest[:12]}): "
                "give that one, or move them away"
            )
        self.keep(name, {**score(teacher), "network": teacher.facts["network"], "weights_sha256": digest})


@contextmanager
def claimed(file: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process, and no other at the same time, may do what the file stands for; with ``wait``, once it
    may."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def score(run: Run) -> dict[str, Any]:
    metrics = run.facts["metrics"]
    return {
        "miou": metrics["miou"],
        "per_class": metrics["per_class"],
        "seconds": round(run.facts["seconds"]),
        "steps": run.facts["recipe"]["steps"],
    }
