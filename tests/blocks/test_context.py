"""Averages of growing windows, what is made of them, and the fusion of two maps."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import DAPPM, FeatureFusion, PyramidPooling, windows


def test_windows_average_what_is_inside_the_map():
    (pool,) = windows([2])
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert pool(x)[0, 0].tolist() == [[6, 7, 8], [11, 12, 13], [16, 17, 18]]


@pytest.mark.parametrize("block", [PyramidPooling(16, 24), DAPPM(16, 8, 24)])
@pytest.mark.parametrize("size", [(8, 12), (9, 7), (3, 2)])
def test_any_size_is_pooled_and_comes_back(block, size):
    assert block.eval()(torch.randn(1, 16, *size)).shape == (1, 24, *size)


def test_one_pixel_is_known_everywhere():
    block = PyramidPooling(8, 8).eval()
    x = torch.rand(1, 8, 40, 40, requires_grad=True)
    for p in block.parameters():
        nn.init.constant_(p, 0.1)
    (grad,) = torch.autograd.grad(block(x)[0, 0, 0, 0], x)
    assert grad[0, 0, -1, -1] > 0  # through the average of all


def test_fusion_is_at_the_size_of_the_detail():
    block = FeatureFusion(8, 16, 24).eval()
    assert block(torch.randn(1, 8, 9, 13), torch.randn(1, 16, 3, 4)).shape == (1, 24, 9, 13)
