"""Folding changes where numbers are kept, not what they are."""

from __future__ import annotations

import torch
from torch import nn

from edgeseg.compress.fold import gain_and_bias


def test_conv_and_norm_become_one_conv():
    torch.manual_seed(0)
    conv, bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    nn.init.uniform_(bn.weight, -1, 1)  # a negative gain too
    nn.init.uniform_(bn.bias)
    x = torch.randn(2, 3, 8, 8)
    bn(conv(x))
    bn.eval()
    gain, bias = gain_and_bias(conv, bn)
    folded = torch.conv2d(x, conv.weight * gain.view(-1, 1, 1, 1), bias)
    torch.testing.assert_close(folded, bn(conv(x)), rtol=1e-5, atol=1e-5)


def test_a_lone_conv_is_itself():
    conv = nn.Conv2d(3, 4, 1)
    gain, bias = gain_and_bias(conv, None)
    assert (gain == 1).all() and (bias == conv.bias).all()
