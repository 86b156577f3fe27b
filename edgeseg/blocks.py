"""The convolutions that every network here is made of, in the order that quantizes well.

Convolution, batch normalisation, ReLU: always in this order. A batch normalisation right behind its convolution folds
into it exactly, and an integer engine then runs the three as one operation. Weights start as He et al. 2015 propose
(https://arxiv.org/abs/1502.01852).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless ``relu=False``, ReLU; H and W shrink by ``stride``, rounded up."""
    padding = kernel // 2 * dilation
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU()] if relu else []))


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut, then ReLU: the basic block of He et al. 2015, arXiv 1512.03385.

    The shortcut is a 1x1 convolution where the shape changes, else the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, relu=False))
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else conv_bn(inputs, outputs, 1, stride, relu=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to twice ``planes`` channels plus a shortcut; no ReLU behind the sum.

    The shortcut is a 1x1 convolution where the shape changes, else the input itself.
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(inputs, planes, 1), conv_bn(planes, planes, 3, stride), conv_bn(planes, 2 * planes, 1, relu=False)
        )
        same = stride == 1 and inputs == 2 * planes
        self.shortcut = None if same else conv_bn(inputs, 2 * planes, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class DAPPM(nn.Module):
    """Deep aggregation pyramid pooling: averages over growing windows, each refined on top of the one before.

    Hong et al. 2021, https://arxiv.org/abs/2101.06085. No ReLU behind the sum.
    """

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__()
        self.same = conv_bn(inputs, planes, 1)
        self.strides = (2, 4, 8)
        pools = [nn.AvgPool2d(2 * s + 1, s, s, count_include_pad=False) for s in self.strides]
        self.pools = nn.ModuleList(
            nn.Sequential(pool, conv_bn(inputs, planes, 1)) for pool in (*pools, nn.AdaptiveAvgPool2d(1))
        )
        self.refine = nn.ModuleList(conv_bn(planes, planes) for _ in self.pools)
        self.compress = conv_bn(planes * (1 + len(self.pools)), outputs, 1, relu=False)
        self.shortcut = conv_bn(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.same(x)]  # each (N, planes, h, w)
        for pool, refine, stride in zip(self.pools, self.refine, (*self.strides, None), strict=True):
            maps.append(refine(resize_as(pool(x), x, stride) + maps[-1]))
        return self.compress(torch.cat(maps, 1)) + self.shortcut(x)


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


def head(inputs: int, hidden: int, num_classes: int) -> nn.Sequential:
    """A 3x3 convolution and a classifier: (N, inputs, h, w) to logits (N, num_classes, h, w)."""
    return nn.Sequential(conv_bn(inputs, hidden), nn.Conv2d(hidden, num_classes, 1))


def resize_as(x: Tensor, like: Tensor, factor: int | None = None) -> Tensor:
    """``x`` at the height and width of ``like``: bilinear, half-pixel centres.

    With a ``factor``, by which strides have made ``x`` smaller (rounding up), it is enlarged by just that and cropped.
    Where the factor is a power of two every interpolation weight is a binary fraction, so that all engines compute the
    same numbers; 23 rows stretched to 45 have weights that float32 cannot hold.
    """
    if factor is None:
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return crop(F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False), like.shape[-2:])


@fx.wrap  # one node for torch.fx, whatever the sizes
def crop(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The upper left of ``x`` (N, C, H, W)."""
    h, w = size_hw
    return x[..., :h, :w]


def scaled(channels: float, width: float) -> int:
    """``channels * width`` to the nearest multiple of 8, at least 8: integer kernels work on blocks of 8 channels."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def initialise(net: nn.Module, but: nn.Module | None = None) -> None:
    """Weights of an untrained network, ``but`` those of a part of it that brings its own.

    A convolution that feeds a batch normalisation keeps the variance of its gradient: normal, 2 / fan-out, where a
    grouped convolution counts only its own group. One with a bias is a classifier or a gate and keeps the variance of
    its input, 1 / fan-in: no class is much preferred, and yet its gradient reaches the layers before it at full size
    from the first step. (Starting classifiers near zero, as is common, gave the lower accuracy in all four short
    trainings that were compared: two networks, two learning rates.)
    """
    kept = set() if but is None else set(but.modules())
    for module in net.modules():
        if module in kept:
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            taps = math.prod(module.kernel_size)
            if module.bias is None:
                variance = 2 / (taps * module.out_channels // module.groups)
            else:
                if isinstance(module, nn.ConvTranspose2d):
                    taps /= math.prod(module.stride)  # as many of them meet in one pixel
                variance = module.groups / (taps * module.in_channels)
                nn.init.zeros_(module.bias)
            nn.init.normal_(module.weight, std=math.sqrt(variance))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
