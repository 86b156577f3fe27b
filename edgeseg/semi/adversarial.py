"""A discriminator says of each cell whether it looks labelled, and what passes is learned.

Hung et al. 2018, "Adversarial Learning for Semi-Supervised Semantic Segmentation", https://arxiv.org/abs/1802.07934.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from edgeseg.data import IGNORE
from edgeseg.outputs import Batch, Outputs
from edgeseg.semi import Method, Setting, Terms, agree, cells, looks, on_grid, option, resized, said, views

__all__ = ["Adversarial", "adversarial"]


@looks(0)
def adversarial(
    setting: Setting,
    *,
    labelled: float = 0.01,
    unlabelled: float = 0.001,
    believed: float = 0.1,
    threshold: float = 0.2,
    start: float = 0.25,
    soften: float = 0.9,
) -> Adversarial:
    """``labelled`` and ``unlabelled`` (lambda_adv) times -ln D, how little the discriminator D takes the student's
    answers for labels (equation 4) of the frames of either kind, and ``believed`` (lambda_semi) times cross-entropy
    with the student's own labels of unlabelled cells where D > ``threshold`` (T_semi, equation 5); the latter from the
    share ``start`` of the steps on. These defaults are those of the authors' commands.

    The discriminator learns to tell labels from answers (equation 1) to both kinds of frames, as in the authors' code,
    and not to labelled ones only. Beyond the paper it is shown the image too, and a label leaves it as much probability
    as the student gave it, at least ``soften``, the rest as the student has it, so that sharpness tells nothing:
    "scaling" in Luc et al. 2016, "Semantic Segmentation using Adversarial Networks", https://arxiv.org/abs/1611.08408,
    which the paper tried and saw no difference of. Cells without a label count in neither.
    """
    return Adversarial(
        setting.num_classes,
        labelled=option(labelled, "labelled", 0, 1000),
        unlabelled=option(unlabelled, "unlabelled", 0, 1000),
        believed=option(believed, "believed", 0, 1000),
        threshold=option(threshold, "threshold", 0, 1),
        start=option(start, "start", 0, 1),
        soften=option(soften, "soften", 0, 1),
    )


class Adversarial(Method):
    def __init__(
        self,
        num_classes: int,
        *,
        labelled: float,
        unlabelled: float,
        believed: float,
        threshold: float,
        start: float,
        soften: float,
    ) -> None:
        super().__init__()
        self.discriminator = Discriminator(num_classes)
        self.labelled, self.unlabelled, self.believed = labelled, unlabelled, believed
        self.threshold, self.start, self.soften = threshold, start, soften

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch) -> Terms:
        footage = views(batch)
        theirs = student(footage.weak)
        size = ours.logits.shape[-2:]
        labels, inside = on_grid(batch.labels, size), cells(footage.inside, theirs.logits.shape[-2:])
        known = labels != IGNORE
        with torch.autocast(ours.logits.device.type, enabled=False):
            mine, other = ours.logits.float().softmax(1), theirs.logits.float().softmax(1)
            here, there = resized(batch.images, size), resized(footage.weak, other.shape[-2:])
            real = as_if_said(labels, mine.detach(), self.soften)
            fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            passed = functional_call(self.discriminator, fixed, (other, there))
            value = self.labelled * wanted(functional_call(self.discriminator, fixed, (mine, here)), 1.0, known)
            value = value + self.unlabelled * wanted(passed, 1.0, inside)
            opponent = (
                wanted(self.discriminator(real, here), 1.0, known)
                + wanted(self.discriminator(mine.detach(), here), 0.0, known) / 2
                + wanted(self.discriminator(other.detach(), there), 0.0, inside) / 2
            ) / 2
        if self.progress >= self.start:
            told = said(theirs.logits, footage.inside)
            passes = told.inside & (passed.detach().sigmoid() > self.threshold)
            one = torch.ones_like(told.confidence)
            value = value + self.believed * agree(theirs.logits, told.labels, one, passes)
        return Terms(value, {"opponent": opponent})


class Discriminator(nn.Module):
    """Probabilities (N, K, h, w) and image (N, 3, h, w) to how much each cell looks labelled: logits (N, h, w).

    The paper's has five convolutions that halve; the grid of logits is coarse already, so here two of four do. Without
    batch normalisation, which would tell labels from answers by their statistics.
    """

    def __init__(self, num_classes: int, channels: tuple[int, ...] = (64, 128, 256)) -> None:
        super().__init__()
        inputs = (num_classes + 3, *channels[:-1])
        layers = zip(inputs, channels, (2, 2, 1), strict=True)
        self.body = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.LeakyReLU(0.2)) for i, o, stride in layers),
            nn.Conv2d(channels[-1], 1, 3, 1, 1),
        )

    def forward(self, probabilities: Tensor, image: Tensor) -> Tensor:
        x = self.body(torch.cat((probabilities, image), 1))
        return resized(x, probabilities.shape[-2:])[:, 0]


def as_if_said(labels: Tensor, told: Tensor, soften: float) -> Tensor:
    """Labels (N, h, w) as probabilities that a network could give, which gave these (N, K, h, w): at least ``soften``
    of the label, the rest in their proportions. Where there is no label, what the network gave."""
    known = (labels != IGNORE)[:, None]
    label = F.one_hot(labels.where(known[:, 0], 0), told.shape[1]).movedim(-1, 1).to(told)
    before = (label * told).sum(1, keepdim=True)
    after = before.clamp_min(soften)
    others = told * (1 - after) / (1 - before).clamp_min(torch.finfo(told.dtype).eps)
    return torch.where(known, torch.where(label > 0, after, others), told)


def wanted(logits: Tensor, what: float, counted: Tensor) -> Tensor:
    """Binary cross-entropy of the cells that are counted (N, h, w)."""
    each = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, what), reduction="none")
    return (each * counted).sum() / counted.sum().clamp_min(1)
