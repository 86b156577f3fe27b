"""Two networks that begin elsewhere and label frames for each other.

Chen et al. 2021, "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", https://arxiv.org/abs/2106.01226.
With a threshold, and each learning only what the other is sure of, it is mutual training: Blum and Mitchell 1998,
"Combining labeled and unlabeled data with co-training".
"""

from __future__ import annotations

import torch
from torch import nn

from edgeseg import mixing
from edgeseg.distill import drawn
from edgeseg.outputs import Batch, Outputs
from edgeseg.semi import Method, Setting, Terms, agree, looks, option, said, views

__all__ = ["CrossPseudo", "cross_pseudo", "mutual"]


@looks(0)
def cross_pseudo(setting: Setting, *, mix: str = "none") -> CrossPseudo:
    """-ln p_1(y_2) - ln p_2(y_1): cross-entropy of each network with the labels that the other gives, averaged over all
    cells of the frame, plus the same on the labelled frames; the second network learns from the labels as well. With
    ``mix=cutmix`` labels are mixed with the images.

    The authors' code averages over frames of both kinds together, with a weight of 1.5 on Pascal VOC and 6 on
    Cityscapes, and with cutmix leaves the labelled ones out.
    """
    return CrossPseudo(setting, mix, 0.0, alike=True)


def mutual(setting: Setting, *, threshold: float = 0.9) -> CrossPseudo:
    """The same with labels that the other network is at least as sure of as ``threshold``, and not on the labelled
    frames; one sees the frames in colours of their own, the other strongly changed, so that they do not come to agree
    in their mistakes."""
    return CrossPseudo(setting, "none", option(threshold, "threshold", 0, 1), alike=False)


class CrossPseudo(Method):
    def __init__(self, setting: Setting, mix: str, threshold: float, *, alike: bool) -> None:
        super().__init__()
        self.second = setting.second()
        self.on_labels, self.alike, self.threshold = setting.on_labels, alike, threshold
        self.mix, self.blank = mixing.pick(mix), mix == "cutout"
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, student: nn.Module, ours: Outputs, batch: Batch) -> Terms:
        unlabelled = views(batch)
        other = self.second(batch.images)
        images = [unlabelled.weak, unlabelled.weak if self.alike else unlabelled.strong[0]]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mix is None):  # mixed ones are asked again
            pair = [network(x) for network, x in zip((student, self.second), images, strict=True)]
        told = [said(answer.logits, unlabelled.inside) for answer in pair]
        if self.mix is not None:
            mask = self.mix(told[0].labels, drawn(self.step))
            images = [mixing.mixed(x, mask, blank=self.blank) for x in images]
            pair = [network(x) for network, x in zip((student, self.second), images, strict=True)]
            if not self.blank:
                told = [type(t)(*(mixing.mixed(x, mask) for x in t)) for t in told]
        losses = []
        for answer, teacher in zip(pair, told[::-1], strict=True):
            sure = (teacher.confidence >= self.threshold).float()
            losses.append(agree(answer.logits, teacher.labels, sure, teacher.inside))
        if self.alike:  # on the labelled frames as well
            everywhere = torch.ones_like(batch.labels, dtype=torch.bool)
            for i, (one, two) in enumerate(((ours, other), (other, ours))):
                teacher = said(two.logits, everywhere)
                losses[i] = losses[i] + agree(one.logits, teacher.labels, teacher.inside.float(), teacher.inside)
        return Terms(losses[0], {"second": losses[1], "second-on-labels": self.on_labels(other, batch)})
