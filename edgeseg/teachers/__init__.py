"""Large networks, one file per family. The folder is the registry.

A teacher obeys the student's signature, images (N, 3, H, W) to :class:`edgeseg.outputs.Outputs` with logits at
``stride``, but is free in its operations: it is never quantized.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch import nn

from edgeseg import catalogue
from edgeseg.errors import NetworkError

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Every teacher, as one types it: ``unet``."""
    return list(catalogue.entries(_HERE))


def get(name: str) -> Callable[..., nn.Module]:
    """The function that makes the teacher ``name``; NetworkError, with what there is, for an unknown one."""
    return catalogue.pick(catalogue.entries(_HERE), name, "teacher", NetworkError)
