"""Grouped convolutions, and the shuffle that lets what one group found reach the others.

Zhang et al. 2017, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
https://arxiv.org/abs/1707.01083.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgeseg.blocks.convolution import conv_bn
from edgeseg.errors import NetworkError


@fx.wrap  # one node for torch.fx, whatever the sizes
def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels (N, C, H, W) dealt out anew: the first of each group, then the second of each, and so on.

    It moves values and computes none: rounded ones stay rounded.
    """
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise and grouped 1x1 convolutions, plus a shortcut.

    With ``stride`` 2 the shortcut is an average pool, beside which the convolutions make the channels that are missing:
    ``outputs`` less ``inputs``. What it reads comes from a ReLU, so that nothing in the result is negative. Raises
    NetworkError where the channels of one of them are no multiple of ``groups``, or where ``stride`` 1 changes them.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int = 1) -> None:
        super().__init__()
        made = outputs - inputs if stride == 2 else outputs
        if made % groups or inputs % groups or made <= 0 or (stride == 1 and inputs != outputs):
            raise NetworkError(
                f"a shuffle unit of {groups} groups cannot make {outputs} channels of {inputs} with stride {stride}: "
                f"both are multiples of {groups}, the same with stride 1, and more with stride 2"
            )
        self.groups = groups
        planes = groups * max(1, round(outputs / 4 / groups))
        self.reduce = conv_bn(inputs, planes, 1, groups=groups)
        self.depthwise = conv_bn(planes, planes, 3, stride, groups=planes, relu=False)
        self.expand = conv_bn(planes, made, 1, groups=groups, relu=stride == 2)
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.depthwise(shuffle(self.reduce(x), self.groups)))
        return self.relu(x + y) if self.pool is None else torch.cat((self.pool(x), y), 1)
