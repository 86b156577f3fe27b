"""What a training step minimises, and the committee that may stand in for a teacher."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg import distill, semi
from edgeseg import losses as supervision
from edgeseg.distill import Opposed
from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Batch, Outputs
from edgeseg.recalled import Recalled, recalled
from edgeseg.schedules import Ramp, Stages, at
from edgeseg.taps import Pair, Taps, Where, probe

Loss = Callable[[Outputs, Outputs | None, Batch], Tensor | Opposed]
Weight = float | Ramp
MakeMethod = Callable[[semi.Setting], semi.Method]
Images = Callable[[int], Iterable[Tensor]]


class Lesson(nn.Module):
    """What one network learns: weighted losses on labels, and on what another says.

    Holds what the losses hold (adapters, discriminators) and neither network. ``taps`` says which features learn from
    which (:mod:`edgeseg.taps`), ``images`` gives batches to losses that look at some beforehand.
    """

    def __init__(
        self,
        student: nn.Module,
        losses: Sequence[tuple[Weight, Loss]],
        teacher: nn.Module | None,
        taps: Sequence[tuple[Where, Where]] = (),
        images: Images | None = None,
    ) -> None:
        super().__init__()
        if not losses:
            raise UserError("nothing to learn from: give at least one loss, on labels or from a teacher")
        reads = any(distill.is_("on_features", loss) for _, loss in losses)
        if isinstance(teacher, Recalled):
            taps = [(ours, teacher.place(theirs)) for ours, theirs in taps]
        self.taps = Taps(student, teacher, taps) if reads and teacher is not None else None
        self.losses = dict(zip(_unique(_name(f) for _, f in losses), losses, strict=True))
        self.learned = nn.ModuleDict()
        for name, (weight, loss) in self.losses.items():
            if not distill.is_("learned", loss):
                continue
            if teacher is None or self.taps is None:
                raise NetworkError("a distillation loss needs a teacher: give one, or leave this loss out")
            if any(isinstance(v, Stages) for v in getattr(loss, "keywords", {}).values()):
                raise UserError(f"{name} has weights of its own, which are made for one value of each option")
            made = loss(
                distill.Setting(
                    student=student,
                    teacher=teacher,
                    taps=self.taps,
                    num_classes=int(probe(student).logits.shape[1]),
                    images=images or _no_images,
                )
            )
            self.learned[name.replace(".", "-")] = made
            self.losses[name] = (weight, made)

    def forward(self, ours: Outputs, theirs: Outputs | None, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Each loss times its weight, a scalar, by its name (``cross-entropy``, ``kl``; a second one is ``kl-2``).

        ``progress`` is the share of the steps done. What an opponent minimises comes under the loss's name too.
        """
        paired = (ours, theirs)
        if self.taps is not None and theirs is not None:
            paired = (self.taps.student(ours), self.taps.teacher(theirs))
        found: dict[str, Tensor] = {}
        for name, (weight, loss) in self.losses.items():
            if isinstance(loss, nn.Module):
                loss.progress = progress
            reads = isinstance(loss, nn.Module) or distill.is_("on_features", loss)
            value = at_progress(loss, progress)(*(paired if reads else (ours, theirs)), batch)
            if isinstance(value, Opposed):
                found[f"{name}-opponent"], value = value.opponent, value.student
            found[name] = at(weight, progress) * value
        return found


class Supervise(nn.Module):
    """Weighted losses of one batch, from labels, from a teacher, or from both, in one forward pass; and, by the methods
    of ``semi``, from frames without labels.

    A module around the student: what it holds, what losses hold too, is trained and checkpointed. The teacher is held
    apart: frozen, in ``eval()`` whatever the student is in, moved by ``to()``, and never among parameters or state.
    ``progress``, the share of the steps done, is set before each.
    """

    progress = 0.0

    def __init__(
        self,
        student: nn.Module,
        losses: Sequence[tuple[Weight, Loss]],
        teacher: nn.Module | None = None,
        taps: Sequence[tuple[Where, Where]] = (),
        images: Images | None = None,
        semi: Sequence[tuple[Weight, MakeMethod]] = (),
    ) -> None:
        super().__init__()
        self.student = student
        self._teacher = () if teacher is None else (teacher.requires_grad_(False).eval(),)  # a tuple: not a submodule
        # First: its methods copy the student, which later on has hooks.
        self.unlabelled = Unsupervised(student, teacher, losses, semi) if semi else None
        self.lesson = Lesson(student, losses, teacher, taps, images)

    @property
    def teacher(self) -> nn.Module | None:
        return self._teacher[0] if self._teacher else None

    @property
    def pairs(self) -> Sequence[Pair]:
        """Features that learn from each other, if any do."""
        return self.lesson.taps.pairs if self.lesson.taps is not None else ()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every loss of the student, as :class:`Lesson` names them."""
        ours, theirs = self.student(batch.images), None
        if batch.teacher is not None:
            theirs = recalled(batch.teacher, ours)
        elif self.teacher is not None:
            with torch.no_grad():
                theirs = self.teacher(batch.images)
        found: dict[str, Tensor] = self.lesson(ours, theirs, batch, self.progress)
        if self.unlabelled is not None:
            found |= self.unlabelled(self.student, ours, batch, self.progress)
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to()``, ``cuda()`` and their like call: the teacher goes where the student goes."""
        for teacher in self._teacher:
            teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)


class Unsupervised(nn.Module):
    """What a network learns from frames without labels, by one method or several (:mod:`edgeseg.semi`)."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        losses: Sequence[tuple[Weight, Loss]],
        methods: Sequence[tuple[Weight, MakeMethod]],
    ) -> None:
        super().__init__()
        names = _unique(_name(make) for _, make in methods)
        on_labels = [(w, f) for w, f in losses if inspect.getmodule(getattr(f, "func", f)) is supervision]
        classes = int(probe(student).logits.shape[1])
        setting = semi.Setting(student, teacher, classes, partial(_on_labels, on_labels))
        self.weights = dict(zip(names, (weight for weight, _ in methods), strict=True))
        self.methods = nn.ModuleDict({name: make(setting) for name, (_, make) in zip(names, methods, strict=True)})

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Each method's value times its weight by the method's name; what it holds learns under ``NAME-``."""
        found: dict[str, Tensor] = {}
        for name, method in self.methods.items():
            method.progress = progress
            with statistics_kept(student):
                value = method(student, ours, batch)
            if isinstance(value, semi.Terms):
                found |= {f"{name}-{other}": term for other, term in value.others.items()}
                value = value.student
            found[name] = at(self.weights[name], progress) * value
        return found


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Running statistics of batch norms stay, whatever the network is shown meanwhile: changed and mixed views are not
    what it will see. In training each batch is normalised by its own, as ever."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _on_labels(losses: Sequence[tuple[Weight, Loss]], outputs: Outputs, batch: Batch) -> Tensor:
    """What any network is to learn from labels."""
    values = [at(weight, 1.0) * loss(outputs, None, batch) for weight, loss in losses]
    return torch.stack(values).sum() if values else outputs.logits.sum() * 0.0


class Mutual(nn.Module):
    """Two networks that learn together from the start, each from labels and from what the other says by then.

    Zhang et al. 2018, "Deep Mutual Learning", https://arxiv.org/abs/1706.00384. The partner may be another student, or
    a heavy network that is a teacher before it is trained. Losses are the same both ways; taps are named as of a
    student that learns from its partner, and read the other way round for the partner.
    """

    progress = 0.0

    def __init__(
        self,
        student: nn.Module,
        losses: Sequence[tuple[Weight, Loss]],
        partner: Callable[[], nn.Module],
        taps: Sequence[tuple[Where, Where]] = (),
        images: Images | None = None,
    ) -> None:
        super().__init__()
        self.student, self.partner = student, partner()
        self.lesson = Lesson(self.student, losses, self.partner, taps, images)
        back = [(theirs, ours) for ours, theirs in taps]
        self.partners_lesson = Lesson(self.partner, losses, self.student, back, images)

    @property
    def pairs(self) -> Sequence[Pair]:
        return self.lesson.taps.pairs if self.lesson.taps is not None else ()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every loss of the student, and those of its partner under ``partner-`` and the same names."""
        ours, theirs = self.student(batch.images), self.partner(batch.images)
        found = self.lesson(ours, _settled(theirs), batch, self.progress)
        back = self.partners_lesson(theirs, _settled(ours), batch, self.progress)
        return found | {f"partner-{name}": value for name, value in back.items()}


def _settled(outputs: Outputs) -> Outputs:
    """Without gradient: what one says, the other cannot change."""
    return Outputs(
        outputs.logits.detach(),
        tuple(f.detach() for f in outputs.features),
        tuple(a.detach() for a in outputs.auxiliary),
    )


def at_progress(loss: Loss, progress: float) -> Loss:
    """The loss with those of its options that go through stages as they are by now."""
    if not isinstance(loss, partial):
        return loss
    return partial(loss.func, *loss.args, **{k: at(v, progress) for k, v in loss.keywords.items()})


def _no_images(count: int) -> Iterable[Tensor]:
    raise NetworkError("this loss looks at some batches before training, and none were given")


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
        return Outputs(self.averaged(self.looks(images)))

    @staticmethod
    def averaged(looks: Iterator[Tensor]) -> Tensor:
        """Of the probabilities, one look after the other."""
        total = next(looks)
        for look in looks:
            if look.shape[1] != total.shape[1]:
                raise NetworkError(
                    f"teachers of {total.shape[1]} and of {look.shape[1]} classes cannot be averaged: "
                    "all must be trained on the same classes, in the same order"
                )
            total = torch.logaddexp(total, look)  # sums probabilities; logarithms keep the small ones
        return F.log_softmax(total, 1)  # ... and this divides by their number

    def looks(self, images: Tensor) -> Iterator[Tensor]:
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
    """``cross-entropy`` for ``cross_entropy`` and for any ``partial`` of it; ``skd.pair`` for a part of a method."""
    loss = getattr(loss, "func", loss)
    method = getattr(inspect.getmodule(loss), "METHOD", "")
    name = getattr(loss, "__name__", type(loss).__name__).replace("_", "-")
    return f"{method}.{name}" if method else name


def _unique(names: Iterable[str]) -> list[str]:
    """The second ``kl`` is ``kl-2``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique
