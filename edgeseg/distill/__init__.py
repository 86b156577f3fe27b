"""Losses that learn from a teacher, one file each. The folder is the registry.

A distillation loss is ``name(student, teacher, batch, *, options) -> scalar``, zero when student and teacher agree. It
compares logits at the student's own coarse resolution: a student's pixel stands for a point of the image, and the
teacher's logits are read at that point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from edgeseg import catalogue
from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Outputs

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Every distillation loss, as one types it: ``kl``."""
    return list(catalogue.entries(_HERE))


def get(name: str) -> Callable[..., Tensor]:
    """The loss ``name``; UserError, with what there is, for an unknown one."""
    return catalogue.pick(catalogue.entries(_HERE), name, "distillation loss", UserError)


def parse(text: str) -> tuple[float, Callable[..., Tensor]]:
    """``"kl=1"`` or ``"kl=1,temperature=4"``: the weight, and the loss with its options filled in.

    Raises UserError, with an example, for anything else.
    """
    return catalogue.weighted(catalogue.entries(_HERE), text, "distillation loss")


def both_logits(student: Outputs, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
    """Logits of student and teacher, both (N, K, h, w) of the student and float32; no gradient into the teacher.

    Raises NetworkError without a teacher or with one of other classes.
    """
    if teacher is None:
        raise NetworkError("a distillation loss needs a teacher: give one, or leave this loss out")
    ours, theirs = student.logits.float(), teacher.logits.detach().float()
    if ours.shape[1] != theirs.shape[1]:
        raise NetworkError(
            f"the student has {ours.shape[1]} classes and its teacher {theirs.shape[1]}: "
            "both must be trained on the same classes, in the same order"
        )
    if theirs.shape[-2:] != ours.shape[-2:]:
        theirs = F.interpolate(theirs, size=ours.shape[-2:], mode="bilinear", align_corners=False)
    return ours, theirs
