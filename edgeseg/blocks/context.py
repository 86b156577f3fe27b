"""What surrounds a pixel: averages of growing regions, and the fusion of a deep map with a detailed one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgeseg.blocks.convolution import conv_bn, scaled
from edgeseg.blocks.sampling import resize_as


def windows(strides: Iterable[int]) -> list[nn.AvgPool2d]:
    """Averages over 2s + 1 pixels every s pixels, not counting padding: pyramids of any map, in any engine."""
    return [nn.AvgPool2d(2 * s + 1, s, s, count_include_pad=False) for s in strides]


class DAPPM(nn.Module):
    """Deep aggregation pyramid pooling: averages over growing windows, each refined on top of the one before.

    Hong et al. 2021, https://arxiv.org/abs/2101.06085. No ReLU behind the sum.
    """

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__()
        self.same = conv_bn(inputs, planes, 1)
        self.strides = (2, 4, 8)
        self.pools = nn.ModuleList(
            nn.Sequential(pool, conv_bn(inputs, planes, 1))
            for pool in (*windows(self.strides), nn.AdaptiveAvgPool2d(1))
        )
        self.refine = nn.ModuleList(conv_bn(planes, planes) for _ in self.pools)
        self.compress = conv_bn(planes * (1 + len(self.pools)), outputs, 1, relu=False)
        self.shortcut = conv_bn(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.same(x)]  # each (N, planes, h, w)
        for pool, refine, stride in zip(self.pools, self.refine, (*self.strides, None), strict=True):
            maps.append(refine(resize_as(pool(x), x, stride) + maps[-1]))
        return self.compress(torch.cat(maps, 1)) + self.shortcut(x)


class PyramidPooling(nn.Module):
    """The map beside its averages over windows of three sizes and over all (Zhao et al. 2017, arXiv 1612.01105)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.strides = (4, 8, 16)
        quarter = scaled(inputs, 1 / 4)
        self.pools = nn.ModuleList(
            nn.Sequential(pool, conv_bn(inputs, quarter, 1))
            for pool in (*windows(self.strides), nn.AdaptiveAvgPool2d(1))
        )
        self.mix = conv_bn(inputs + quarter * len(self.pools), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        strides = (*self.strides, None)
        maps = [resize_as(pool(x), x, stride) for pool, stride in zip(self.pools, strides, strict=True)]
        return self.mix(torch.cat([x, *maps], 1))


class FeatureFusion(nn.Module):
    """A deep map, resized by 4, smoothed by a depthwise convolution as wide as the resize, added to a detailed one.

    The feature fusion of ContextNet, https://arxiv.org/abs/1805.04554, and of Fast-SCNN.
    """

    def __init__(self, detail: int, context: int, outputs: int) -> None:
        super().__init__()
        self.smooth = conv_bn(context, context, groups=context, dilation=4)
        self.of_context = conv_bn(context, outputs, 1, relu=False)
        self.of_detail = conv_bn(detail, outputs, 1, relu=False)
        self.relu = nn.ReLU()

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        context = self.smooth(resize_as(context, detail, 4))
        return self.relu(self.of_context(context) + self.of_detail(detail))
