"""DIST, by hand."""

import math

import pytest
import torch

from edgeseg.distill.dist import dist
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))


def at(*pixels: tuple[float, ...]) -> Outputs:
    """Logits of an image of one row, from the probabilities of its pixels."""
    return Outputs(torch.tensor(pixels).log().T[None, :, None])


def test_classes_of_a_pixel_by_hand():
    """Less their mean, 1/3: (1/6, 0, -1/6) and (1/6, -1/12, -1/12), whose correlation is sqrt(3) / 2."""
    ours, theirs = at((1 / 2, 1 / 3, 1 / 6)), at((1 / 2, 1 / 4, 1 / 4))
    value = dist(ours, theirs, BATCH, intra=0.0)
    assert value.item() == pytest.approx(1 - math.sqrt(3) / 2, rel=1e-5)


def test_pixels_of_a_class_by_hand():
    """The first class has (0.2, 0.4, 0.6) and (0.2, 0.6, 0.4), correlation 1/2; the second is its complement."""
    ours, theirs = at((0.2, 0.8), (0.4, 0.6), (0.6, 0.4)), at((0.2, 0.8), (0.6, 0.4), (0.4, 0.6))
    assert dist(ours, theirs, BATCH, inter=0.0).item() == pytest.approx(1 / 2, rel=1e-5)


def test_confidence_does_not_count():
    ours, theirs = at((0.4, 0.6), (0.5, 0.5)), at((0.1, 0.9), (0.5, 0.5))
    assert dist(ours, theirs, BATCH, inter=0.0).item() == pytest.approx(0, abs=1e-6)
