"""Small networks, one file per family. The folder is the registry.

A student is an ``nn.Module`` made by ``name(num_classes, *, width=1.0)``: images (N, 3, H, W) in,
:class:`edgeseg.outputs.Outputs` out, logits at ``stride``. It holds convolutions, batch normalisations, ReLUs, average
pools and bilinear resizes only, so that ``torch.fx`` traces it and every integer engine runs it. Heads that only
training needs lie under the attribute ``auxiliary`` and are silent in ``eval()``.

Where a published network needs more, its file says so: ``FLOAT``, names of modules and functions that quantization
leaves in float; ``BLOCK``, channels are multiples of it (8); ``BARE``, some convolutions are not followed by a
normalisation of their own. ``PUBLISHED`` holds what a paper counts of a network with 19 classes: million parameters,
milliards of multiply-adds, and the size (H, W) of the image that those are for, each None where it does not say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch import nn

from edgeseg import catalogue
from edgeseg.errors import NetworkError

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Every student, as one types it: ``ddrnet-23-slim``."""
    return list(catalogue.entries(_HERE))


def get(name: str) -> Callable[..., nn.Module]:
    """The function that makes the student ``name``; NetworkError, with what there is, for an unknown one."""
    return catalogue.pick(catalogue.entries(_HERE), name, "student", NetworkError)
