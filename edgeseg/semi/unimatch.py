"""UniMatch V2: one answer to a weakly changed view teaches two strongly changed ones.

Yang et al. 2025, "UniMatch V2: Pushing the Limit of Semi-Supervised Semantic Segmentation",
https://arxiv.org/abs/2410.10777: the teacher is a running mean of the student, both strong views lie in one stream of
the student, and channels of its feature are dropped from the one that stay in the other (complementary dropout): of
what the last convolution is given, which any network has, where the authors drop between encoder and decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg import mixing
from edgeseg.distill import drawn
from edgeseg.ema import Ema
from edgeseg.last_layer import Last
from edgeseg.outputs import Batch, Outputs
from edgeseg.semi import Method, Setting, agree, looks, option, said, views

__all__ = ["UniMatch", "unimatch"]


@looks(2)
def unimatch(setting: Setting, *, decay: float = 0.996, threshold: float = 0.95) -> UniMatch:
    """1(max q >= threshold) H(argmax q, p), cross-entropy with the teacher's labels where it is at least as sure as
    ``threshold``, averaged over all cells of the frame and over the two views, each of which is mixed by cutmix for
    itself. Defaults are those of the authors' code."""
    return UniMatch(setting, option(decay, "decay", 0, 1), option(threshold, "threshold", 0, 1))


class UniMatch(Method):
    def __init__(self, setting: Setting, decay: float, threshold: float) -> None:
        super().__init__()
        self.average = Ema(setting.student, decay)
        self.last = Last(setting.student)
        self.threshold = threshold
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch) -> Tensor:
        if self.training:
            self.average.follow(student)
        unlabelled = views(batch)
        teacher = said(self.average(unlabelled.weak).logits, unlabelled.inside)
        chance = drawn(self.step)
        masks = [mixing.cutmix(teacher.labels, chance) for _ in unlabelled.strong]
        images = torch.cat([mixing.mixed(x, mask) for x, mask in zip(unlabelled.strong, masks, strict=True)])
        with self.last.given(lambda feature: dropped(feature, chance)):
            answers = student(images).logits.chunk(2)
        losses = []
        for logits, mask in zip(answers, masks, strict=True):
            labels, confidence, inside = (mixing.mixed(x, mask) for x in teacher)
            losses.append(agree(logits, labels, (confidence >= self.threshold).float(), inside))
        return torch.stack(losses).mean()


def dropped(feature: Tensor, chance: torch.Generator) -> Tensor:
    """Of a feature (2M, C, h, w) of two views, half of the channels for the first and the others for the second, twice
    as large; a half of the images, drawn, keep all of them (section 3.3)."""
    n, c = len(feature) // 2, feature.shape[1]
    kept = 2.0 * torch.randint(0, 2, (n, c), generator=chance)
    whole = torch.rand(n, 1, generator=chance) < 0.5
    masks = torch.cat([torch.where(whole, torch.ones(()), mask) for mask in (kept, 2 - kept)])
    return feature * masks.to(feature)[..., None, None]
