"""Convolutions: plain, depthwise-separable, asymmetric; and how many channels they have.

Convolution, batch normalisation, ReLU: always in this order. A batch normalisation right behind its convolution folds
into it exactly, and an integer engine then runs the three as one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn


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


def separable(inputs: int, outputs: int, stride: int = 1, *, between: bool = False, relu: bool = True) -> nn.Sequential:
    """Depthwise-separable: a 3x3 convolution of each channel for itself, then a 1x1 that mixes them.

    Howard et al. 2017, https://arxiv.org/abs/1704.04861. ``between``: a ReLU between the two; ``relu``: one at the end.
    """
    return nn.Sequential(
        conv_bn(inputs, inputs, 3, stride, groups=inputs, relu=between), conv_bn(inputs, outputs, 1, relu=relu)
    )


def normalised(channels: int) -> tuple[nn.Module, ...]:
    """What stands behind a convolution unless said otherwise: batch normalisation and ReLU."""
    return nn.BatchNorm2d(channels), nn.ReLU()


def asymmetric(
    channels: int,
    kernel: int = 3,
    *,
    dilation: int = 1,
    groups: int = 1,
    behind: Callable[[int], Iterable[nn.Module]] = normalised,
) -> nn.Sequential:
    """A ``kernel`` x 1 and then a 1 x ``kernel`` convolution: the reach of a square one with fewer weights.

    Romera et al. 2018, ERFNet; with ``groups=channels`` Li et al. 2019, DABNet, https://arxiv.org/abs/1907.11357.
    ``behind`` makes what stands behind each of the two for a number of channels.
    """
    layers: list[nn.Module] = []
    for tall, wide in ((kernel, 1), (1, kernel)):
        padding = (tall // 2 * dilation, wide // 2 * dilation)
        conv = nn.Conv2d(channels, channels, (tall, wide), 1, padding, dilation=dilation, groups=groups, bias=False)
        layers += [conv, *behind(channels)]
    return nn.Sequential(*layers)


def head(inputs: int, hidden: int, num_classes: int) -> nn.Sequential:
    """A 3x3 convolution and a classifier: (N, inputs, h, w) to logits (N, num_classes, h, w)."""
    return nn.Sequential(conv_bn(inputs, hidden), nn.Conv2d(hidden, num_classes, 1))


def scaled(channels: float, width: float) -> int:
    """``channels * width`` to the nearest multiple of 8, at least 8: integer kernels work on blocks of 8 channels."""
    return max(8, int(channels * width / 8 + 0.5) * 8)
