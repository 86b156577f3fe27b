"""What most of a network is: stages, each of a coarser resolution than the one before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeseg.blocks.convolution import conv_bn, scaled
from edgeseg.blocks.residual import Residual


class ShortTermDense(nn.Module):
    """Four convolutions in a row, each narrower than the one before, beside each other in the result.

    The STDC module of Fan et al. 2021, "Rethinking BiSeNet For Real-time Semantic Segmentation",
    https://arxiv.org/abs/2104.13188. Of the ``outputs`` channels, a multiple of 64, the first, a 1x1 convolution, makes
    half and the others, 3x3, a quarter, an eighth and an eighth. With ``stride`` 2 a depthwise convolution shrinks what
    the second reads, an average pool what the first adds to the result.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        half, quarter, eighth = (outputs // n for n in (2, 4, 8))
        self.first = conv_bn(inputs, half, 1)
        self.shrink = conv_bn(half, half, 3, 2, groups=half, relu=False) if stride == 2 else None
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False) if stride == 2 else None
        self.others = nn.ModuleList(conv_bn(i, o) for i, o in ((half, quarter), (quarter, eighth), (eighth, eighth)))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        parts = [first if self.pool is None else self.pool(first)]
        x = first if self.shrink is None else self.shrink(first)
        for conv in self.others:
            x = conv(x)
            parts.append(x)
        return torch.cat(parts, 1)


def stdc_stages(blocks: tuple[int, int, int], width: float) -> tuple[nn.ModuleList, list[int]]:
    """The five stages of an STDC network, each of half the resolution of the one before, and their channels.

    ``blocks``: STDC modules of the last three; (2, 2, 2) is STDC1, (4, 5, 3) is STDC2.
    """
    channels = [scaled(32, width), scaled(64, width), *(8 * scaled(c / 8, width) for c in (256, 512, 1024))]
    stages = [conv_bn(3, channels[0], 3, 2), conv_bn(channels[0], channels[1], 3, 2)]
    for inputs, outputs, n in zip(channels[1:], channels[2:], blocks, strict=False):
        rest = (ShortTermDense(outputs, outputs) for _ in range(n - 1))
        stages.append(nn.Sequential(ShortTermDense(inputs, outputs, 2), *rest))
    return nn.ModuleList(stages), channels


class ResNet(nn.Module):
    """ResNet-18 or -34 (He et al. 2015, arXiv 1512.03385) up to its classifier, ReLU last in each block.

    Maps of (64, 64, 128, 256, 512) channels times ``width``: the stem's at H/4, then those of the four stages at H/4,
    H/8, H/16 and H/32; half of that from the first stage on where ``first_stride`` is 2. ``blocks``: (2, 2, 2, 2) for
    ResNet-18, (3, 4, 6, 3) for ResNet-34.
    """

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2), width: float = 1.0, first_stride: int = 1) -> None:
        super().__init__()
        self.channels = tuple(scaled(c, width) for c in (64, 64, 128, 256, 512))
        self.strides = (4, *(4 * first_stride * 2**i for i in range(4)))
        self.stem = nn.Sequential(conv_bn(3, self.channels[0], 7, 2), nn.MaxPool2d(3, 2, 1))
        shapes = zip(self.channels, self.channels[1:], blocks, (first_stride, 2, 2, 2), strict=False)
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(inputs, outputs, stride), *(Residual(outputs, outputs) for _ in range(count - 1)))
            for inputs, outputs, count, stride in shapes
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps
