"""Cross-entropy on soft labels, by hand."""

import math

import pytest
import torch

from edgeseg.distill.kl import kl
from edgeseg.distill.soft_cross_entropy import soft_cross_entropy
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))
EVEN = torch.zeros(1, 2, 1, 1)
QUARTERS = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)  # probabilities 1/4 and 3/4


def test_one_pixel():
    assert soft_cross_entropy(Outputs(EVEN), Outputs(QUARTERS), BATCH).item() == pytest.approx(math.log(2))
    entropy = -1 / 4 * math.log(1 / 4) - 3 / 4 * math.log(3 / 4)
    assert soft_cross_entropy(Outputs(QUARTERS), Outputs(QUARTERS), BATCH).item() == pytest.approx(entropy)


def test_it_teaches_what_kl_teaches():
    ours, theirs = torch.randn(2, 5, 4, 6, requires_grad=True), Outputs(torch.randn(2, 5, 4, 6))
    grads = [
        torch.autograd.grad(loss(Outputs(ours), theirs, BATCH, temperature=3.0), ours)[0]
        for loss in (soft_cross_entropy, kl)
    ]
    torch.testing.assert_close(*grads)
