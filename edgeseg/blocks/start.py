"""The weights that an untrained network starts with, as He et al. 2015 propose: https://arxiv.org/abs/1502.01852."""

from __future__ import annotations

import math

from torch import nn


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
