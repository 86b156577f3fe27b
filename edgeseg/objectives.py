"""What a training step minimises, and the committee that may stand in for a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Batch, Outputs

Loss = Callable[[Outputs, Outputs | None, Batch], Tensor]


class Supervise(nn.Module):
    """Weighted losses of one batch, from labels, from a teacher, or from both, in one forward pass.

    A module around the student: what it holds is trained and checkpointed. The teacher is held apart: frozen, in
    ``eval()`` whatever the student is in, moved by ``to()``, and never among parameters or state.
    """

    def __init__(
        self, student: nn.Module, losses: Sequence[tuple[float, Loss]], teacher: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not losses:
            raise UserError("nothing to learn from: give at least one loss, on labels or from a teacher")
        self.student = student
        self.losses = dict(zip(_unique(_name(f) for _, f in losses), losses, strict=True))
        self._teacher = () if teacher is None else (teacher.requires_grad_(False).eval(),)  # a tuple: not a submodule

    @property
    def teacher(self) -> nn.Module | None:
        return self._teacher[0] if self._teacher else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss times its weight, a scalar, by its name (``cross-entropy``, ``kl``; a second one is ``kl-2``)."""
        theirs = None
        if self.teacher is not None:
            with torch.no_grad():
                theirs = self.teacher(batch.images)
        ours = self.student(batch.images)
        return {name: weight * loss(ours, theirs, batch) for name, (weight, loss) in self.losses.items()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to()``, ``cuda()`` and their like call: the teacher goes where the student goes."""
        for teacher in self._teacher:
            teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)


class Ensemble(nn.Module):
    """Several teachers, and several looks at one image, as one teacher.

    Class probabilities are averaged over teachers, ``scales`` (of the image's size) and, with ``flip``, the mirrored
    image; logits are their logarithm, at the finest teacher's stride.
    """

    def __init__(self, teachers: Sequence[nn.Module], *, flip: bool = False, scales: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        if not teachers:
            raise NetworkError("an ensemble needs at least one teacher")
        if not scales or min(scales) <= 0:
            raise NetworkError(f"scales of the image must be positive, such as (0.75, 1.0, 1.25), got {tuple(scales)}")
        self.teachers = nn.ModuleList(teachers)
        self.flips = (False, True) if flip else (False,)
        self.scales = tuple(scales)
        self.stride = min(teacher.stride for teacher in teachers)

    def forward(self, images: Tensor) -> Outputs:
        """Log-probabilities (N, K, H/s, W/s) at the finest stride s, rounded up; no features.

        Raises NetworkError where the teachers have different numbers of classes.
        """
        looks = self._looks(images)
        total = next(looks)
        for look in looks:
            if look.shape[1] != total.shape[1]:
                raise NetworkError(
                    f"teachers of {total.shape[1]} and of {look.shape[1]} classes cannot be averaged: "
                    "all must be trained on the same classes, in the same order"
                )
            total = torch.logaddexp(total, look)  # sums probabilities; logarithms keep the small ones
        return Outputs(F.log_softmax(total, 1))  # ... and this divides by their number

    def _looks(self, images: Tensor) -> Iterator[Tensor]:
        """Log-probabilities of each teacher for each form of the images, turned and resized back."""
        h, w = images.shape[-2:]
        size = (-(-h // self.stride), -(-w // self.stride))
        for scale in self.scales:
            form = _resized(images, (max(1, round(h * scale)), max(1, round(w * scale))))
            for flip in self.flips:
                for teacher in self.teachers:
                    logits = teacher(form.flip(-1) if flip else form).logits
                    logits = logits.flip(-1) if flip else logits
                    yield F.log_softmax(_resized(logits.float(), size), 1)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _name(loss: Any) -> str:
    """``cross-entropy`` for ``cross_entropy`` and for any ``partial`` of it."""
    loss = getattr(loss, "func", loss)
    return getattr(loss, "__name__", type(loss).__name__).replace("_", "-")


def _unique(names: Iterable[str]) -> list[str]:
    """The second ``kl`` is ``kl-2``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique
