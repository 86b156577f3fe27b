"""The convolutions that every network here is made of, in the order that quantizes well.

Convolution, batch normalisation, ReLU: always in this order. A batch normalisation right behind its convolution folds
into it exactly, and an integer engine then runs the three as one operation. Weights start as He et al. 2015 propose
(https://arxiv.org/abs/1502.01852).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class ResNet(nn.Module):
    """ResNet-18 or -34 (He et al. 2015, arXiv 1512.03385) up to its classifier, ReLU last in each block.

    Maps of (64, 64, 128, 256, 512) channels times ``width``: the stem's at H/4, then those of the four stages at H/4,
    H/8, H/16 and H/32; half of that from the first stage on where ``first_stride`` is 2. ``blocks``: (2, 2, 2, 2) for
    ResNet-18, (3, 4, 6, 3) for ResNet-34.
    """

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2), width: float = 1.0, first_stride: int = 1) -> None:
        super().__init__()
        self.channels = tuple(scaled(c, width) for c in (64, 64, 128, 256, 512))
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


def scaled(channels: int, width: float) -> int:
    """``channels * width`` to the nearest multiple of 8, at least 8: integer kernels work on blocks of 8 channels."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def initialise(net: nn.Module) -> None:
    """Weights of an untrained network.

    A convolution that feeds a batch normalisation keeps the variance of its gradient: normal, 2 / fan-out, where a
    grouped convolution counts only its own group. One with a bias is a classifier or a gate and keeps the variance of
    its input, 1 / fan-in: no class is much preferred, and yet its gradient reaches the layers before it at full size
    from the first step. (Starting classifiers near zero, as is common, gave the lower accuracy in all four short
    trainings that were compared: two networks, two learning rates.)
    """
    for module in net.modules():
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
