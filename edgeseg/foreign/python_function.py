"""A network that a function of one's own makes: for whatever the other files do not read."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeseg.errors import NetworkError
from edgeseg.foreign import IMAGENET_MEAN, IMAGENET_STD, Foreign, Reading
from edgeseg.framing import Padded

__all__ = ["python"]

MULTIPLE = 32


def python(where: str) -> Foreign:
    """``module:function``; the module is looked for in the working directory too, and run.

    The function takes nothing and returns an ``nn.Module`` from images (N, 3, H, W), sides multiples of 32, to logits
    (N, K, H/s, W/s): a tensor, or what holds it as ``logits`` or under the key "out". The module's attributes
    ``classes``, ``mean`` and ``std`` are used where it has them; else classes are to be given, and ImageNet's numbers
    hold.
    """
    module, _, name = where.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as e:
        if not f"{module}.".startswith(f"{e.name}."):  # something that the module itself imports
            raise
        raise NetworkError(
            f"python: no module {module!r} here: python:MODULE:FUNCTION is imported as Python does"
        ) from e
    except AttributeError as e:
        raise NetworkError(f"python: {module} has no function {name!r}: write python:MODULE:FUNCTION") from e
    network = function()
    if not isinstance(network, nn.Module):
        raise NetworkError(f"python: {where} returned {type(network).__name__}, and must return a torch.nn.Module")
    a, b, c = getattr(network, "mean", IMAGENET_MEAN)
    d, e_, f = getattr(network, "std", IMAGENET_STD)
    return Foreign(
        network=Padded(Reading(network, _logits, (2 * MULTIPLE, 2 * MULTIPLE)), MULTIPLE),
        classes=tuple(getattr(network, "classes", ())),
        mean=(a, b, c),
        std=(d, e_, f),
    )


def _logits(answer: Any) -> Tensor:
    found = answer.get("out") if isinstance(answer, dict) else getattr(answer, "logits", answer)
    if not isinstance(found, torch.Tensor) or found.ndim != 4:
        raise NetworkError(f"python: expected logits (N, K, h, w), got {type(answer).__name__}")
    return found
