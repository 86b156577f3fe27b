"""Operations at either end of a graph, described without any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One operation with one tensor in and one out; ``source`` and ``result`` name them in the reader's own way.

    ``op`` is one of identity, cast (``to``: a numpy name), reshape (also squeeze and unsqueeze), transpose (``perm``),
    softmax, logsoftmax (``axis``), sigmoid, argmax (``axis``, ``last``: the higher index wins a tie), and resize
    (``mode``, ``coordinates``, ``rounding``, ``scales``: one per axis, ``antialias``). Anything else is unknown.
    In front of a network there are also affine (``scale``, ``shift``: arrays that broadcast) and reverse (``axis``).
    """

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    given: Shape = ()
    made: Shape = ()
    source: str = ""
    result: str = ""


def in_words(step: Step) -> str:
    """``Resize x8 linear``; ``Softmax``."""
    if step.op != "resize":
        return {"argmax": "ArgMax", "logsoftmax": "LogSoftmax"}.get(step.op, step.op.capitalize())
    factors = sorted({round(m / n, 3) for n, m in zip(step.given, step.made, strict=True) if n != m})
    by = f" x{factors[0]:g}" if len(factors) == 1 else f" to {'x'.join(map(str, step.made))}"
    return f"Resize{by} {step.attributes['mode']}"
