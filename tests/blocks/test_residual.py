"""Blocks with a shortcut: what is left of them when what they compute is nothing."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import Bottleneck, InvertedResidual, Residual


def test_a_residual_block_of_zeros_is_its_shortcut():
    block = Residual(8, 8).eval()
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(("planes", "stride", "same"), [(4, 1, True), (8, 1, False), (4, 2, False)])
def test_a_bottleneck_of_zeros_is_its_shortcut(planes, stride, same):
    block = Bottleneck(8, planes, stride).eval()
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 6, 6)
    assert (block.shortcut is None) == same
    torch.testing.assert_close(block(x), x if same else block.shortcut(x))


def test_a_bottleneck_with_a_relu_is_nowhere_negative():
    block = Bottleneck(8, 4, outputs=24, dilation=3, relu=True).eval()
    out = block(torch.randn(1, 8, 6, 6))
    assert out.shape == (1, 24, 6, 6) and out.min() == 0
    assert block.body[1][0].dilation == (3, 3)


@pytest.mark.parametrize(("outputs", "stride", "same"), [(8, 1, True), (16, 1, False), (8, 2, False)])
def test_an_inverted_residual_adds_its_input_where_the_shape_stays(outputs, stride, same):
    block = InvertedResidual(8, outputs, stride, widen=3).eval()
    assert block.body[1][0].groups == 24
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 6, 6)
    want = x if same else torch.zeros(1, outputs, 6 // stride, 6 // stride)
    assert torch.equal(block(x), want)
