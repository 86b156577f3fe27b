"""Regression on logits, by hand."""

import torch

from edgeseg.distill.mse import mse
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))


def test_averaged_over_classes_and_pixels():
    ours = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 1, 2)
    theirs = torch.tensor([1.0, 0.0, 0.0, 3.0]).reshape(1, 2, 1, 2)
    assert mse(Outputs(ours), Outputs(theirs), BATCH).item() == (0 + 4 + 9 + 1) / 4
