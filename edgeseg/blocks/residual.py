"""Blocks that add what they compute to what they read, or stand in for such a sum."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks.convolution import conv_bn


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
    """1x1, 3x3 and 1x1 convolutions to ``outputs`` channels, else twice ``planes``, plus a shortcut.

    The shortcut is a 1x1 convolution where the shape changes, else the input itself. ``relu``: one behind the sum, as
    in He et al. 2015, arXiv 1512.03385; without it the next block begins with what has a sign.
    """

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int = 1,
        *,
        outputs: int | None = None,
        dilation: int = 1,
        relu: bool = False,
    ) -> None:
        super().__init__()
        outputs = outputs or 2 * planes
        self.body = nn.Sequential(
            conv_bn(inputs, planes, 1),
            conv_bn(planes, planes, 3, stride, dilation=dilation),
            conv_bn(planes, outputs, 1, relu=False),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else conv_bn(inputs, outputs, 1, stride, relu=False)
        self.relu = nn.ReLU() if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return x if self.relu is None else self.relu(x)


class InvertedResidual(nn.Module):
    """Widen, 3x3 depthwise, narrow without ReLU; plus the input where the shape stays.

    Sandler et al. 2018, "MobileNetV2", https://arxiv.org/abs/1801.04381.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, widen: int = 6) -> None:
        super().__init__()
        wide = widen * inputs
        self.body = nn.Sequential(
            conv_bn(inputs, wide, 1),
            conv_bn(wide, wide, 3, stride, groups=wide),
            conv_bn(wide, outputs, 1, relu=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)
