"""Convolutions of each kind: shapes, channels, reach, and what stands between and behind."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import asymmetric, conv_bn, scaled, separable


@pytest.mark.parametrize(
    ("channels", "width", "want"), [(32, 1.0, 32), (32, 0.5, 16), (48, 0.5, 24), (48, 0.25, 16), (128, 0.01, 8)]
)
def test_channels_are_multiples_of_8(channels, width, want):
    assert scaled(channels, width) == want


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 4)])
def test_convolutions_shrink_by_their_stride_rounded_up(kernel, stride, dilation):
    out = conv_bn(3, 8, kernel, stride, dilation=dilation)(torch.randn(2, 3, 13, 18))
    assert out.shape == (2, 8, -(-13 // stride), -(-18 // stride))


@pytest.mark.parametrize(("between", "relu", "count"), [(False, True, 1), (True, True, 2), (False, False, 0)])
def test_separable_convolutions_mix_channels_in_the_second_alone(between, relu, count):
    block = separable(8, 16, 2, between=between, relu=relu)
    depthwise, pointwise = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    assert (depthwise.groups, depthwise.kernel_size, pointwise.kernel_size) == (8, (3, 3), (1, 1))
    assert sum(isinstance(m, nn.ReLU) for m in block.modules()) == count
    assert block(torch.randn(2, 8, 9, 6)).shape == (2, 16, 5, 3)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 4), (5, 2)])
def test_asymmetric_convolutions_reach_as_far_as_square_ones(kernel, dilation):
    block = asymmetric(4, kernel, dilation=dilation, groups=4).eval()
    for m in block:
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
    dot = torch.zeros(1, 4, 21, 21)
    dot[..., 10, 10] = 1
    seen = block(dot)[0, 0]
    reach = {int(i) - 10 for i in seen.sum(1).nonzero()}
    assert reach == {int(i) - 10 for i in seen.sum(0).nonzero()}
    assert reach == {dilation * k for k in range(-(kernel // 2), kernel // 2 + 1)}
    assert sum(p.numel() for p in block[0].parameters()) == 4 * kernel


def test_what_stands_behind_each_half_can_be_another():
    kinds = [type(m) for m in asymmetric(4, behind=lambda channels: (nn.PReLU(channels),))]
    assert kinds == [nn.Conv2d, nn.PReLU, nn.Conv2d, nn.PReLU]
