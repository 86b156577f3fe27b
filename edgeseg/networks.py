"""Any network by its name, and what it costs: parameters and multiply-adds."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeseg import students, teachers
from edgeseg.catalogue import pick
from edgeseg.errors import NetworkError


def names() -> list[str]:
    """Every student, then every teacher."""
    return [*students.names(), *teachers.names()]


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """The untrained network ``name``, with its own options (``width``, ``attention``, ...).

    Raises NetworkError for a name, an option or a value that does not exist, with those that do.
    """
    makers = {n: folder.get(n) for folder in (teachers, students) for n in folder.names()}
    make = pick({n: makers[n] for n in names()}, name, "network", NetworkError)
    known = [k for k, p in inspect.signature(make).parameters.items() if p.kind is p.KEYWORD_ONLY]
    unknown = [k for k in options if k not in known]
    if unknown:
        raise NetworkError(f"{name} has no option {', '.join(map(repr, unknown))}; it takes: {', '.join(known)}")
    if not 1 <= num_classes <= 255:
        raise NetworkError(f"expected 1 to 255 classes (labels are uint8), got {num_classes}")
    return make(num_classes, **options)


def parameters(net: nn.Module) -> int:
    """Parameters that inference uses: all but those of the heads under ``auxiliary``."""
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith("auxiliary."))


def macs(net: nn.Module, size_hw: tuple[int, int]) -> int:
    """Multiply-adds of all convolutions, transposed ones too, and matrix products, for one image at inference.

    Papers often print this number as "FLOPs". Nothing is computed: a copy runs on shapes alone.
    """
    shapes = copy.deepcopy(net).to("meta").eval()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        shapes(torch.empty(1, 3, *size_hw, device="meta"))
    return counted.get_total_flops() // 2
