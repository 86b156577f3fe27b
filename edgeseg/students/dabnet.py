"""DABNet: bottlenecks of depthwise convolutions in one direction at a time, two branches, one of them dilated.

Li et al. 2019, "DABNet: Depth-wise Asymmetric Bottleneck for Real-time Semantic Segmentation",
https://arxiv.org/abs/1907.11357. The paper gives 0.76 M parameters with 19 classes and no count of operations. This one
has 756,643, as the authors' network, and takes 10.22 G multiply-adds at 512 x 1024, 40.88 G at 1024 x 2048.

It is the authors' network, module for module, with two differences:

* average pools of the image do not count padding, which some integer kernels get wrong when they should;
* where sizes are odd, the max-pools beside strided convolutions keep the last row and column, so that both have the
  same size; theirs takes multiples of 8 only.

Normalisations stand before convolutions and behind concatenations, as published: an engine computes them on their own.
Depthwise convolutions of 3x1 and 1x3 see one channel each; see ``edgeseg export --depthwise`` for what engines make of
them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import Down, asymmetric, initialise, scaled
from edgeseg.outputs import Outputs

__all__ = ["DABNet", "dabnet"]

PUBLISHED = {"dabnet": (0.76, None, None)}

BLOCK = 1  # a strided convolution makes what the pooled map beside it leaves: 64 less 32 + 3 of the image
BARE = True  # convolutions without a bias that feed sums and concatenations, which are normalised, and the classifier
SECOND = (4, 4, 8, 8, 16, 16)  # dilations of the second block


def dabnet(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> DABNet:
    """DABNet, logits (N, num_classes, H/8, W/8); it has no auxiliary head to switch off.

    ``width`` scales the channels between blocks, rounded to multiples of 8.
    """
    return DABNet(num_classes, *(scaled(c, width) for c in (32, 64, 128)))


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class DAB(nn.Module):
    """Halve the channels by a 3x3, two asymmetric branches, near and dilated, and add what a 1x1 makes of their sum."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Sequential(*_norm(channels), _conv(channels, half), *_norm(half))
        self.near, self.far = (asymmetric(half, dilation=d, groups=half, behind=_norm) for d in (1, dilation))
        self.expand = nn.Sequential(*_norm(half), _conv(half, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        return x + self.expand(self.near(y) + self.far(y))


class DABNet(nn.Module):
    """C1, C2 and C3 channels at H/2, H/4 and H/8, and the image itself beside each of them."""

    stride = 8
    auxiliary = None

    def __init__(self, num_classes: int, c1: int, c2: int, c3: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(m for inputs, stride in ((3, 2), (c1, 1), (c1, 1)) for m in (_conv(inputs, c1, 3, stride), *_norm(c1)))
        )
        self.shrink = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.norm1 = _norm(c1 + 3)
        self.down2 = Down(c1 + 3, c2, _norm)
        self.block2 = nn.Sequential(*(DAB(c2, 2) for _ in range(3)))
        self.norm2 = _norm(2 * c2 + 3)
        self.down3 = Down(2 * c2 + 3, c3, _norm)
        self.block3 = nn.Sequential(*(DAB(c3, d) for d in SECOND))
        self.norm3 = _norm(2 * c3 + 3)
        self.classifier = _conv(2 * c3 + 3, num_classes, 1)
        initialise(self)
        nn.init.normal_(self.classifier.weight, std=(2 * c3 + 3) ** -0.5)  # logits, without a bias

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: (N, C1 + 3, H/2), (N, 2 C2 + 3, H/4), (N, 2 C3 + 3, H/8)."""
        image2 = self.shrink(images)
        image4 = self.shrink(image2)
        x1 = self.norm1(torch.cat([self.stem(images), image2], 1))  # (N, C1 + 3, H/2, W/2)
        down = self.down2(x1)
        x2 = self.norm2(torch.cat([self.block2(down), down, image4], 1))  # (N, 2 C2 + 3, H/4, W/4)
        down = self.down3(x2)
        x3 = self.norm3(torch.cat([self.block3(down), down, self.shrink(image4)], 1))  # (N, 2 C3 + 3, H/8, W/8)
        return Outputs(self.classifier(x3), (x1, x2, x3))
