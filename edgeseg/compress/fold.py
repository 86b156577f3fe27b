"""Folding batch normalisation into the convolution before it, exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gain_and_bias(conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Per output channel (C,): what the weights are multiplied by, and the bias that follows.

    ``bn(conv(x)) == conv'(x)`` with ``weight' = weight * gain`` and ``bias' = bias``. Since the gain is per channel it
    moves into the scale of weights quantized per channel, and leaves their integers alone (up to its sign).
    """
    bias = torch.zeros(conv.out_channels, device=conv.weight.device) if conv.bias is None else conv.bias
    if bn is None:
        return torch.ones_like(bias), bias
    assert bn.running_var is not None and bn.running_mean is not None
    gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return gain, bn.bias + (bias - bn.running_mean) * gain
