"""Losses on labels. Those that learn from a teacher are in ``distill/``, one file each.

Every loss, here and there, is ``loss(student, teacher, batch, *, options) -> scalar``, so that they mix freely; the
ones here do not look at the teacher. Logits are resized to the labels (bilinear, half-pixel centres), which is how
predictions are made. Auxiliary logits count with ``auxiliary_weight`` each. A batch without a single label gives 0.

Where several processes hold parts of a batch, each loss is such that their average is the loss of the whole; that of
``ohem`` is not, whose hard pixels are those of each part.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeseg import catalogue, processes
from edgeseg.outputs import Batch, Outputs
from edgeseg.schedules import Ramp

__all__ = ["balanced", "cross_entropy", "dice", "ohem"]

ROW = 16  # floats in the widest vectors of a CPU: torch takes the softmax of shorter rows one number at a time
IMPOSSIBLE = -1e30  # a logit whose probability is 0, and which stays finite when it is resized


def names() -> list[str]:
    """Every loss on labels, as one types it: ``cross-entropy``."""
    return [name.replace("_", "-") for name in __all__]


def parse(text: str) -> tuple[float | Ramp, Callable[..., Tensor]]:
    """``"dice=1"`` or ``"ohem=1,thresh=0.7"``: the weight, and the loss with its options filled in.

    Raises UserError, with an example, for anything else.
    """
    return catalogue.weighted(dict(zip(names(), map(globals().__getitem__, __all__))), text, "loss on labels")


def cross_entropy(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, ignore_label: int = 255, auxiliary_weight: float = 0.4
) -> Tensor:
    """Cross-entropy, averaged over all pixels of the batch that have a label."""
    labels = batch.labels.flatten()
    labelled = processes.mean((labels != ignore_label).sum()).clamp_min(1)

    def one(logits: Tensor) -> Tensor:
        pixels = _pixels(logits, batch.labels)
        return F.cross_entropy(pixels, labels, ignore_index=ignore_label, reduction="sum") / labelled

    return _weighted(one, student, auxiliary_weight)


def balanced(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    c: float = 1.02,
    ignore_label: int = 255,
    auxiliary_weight: float = 0.4,
) -> Tensor:
    """Cross-entropy in which a rare class weighs more: 1 / ln(c + p), p being its share of the batch's labelled pixels.

    Paszke et al. 2016, "ENet", https://arxiv.org/abs/1606.02147, section 5.2: with c = 1.02 weights lie between 1.4 for
    a class that fills the batch and 50 for one that hardly appears. The paper takes shares over the dataset.
    """
    labels = batch.labels.flatten()
    known = labels[labels != ignore_label]
    count = max(1, processes.mean(len(known)))

    def one(logits: Tensor) -> Tensor:
        pixels = _pixels(logits, batch.labels)
        share = processes.mean(torch.bincount(known, minlength=pixels.shape[1])) / count
        weights = 1 / (c + share).log()
        return (
            F.cross_entropy(pixels, labels, weights, ignore_index=ignore_label, reduction="sum")
            / (weights @ share).clamp_min(1e-12)
            / count
        )

    return _weighted(one, student, auxiliary_weight)


def ohem(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    thresh: float = 0.7,
    min_kept: float = 1 / 16,
    ignore_label: int = 255,
    auxiliary_weight: float = 0.4,
) -> Tensor:
    """Cross-entropy, averaged over the hard pixels only (online hard example mining).

    Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540. Hard are the pixels whose own class has a probability
    below ``thresh``, and in any case the hardest ``min_kept``, a share of the labelled pixels so that it means the same
    for every size of crop.
    """
    labels = batch.labels.flatten()
    threshold = -math.log(thresh)

    def one(logits: Tensor) -> Tensor:
        losses = F.cross_entropy(_pixels(logits, batch.labels), labels, ignore_index=ignore_label, reduction="none")
        losses = losses[labels != ignore_label]
        if losses.numel() == 0:
            return losses.sum()
        kept = max(1, math.ceil(min_kept * losses.numel()))
        last_kept = losses.detach().kthvalue(losses.numel() - kept + 1).values
        return losses[losses >= last_kept.clamp_max(threshold)].mean()

    return _weighted(one, student, auxiliary_weight)


def dice(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, ignore_label: int = 255, auxiliary_weight: float = 0.4
) -> Tensor:
    """One minus the Dice coefficient, averaged over the classes that the batch's labels contain.

    Milletari et al. 2016, "V-Net", https://arxiv.org/abs/1606.04797: 2 sum(p g) / (sum(p^2) + sum(g^2)), with sums over
    the labelled pixels of the whole batch, so that a thin class weighs as much as the road.
    """
    labels = batch.labels.flatten()
    known = labels != ignore_label
    truth = labels[known]

    def one(logits: Tensor) -> Tensor:
        p = _pixels(logits, batch.labels)[known].softmax(1)  # (labelled pixels, K)
        sizes = processes.summed(torch.bincount(truth, minlength=p.shape[1]))  # sum(g^2): g is 0 or 1
        overlap = p.new_zeros(p.shape[1]).index_add(0, truth, p.gather(1, truth[:, None])[:, 0])
        overlap, squares = processes.summed(overlap), processes.summed(p.square().sum(0))
        distance = 1 - 2 * overlap / (squares + sizes).clamp_min(1e-12)
        present = sizes > 0
        return distance[present].sum() / present.sum().clamp_min(1)

    return _weighted(one, student, auxiliary_weight)


def _weighted(one: Callable[[Tensor], Tensor], student: Outputs, auxiliary_weight: float) -> Tensor:
    return one(student.logits) + auxiliary_weight * sum(map(one, student.auxiliary))


def _pixels(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (N, K, h, w) at the labels' resolution, as float32 (N H W, K').

    With the classes of a pixel side by side, both this resize and the softmax over them are at their fastest on a CPU,
    if they fill one vector at least: there fewer than ROW classes are followed by some of no probability, so K' may be
    larger than K.
    """
    x = logits.float().contiguous(memory_format=torch.channels_last)
    if x.device.type == "cpu" and x.shape[1] < ROW:
        x = F.pad(x, (0, 0, 0, 0, 0, ROW - x.shape[1]), value=IMPOSSIBLE).contiguous(memory_format=torch.channels_last)
    x = F.interpolate(x, size=labels.shape[-2:], mode="bilinear", align_corners=False)  # (N, K', H, W)
    return x.movedim(1, -1).flatten(0, 2)
