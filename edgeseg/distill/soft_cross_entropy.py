"""Cross-entropy on the teacher's probabilities: the loss on labels, with labels that are not certain.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531, section 2. Its
gradient is that of ``kl``; its value does not go below the teacher's own entropy.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from edgeseg.distill import both_logits
from edgeseg.outputs import Batch, Outputs

__all__ = ["soft_cross_entropy"]


def soft_cross_entropy(student: Outputs, teacher: Outputs | None, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """-T^2 sum p_teacher ln p_student over classes, both softened by T, averaged over all N h w pixels."""
    ours, theirs = (x / temperature for x in both_logits(student, teacher))  # (N, K, h, w)
    return -(temperature**2) * (F.softmax(theirs, 1) * F.log_softmax(ours, 1)).sum(1).mean()
