"""Channel-wise distillation, by hand."""

import math

import pytest
import torch

from edgeseg.distill.cwd import cwd
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))
# One class over two pixels; at T = 4 the teacher's attention is 1/4 and 3/4.
FOCUS = torch.tensor([0.0, 4 * math.log(3)]).reshape(1, 1, 1, 2)
KL = 1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2)  # of it from an even attention


def test_one_channel():
    assert cwd(Outputs(torch.zeros(1, 1, 1, 2)), Outputs(FOCUS), BATCH).item() == pytest.approx(16 * KL, rel=1e-5)


def test_averaged_over_channels_and_images():
    """Of two images with three classes each, one channel of six disagrees."""
    theirs = torch.zeros(2, 3, 1, 2)
    theirs[0, 1] = FOCUS[0, 0]
    assert cwd(Outputs(torch.zeros(2, 3, 1, 2)), Outputs(theirs), BATCH).item() == pytest.approx(16 * KL / 6, rel=1e-5)


def test_only_where_counts_and_not_how_much():
    """Each channel is normalised over its image, so a constant added to it changes nothing."""
    ours, theirs = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    shifted = ours + torch.tensor([1.0, -2.0, 3.0])[:, None, None]
    torch.testing.assert_close(
        cwd(Outputs(shifted), Outputs(theirs), BATCH), cwd(Outputs(ours), Outputs(theirs), BATCH)
    )
