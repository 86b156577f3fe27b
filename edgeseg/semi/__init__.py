"""Learning from frames without labels, one method per file. The folder is the registry.

A method is ``name(setting, *, options) -> Method``, a module that is made once, for the network that learns, and is
then asked at every step what that network has to minimise over the step's unlabelled views. What it holds (a second
network, a discriminator, a memory) is trained and checkpointed with the student, and left out of what is exported.

All compare answers on the coarse grid of the student's logits, as distillation does, and count only cells that lie on
the frame. Those that compare pixels by a feature take the one of ``deepest``.

Where several processes hold parts of a batch, shares of cells (the surest, the least sure) are those of a process's own
part, and memories are of all parts.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg import catalogue, mixing, processes
from edgeseg.distill import drawn
from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Batch, Outputs, Unlabelled
from edgeseg.schedules import Ramp, Stages
from edgeseg.taps import PROBE, probe

Entry = TypeVar("Entry", bound=Callable[..., Any])
_HERE = sys.modules[__name__]
COARSEST, FINEST = 8, 4  # strides at which pixels are compared by a feature, unless logits are coarser
APART = 0.05  # how far, of its own size, each weight of a second network begins from those of a trained one


@dataclass(frozen=True)
class Setting:
    """What a method is made for. Nothing of it becomes part of the method, unless the method copies it."""

    student: nn.Module
    teacher: nn.Module | None  # of distillation, frozen
    num_classes: int
    on_labels: Callable[[Outputs, Batch], Tensor]  # weighted losses on labels of any network's answer to a batch

    def second(self) -> nn.Module:
        """Another network of the student's kind that begins elsewhere: with fresh weights, or near the student's where
        that is trained already, as under fake quantization."""
        network = copy.deepcopy(self.student)
        if isinstance(network, fx.GraphModule):
            with torch.no_grad():
                for p in network.parameters():
                    p.add_(APART * p.std(correction=0) * torch.randn_like(p))
        else:
            for module in network.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        return network


class Method(nn.Module):
    """The base of all methods. ``progress`` is the share of the steps done, set before each."""

    progress = 0.0

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch) -> Tensor | Terms:
        """What is to be minimised: of the student and, in :class:`Terms`, of what the method itself holds.

        ``ours`` is the student's answer to the labelled images; ``batch.unlabelled`` is there.
        """
        raise NotImplementedError


class Terms(NamedTuple):
    """What the student minimises, and what else is minimised beside it, by name."""

    student: Tensor
    others: dict[str, Tensor]


def looks(count: int) -> Callable[[Entry], Entry]:
    """Say of a method how many strongly changed looks it takes of each view; one, unless it is said."""

    def said_of(entry: Entry) -> Entry:
        entry.looks = count  # type: ignore[attr-defined]
        return entry

    return said_of


def looks_of(method: Callable[..., Any]) -> int:
    """How many a method takes, or the one of which it is a partial."""
    return int(getattr(getattr(method, "func", method), "looks", 1))


def names() -> list[str]:
    """Every method, as one types it: ``mean-teacher``."""
    return list(catalogue.entries(_HERE))


def get(name: str) -> Callable[..., Method]:
    """The method ``name``; UserError, with what there is, for an unknown one."""
    return catalogue.pick(catalogue.entries(_HERE), name, "semi-supervised method", UserError)


def parse(text: str) -> tuple[float | Ramp, Callable[..., Method]]:
    """``"mean-teacher"`` or ``"mean-teacher=1,mix=cutmix,ramp=0.2"``: the weight, and the method with its options.

    Raises UserError, with an example, for anything else.
    """
    return catalogue.weighted(catalogue.entries(_HERE), text, "semi-supervised method", unsaid="1", bounded=True)


# What methods share.


def views(batch: Batch) -> Unlabelled:
    """Those without labels."""
    assert batch.unlabelled is not None
    return batch.unlabelled


def cells(inside: Tensor, size: torch.Size) -> Tensor:
    """Which cells of a grid lie on the frame wholly: bool (N, H, W) to (N, h, w)."""
    return F.adaptive_avg_pool2d(inside[:, None].float(), tuple(size))[:, 0] > 1 - 1e-6


class Said(NamedTuple):
    """An answer that another is to learn from. Shapes (N, h, w)."""

    labels: Tensor
    confidence: Tensor  # the probability of the label
    inside: Tensor  # bool


def said(logits: Tensor, inside: Tensor) -> Said:
    """Labels of logits (N, K, h, w), without gradient."""
    confidence, labels = logits.detach().float().softmax(1).max(1)
    return Said(labels, confidence, cells(inside, logits.shape[-2:]))


def agree(logits: Tensor, labels: Tensor, weight: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy with labels (N, h, w), each cell times its weight, averaged over the cells that are counted."""
    each = F.cross_entropy(logits.float(), labels, reduction="none")
    return (each * weight * counted).sum() / counted.sum().clamp_min(1)


class Following(Method):
    """A method whose student learns labels, on the strongly changed view, that something gave for the view itself;
    images and labels may be mixed (:mod:`edgeseg.mixing`)."""

    def __init__(self, mix: str) -> None:
        super().__init__()
        self.mix, self.blank = mixing.pick(mix), mix == "cutout"
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def learn(self, student: nn.Module, images: Tensor, told: Said, weight: Tensor) -> Tensor:
        """Weighted cross-entropy with the labels, averaged over all cells on the frame; the weight is (N, h, w)."""
        labels, counted = told.labels, told.inside
        if self.mix is not None:
            mask = self.mix(labels, drawn(self.step))
            images, counted = (mixing.mixed(x, mask, blank=self.blank) for x in (images, counted))
            if not self.blank:
                labels, weight = mixing.mixed(labels, mask), mixing.mixed(weight, mask)
        return agree(student(images).logits, labels, weight, counted)


def resized(logits: Tensor, size: torch.Size) -> Tensor:
    """Logits, or probabilities, on another grid; float32."""
    x = logits.float()
    return x if x.shape[-2:] == size else F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def on_grid(labels: Tensor, size: torch.Size) -> Tensor:
    """Labels (N, H, W), IGNORE among them, in the middle of the cells of a grid."""
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].long()


class Place(NamedTuple):
    """Where pixels' features are found."""

    index: int  # among those that a network hands out
    channels: int
    every: int  # how manieth pixel there, each way, is compared with others

    def of(self, outputs: Outputs) -> Tensor:
        """The feature of pixels that are compared: (N, C, h, w)."""
        return outputs.features[self.index][..., self.every // 2 :: self.every, self.every // 2 :: self.every]


def deepest(network: nn.Module) -> Place:
    """Which of the features that a network hands out pixels are compared by: the last one no coarser than 1/8, or than
    the logits where these are coarser; of one finer than 1/4 a pixel in each cell of that grid, which is dear enough.

    Coarser ones have lost the borders that logits must have; of the others the last one has seen the whole network,
    context included, but for what makes logits of it. Raises NetworkError where there is none.
    """
    logits, features, _ = probe(network)
    side = min(logits.shape[-2], PROBE // COARSEST)
    fine = [i for i, feature in enumerate(features) if feature.shape[-2] >= side]
    if not fine:
        raise NetworkError(
            f"{type(network).__name__} hands out no features as fine as 1/{PROBE // side}, by which this method could "
            "compare pixels: use a method on labels, such as mean-teacher"
        )
    _, channels, height, _ = features[fine[-1]].shape
    return Place(fine[-1], channels, max(1, height * FINEST // PROBE))


def head(channels: int, out: int) -> nn.Sequential:
    """Each pixel's feature to a vector that is compared with others."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 1, bias=False)
    )


def pixels(vectors: Tensor) -> Tensor:
    """Unit vectors of all pixels: (N, C, h, w) to (N h w, C), float32."""
    return F.normalize(vectors.float(), dim=1).movedim(1, -1).flatten(0, 2)


class Memory(nn.Module):
    """The latest vectors of each class, at most ``size`` of each; several processes remember what all of them add."""

    rows: Tensor  # (K, size, C)
    filled: Tensor  # (K,) int64
    following: Tensor  # (K,) int64: where the next one goes

    def __init__(self, num_classes: int, size: int, channels: int, each: int) -> None:
        """``each``: how many of a class are added at once, at most."""
        super().__init__()
        self.each = min(each, size)
        self.register_buffer("rows", torch.zeros(num_classes, size, channels))
        self.register_buffer("filled", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("following", torch.zeros(num_classes, dtype=torch.int64))

    def of(self, c: int) -> Tensor:
        """What is known of a class: (n, C)."""
        return self.rows[c, : int(self.filled[c])].clone()

    @torch.no_grad()
    def add(self, vectors: Tensor, worth: Tensor) -> None:
        """Of each class those of the vectors (P, C) that are worth most (K, P), where that is more than -inf, in place
        of the oldest."""
        best = worth.topk(min(self.each, worth.shape[1]), dim=1)
        counts = processes.gathered(best.values.isfinite().sum(1))
        rows = processes.gathered(vectors[best.indices])  # (processes K, each, C)
        for i, count in enumerate(counts.tolist()):
            self._put(i % len(self.filled), rows[i, :count])

    def _put(self, c: int, rows: Tensor) -> None:
        n, size = len(rows), self.rows.shape[1]
        self.rows[c, (self.following[c] + torch.arange(n, device=rows.device)) % size] = rows
        self.following[c] = (self.following[c] + n) % size
        self.filled[c] = (self.filled[c] + n).clamp_max(size)


def option(value: Any, name: str, low: float, high: float) -> float:
    """A number within its bounds. Raises UserError saying them, and for one that goes through stages."""
    if isinstance(value, Stages):
        raise UserError(f"{name} is one value for the whole training, got {':'.join(f'{v:g}' for v in value.values)}")
    if not low <= float(value) <= high:
        raise UserError(f"{name} must lie in {low:g} to {high:g}, got {float(value):g}")
    return float(value)
