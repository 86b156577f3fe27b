"""Soft labels, by hand."""

import math

import pytest
import torch

from edgeseg.distill.kl import kl
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))
EVEN = torch.zeros(1, 2, 1, 1)
QUARTERS = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)  # probabilities 1/4 and 3/4


def test_one_pixel():
    value = kl(Outputs(EVEN), Outputs(QUARTERS), BATCH)
    assert value.item() == pytest.approx(1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2))


def test_temperature_softens_and_is_squared():
    """At T = 2 the odds 1:3 become 1:sqrt(3)."""
    p = 1 / (1 + math.sqrt(3))
    value = kl(Outputs(EVEN), Outputs(QUARTERS), BATCH, temperature=2.0)
    assert value.item() == pytest.approx(4 * (p * math.log(2 * p) + (1 - p) * math.log(2 - 2 * p)), rel=1e-5)


def test_averaged_over_pixels():
    """Of four pixels one disagrees."""
    theirs = torch.cat([QUARTERS, EVEN, EVEN, EVEN], 3)
    value = kl(Outputs(torch.zeros(1, 2, 1, 4)), Outputs(theirs), BATCH)
    torch.testing.assert_close(value, kl(Outputs(EVEN), Outputs(QUARTERS), BATCH) / 4)
