"""DDRNet-23-slim: two branches, one that keeps H/8 for detail and one that shrinks to H/64 for context.

Hong et al. 2021, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
https://arxiv.org/abs/2101.06085. The paper gives 5.7 M parameters and 36.3 G multiply-adds at 1024 x 2048 with 19
classes (5,695,987 and 36.28 G counted on the authors' network). This one has 5,690,035 and 36.28 G, and with its
auxiliary head, in training, 38,227 parameters more.

It differs from the authors' network so that integer engines can run each convolution, normalisation and ReLU as one:

* conv-BN-ReLU everywhere, where theirs has BN-ReLU-conv in the pyramid pooling and the heads; this normalises fewer
  channels: 5,632 parameters less in the pooling, 256 in the head (and 64 less for two biases in front of a BN);
* every residual block ends in a ReLU, where theirs leaves it out at the end of a stage and applies it at each use;
* average pools do not count padding, which some integer kernels get wrong when they should;
* where sizes are odd, maps are enlarged by 2, 4 or 8 and cropped, where theirs are stretched (see ``resize_as``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import Residual, conv_bn, head, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["DDRNet", "ddrnet_23_slim"]


def ddrnet_23_slim(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> DDRNet:
    """DDRNet-23-slim, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training a second head reads the detail branch after
    its first fusion, as in the authors' network, unless ``auxiliary=False``. Training needs two images or more in a
    batch: the pyramid's global average, one value per image and channel, is normalised over them.
    """
    planes, pooled, hidden = (scaled(c, width) for c in (32, 128, 64))
    return DDRNet(num_classes, planes, pooled, hidden, auxiliary=auxiliary)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to twice ``planes`` channels plus a shortcut; no ReLU behind the sum."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(inputs, planes, 1), conv_bn(planes, planes, 3, stride), conv_bn(planes, 2 * planes, 1, relu=False)
        )
        self.shortcut = conv_bn(inputs, 2 * planes, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class DAPPM(nn.Module):
    """Deep aggregation pyramid pooling: averages over growing windows, each refined on top of the one before."""

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


class DDRNet(nn.Module):
    """The 23-layer dual-resolution network of P = ``planes`` channels; convN of the context branch works at H / 2^N."""

    stride = 8

    def __init__(self, num_classes: int, planes: int, pooled: int, hidden: int, *, auxiliary: bool) -> None:
        super().__init__()
        p = planes
        self.stem = nn.Sequential(conv_bn(3, p, 3, 2), conv_bn(p, p, 3, 2))
        self.conv2 = _stage(p, p)
        self.conv3 = _stage(p, 2 * p, 2)

        self.conv4 = _stage(2 * p, 4 * p, 2)
        self.conv4_detail = _stage(2 * p, 2 * p)
        self.down4 = conv_bn(2 * p, 4 * p, 3, 2, relu=False)
        self.up4 = conv_bn(4 * p, 2 * p, 1, relu=False)

        self.conv5 = _stage(4 * p, 8 * p, 2)
        self.conv5_detail = _stage(2 * p, 2 * p)
        self.down5 = nn.Sequential(conv_bn(2 * p, 4 * p, 3, 2), conv_bn(4 * p, 8 * p, 3, 2, relu=False))
        self.up5 = conv_bn(8 * p, 2 * p, 1, relu=False)

        self.conv6 = Bottleneck(8 * p, 8 * p, 2)
        self.conv6_detail = Bottleneck(2 * p, 2 * p)
        self.pyramid = DAPPM(16 * p, pooled, 4 * p)
        self.relu = nn.ReLU()
        self.head = head(4 * p, hidden, num_classes)
        self.auxiliary = head(2 * p, hidden, num_classes) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: detail (N, 4P, H/8), context (N, 4P, H/64), and their sum (N, 4P, H/8)."""
        x = self.conv3(self.conv2(self.stem(images)))  # (N, 2P, H/8, W/8)

        context, detail = self.conv4(x), self.conv4_detail(x)  # (N, 4P, H/16, W/16), (N, 2P, H/8, W/8)
        context, detail = self._exchange(context, detail, self.down4, self.up4, 2)
        early = detail

        context, detail = self.conv5(context), self.conv5_detail(detail)  # (N, 8P, H/32, W/32), (N, 2P, H/8, W/8)
        context, detail = self._exchange(context, detail, self.down5, self.up5, 4)

        detail = self.conv6_detail(detail)  # (N, 4P, H/8, W/8)
        context = self.pyramid(self.conv6(context))  # (N, 4P, H/64, W/64)
        fused = self.relu(detail + resize_as(context, detail, 8))
        extra = (self.auxiliary(early),) if self.training and self.auxiliary is not None else ()
        return Outputs(self.head(fused), (detail, context, fused), extra)

    def _exchange(
        self, context: Tensor, detail: Tensor, down: nn.Module, up: nn.Module, factor: int
    ) -> tuple[Tensor, Tensor]:
        """Bilateral fusion: each branch receives the other's map at its own resolution and channels."""
        return self.relu(context + down(detail)), self.relu(detail + resize_as(up(context), detail, factor))


def _stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs, stride), Residual(outputs, outputs))
