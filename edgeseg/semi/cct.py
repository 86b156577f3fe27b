"""CCT: decoders that are given less must say the same.

Ouali et al. 2020, "Semi-Supervised Semantic Segmentation with Cross-Consistency Training",
https://arxiv.org/abs/2003.09005: the feature, not the image, is changed, in seven ways, and each way has a decoder of
its own, where the authors' code has two or six. With a weight of 30 that grows over the first tenth of the steps in
that code: ``cct=30,ramp=0.1``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg import mixing
from edgeseg.distill import drawn
from edgeseg.outputs import Batch, Outputs
from edgeseg.semi import Method, Setting, cells, deepest, looks, resized, views

__all__ = ["CrossConsistency", "cct"]

NOISE = 0.3  # of each value
DROPPED = 0.5  # of channels
ACTIVE = (0.6, 0.9)  # share of the highest activation above which places are dropped; from 0.7 in the authors' code
ERASED = 0.4  # of each side of what surrounds a class
# Lengths of the adversarial change, while its direction is sought and then. The first is 1e-6 in the authors' code, of
# which float32 has little left.
PROBING, REACH = 1e-3, 2.0

Decoder = Callable[[Tensor], Tensor]
Change = Callable[[Tensor, Tensor, Decoder, torch.Generator], Tensor]


@looks(0)
def cct(setting: Setting) -> CrossConsistency:
    """Squared difference of the class probabilities of auxiliary decoders and of the student itself, which is not
    changed by it, averaged over classes, cells and decoders: 1/K sum_k d(g(z), g_k(z_k)).

    The decoders are given what the student's last fine feature becomes when it is changed. In the paper, too, what is
    before the shared feature knows the context already, and decoders do little but scale. Theirs here see the
    neighbouring cells, so that there is something to say of a cell which is hidden.
    """
    return CrossConsistency(setting)


class CrossConsistency(Method):
    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.place = deepest(setting.student)
        self.decoders = nn.ModuleDict({name: decoder(self.place.channels, setting.num_classes) for name in CHANGES})
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch) -> Tensor:
        unlabelled, chance = views(batch), drawn(self.step)
        answer = student(unlabelled.weak)
        feature, logits = answer.features[self.place.index].float(), answer.logits.detach().float()
        counted = cells(unlabelled.inside, logits.shape[-2:])
        losses = []
        with torch.autocast(feature.device.type, enabled=False):
            for name, decode in self.decoders.items():
                given = CHANGES[name](feature, logits.argmax(1), decode, chance)
                losses.append(differ(resized(decode(given), logits.shape[-2:]), logits, counted))
        return torch.stack(losses).mean()


def decoder(channels: int, num_classes: int) -> nn.Sequential:
    """A feature to logits: each channel looks around itself, then all are weighed."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.ReLU(), nn.Conv2d(channels, num_classes, 1)
    )


def differ(logits: Tensor, others: Tensor, counted: Tensor) -> Tensor:
    """Squared difference of the probabilities (N, K, h, w), averaged over classes and the cells that are counted."""
    each = (logits.softmax(1) - others.softmax(1)).square().mean(1)
    return (each * counted).sum() / counted.sum().clamp_min(1)


# The changes: of a feature (N, C, h, w), where labels are what the student says of it (N, H, W).


def noise(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Each value up to 30 % larger or smaller."""
    factor = 1 + NOISE * (2 * torch.rand(feature.shape[1:], generator=chance) - 1)
    return feature * factor.to(feature)


def inactive(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Without the places where channels are most active together."""
    activity = feature.detach().mean(1, keepdim=True)
    low, high = ACTIVE
    share = low + (high - low) * float(torch.rand((), generator=chance))
    return feature * (activity < share * activity.amax((2, 3), keepdim=True))


def channels(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Without half of the channels of each image, the others twice as large."""
    kept = torch.rand(*feature.shape[:2], 1, 1, generator=chance) >= DROPPED
    return feature * kept.to(feature) / (1 - DROPPED)


def objects(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Without half of the classes that the image contains: the paper's foreground, in datasets without background."""
    return hidden(feature, mixing.classmix(labels, chance))


def context(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Nothing but half of the classes that the image contains."""
    return hidden(feature, ~mixing.classmix(labels, chance))


def cutout(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Without a part of the rectangle around each class, 40 % of it high and wide."""
    mask = torch.zeros(labels.shape, dtype=torch.bool)
    for image, hole in zip(labels.cpu(), mask, strict=True):
        for c in image.unique():
            ys, xs = (image == c).nonzero(as_tuple=True)
            y, x = (part(side, chance) for side in (ys, xs))
            hole[y, x] = True
    return hidden(feature, mask.to(feature.device))


def adversarial(feature: Tensor, labels: Tensor, decode: Decoder, chance: torch.Generator) -> Tensor:
    """Moved to where the decoder's answer changes most.

    Miyato et al. 2017, "Virtual Adversarial Training", https://arxiv.org/abs/1704.03976, with one step.
    """
    fixed = feature.detach()
    towards = unit(torch.rand(fixed.shape, generator=chance).to(fixed) - 0.5).requires_grad_()
    with torch.enable_grad():
        moved = decode(fixed + PROBING * towards).log_softmax(1)
        apart = F.kl_div(moved, decode(fixed).detach().log_softmax(1), reduction="batchmean", log_target=True)
        (slope,) = torch.autograd.grad(apart, towards)
    return feature + REACH * unit(slope)


CHANGES: dict[str, Change] = {
    "noise": noise,
    "inactive": inactive,
    "channels": channels,
    "objects": objects,
    "context": context,
    "cutout": cutout,
    "adversarial": adversarial,
}


def hidden(feature: Tensor, mask: Tensor) -> Tensor:
    """Zero where the mask (N, H, W), at its cells, has True."""
    mask = F.interpolate(mask[:, None].float(), size=feature.shape[-2:], mode="nearest")
    return feature * (mask == 0)


def part(places: Tensor, chance: torch.Generator) -> slice:
    """Of the places along a side from first to last a piece of it that has its share, somewhere."""
    first, last = int(places.min()), int(places.max())
    length = round(ERASED * (last + 1 - first))
    at = first + int(torch.randint(last + 2 - first - length, (), generator=chance))
    return slice(at, at + length)


def unit(x: Tensor) -> Tensor:
    """Each image's part of length 1."""
    return x / x.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
