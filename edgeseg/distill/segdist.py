"""SegDist: the teacher's features in as many dimensions as the student has, attention, and soft labels that come in
slowly.

The method is described without formulas; made precise, it is this. The teacher's features are reduced to the student's
channels by principal component analysis (Pearson 1901), fitted on a few batches, so that no part of the student is
spent on what the teacher hardly uses. Their attention maps must agree (Zagoruyko and Komodakis 2017,
https://arxiv.org/abs/1612.03928), and so must class probabilities, with a weight that grows from nothing in proportion
to the steps done. The student starts from weights that were trained without the teacher: ``--init``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.distill import Setting, both_features, both_logits, learned
from edgeseg.outputs import Batch, Outputs

__all__ = ["SegDist", "segdist"]

BATCHES = 8  # that the components are fitted on


@learned
def segdist(setting: Setting, *, attention: float = 1.0, soft: float = 1.0, temperature: float = 1.0) -> SegDist:
    """Of each pair the squared difference of the adapted feature and the reduced one, each component divided by its
    deviation over the batches, averaged over N C h w; plus ``attention`` times half the distance of the attention maps;
    averaged over pairs; plus ``soft`` times the share of steps done times T^2 KL(teacher || student)."""
    return SegDist(setting, attention, soft, temperature)


class SegDist(nn.Module):
    progress = 0.0  # share of the steps done, as the objective says before each step

    def __init__(self, setting: Setting, attention: float, soft: float, temperature: float) -> None:
        super().__init__()
        self.attention, self.soft, self.temperature = attention, soft, temperature
        self.adapters = nn.ModuleList()
        for i, (mean, axes) in enumerate(principal_components(setting)):
            self.register_buffer(f"mean{i}", mean)
            self.register_buffer(f"axes{i}", axes)
            self.adapters.append(nn.Conv2d(setting.pairs[i].channels[0], len(axes), 1))

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        found = []
        for i, (ours, theirs) in enumerate(both_features(student, teacher)):
            centred = theirs - self.get_buffer(f"mean{i}").view(-1, 1, 1)
            reduced = torch.einsum("kc,nchw->nkhw", self.get_buffer(f"axes{i}"), centred)
            maps = [F.normalize(x.square().sum(1).flatten(1), dim=1) for x in (ours, reduced)]
            apart = (maps[0] - maps[1]).square().sum(1).clamp_min(1e-12).sqrt().mean()
            found.append(F.mse_loss(self.adapters[i](ours), reduced) + self.attention * apart / 2)
        a, b = (F.log_softmax(x / self.temperature, 1) for x in both_logits(student, teacher))
        soft = self.temperature**2 * F.kl_div(a, b, reduction="sum", log_target=True) * a.shape[1] / a.numel()
        return torch.stack(found).mean() + self.soft * self.progress * soft


def principal_components(setting: Setting) -> list[tuple[Tensor, Tensor]]:
    """Of each pair the mean (C,) of the teacher's features and the axes (K, C) of most variance, K the student's
    channels or C, each divided by the deviation along it."""
    counts: list[int] = []
    sums: list[Tensor] = []
    products: list[Tensor] = []
    for images in setting.images(BATCHES):
        for i, feature in enumerate(setting.features_of_teacher(images)):
            rows = feature.movedim(1, -1).flatten(0, -2).double()  # (pixels, C)
            if i == len(counts):
                counts.append(0)
                sums.append(rows.new_zeros(rows.shape[1]))
                products.append(rows.new_zeros(rows.shape[1], rows.shape[1]))
            counts[i] += len(rows)
            sums[i] += rows.sum(0)
            products[i] += rows.T @ rows
    found = []
    for pair, n, total, product in zip(setting.pairs, counts, sums, products, strict=True):
        mean = total / n
        variances, axes = torch.linalg.eigh(product / n - mean.outer(mean))  # ascending
        kept = min(pair.channels)
        deviations = variances[-kept:].flip(0).clamp_min(1e-12).sqrt()
        found.append((mean.float(), (axes[:, -kept:].flip(1) / deviations).T.contiguous().float()))
    return found
