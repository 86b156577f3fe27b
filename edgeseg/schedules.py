"""Numbers that change while a training goes on. ``progress`` is the share of its steps that are done, 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ramp:
    """From nothing to ``to``, in proportion, over the first ``share`` of the steps."""

    to: float
    share: float

    def at(self, progress: float) -> float:
        return self.to * min(1.0, progress / self.share)


@dataclass(frozen=True)
class Stages:
    """One value after the other, each for as many steps."""

    values: tuple[float, ...]

    def at(self, progress: float) -> float:
        return self.values[min(int(progress * len(self.values)), len(self.values) - 1)]


def at(value: Any, progress: float) -> Any:
    """What a value is by now; itself, unless it is one of the above."""
    return value.at(progress) if isinstance(value, Ramp | Stages) else value
