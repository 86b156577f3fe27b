"""BiSeNetV2: a wide, shallow branch for detail beside a narrow, deep one for semantics, each gating the other.

Yu et al. 2021, "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation",
https://arxiv.org/abs/2004.02147. The paper gives 21.15 G multiply-adds at 512 x 1024 with 19 classes and no number of
parameters, and its code was not published. This network has 3,358,883 parameters and takes 24.60 G; counted on the
PyTorch implementation in common use (github.com/CoinCheung/BiSeNet), 3,358,627 and 24.60 G. Everything but the head is
14.78 G of these. The head has 1,024 hidden channels, as in that implementation; the paper's number would lie between
512, 19.69 G, and 1,024. The four heads of training ("boosters") add 287,308 parameters.

It follows that implementation where the paper's figures show no ReLU (behind the depthwise convolutions) or a bare
convolution (at the end of the context embedding, and behind the sum of the aggregation). Integer engines want four
things otherwise:

* the global average is not normalised before its convolution, only behind it: 256 parameters less;
* the 1x1 convolutions of the aggregation are normalised too, so that they fold: 512 parameters more;
* the gate for the detail branch is enlarged behind its sigmoid, and bilinearly, as is the other product;
* the average pool of the detail branch does not count padding.

There is no dropout in the heads, and a booster classifies at the resolution of what it reads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, head, initialise, resize_as, scaled, separable
from edgeseg.outputs import Outputs

__all__ = ["BiSeNetV2", "bisenet_v2"]

PUBLISHED = {"bisenet-v2": (None, 21.15, (512, 1024))}


def bisenet_v2(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> BiSeNetV2:
    """BiSeNetV2, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training four more heads read the semantic branch (H/4,
    H/8, H/16, H/32), unless ``auxiliary=False``. Training needs two images or more in a batch: the context embedding's
    global average, one value per image and channel, is normalised over them.
    """
    return BiSeNetV2(num_classes, width, auxiliary=auxiliary)


class Stem(nn.Module):
    """(N, 3, H, W) to (N, outputs, H/4, W/4): shrunk twice, the second time by a convolution and by a max-pool."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        half = scaled(outputs, 1 / 2)
        self.shrink = conv_bn(3, outputs, 3, 2)
        self.convolve = nn.Sequential(conv_bn(outputs, half, 1), conv_bn(half, outputs, 3, 2))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.fuse = conv_bn(2 * outputs, outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = self.shrink(images)
        return self.fuse(torch.cat((self.convolve(x), self.pool(x)), 1))


class GatherAndExpand(nn.Module):
    """3x3 convolution, six times as many channels by a depthwise one, and back; halved where ``stride`` is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        wide = 6 * inputs
        layers = [conv_bn(inputs, inputs)]
        self.shortcut = None
        if stride == 2:
            layers += [conv_bn(inputs, wide, 3, 2, groups=inputs, relu=False), conv_bn(wide, wide, groups=wide)]
            self.shortcut = separable(inputs, outputs, 2, relu=False)
        else:
            layers += [conv_bn(inputs, wide, groups=inputs)]
        self.body = nn.Sequential(*layers, conv_bn(wide, outputs, 1, relu=False))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class ContextEmbedding(nn.Module):
    """The map plus its global average, which reaches every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(channels, channels, 1))
        self.mix = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x + resize_as(self.average(x), x))


class GuidedAggregation(nn.Module):
    """Each branch gated by the other at its own resolution: detail (N, C, h, w) and semantics (N, C, h/4, w/4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.detail = separable(c, c, relu=False)
        self.coarse_detail = nn.Sequential(
            conv_bn(c, c, 3, 2, relu=False), nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        )
        self.gate = nn.Sequential(conv_bn(c, c, relu=False), nn.Sigmoid())
        self.coarse_gate = nn.Sequential(*separable(c, c, relu=False), nn.Sigmoid())
        self.mix = conv_bn(c, c)

    def forward(self, detail: Tensor, semantics: Tensor) -> Tensor:
        fine = self.detail(detail) * resize_as(self.gate(semantics), detail, 4)  # (N, C, h, w)
        coarse = self.coarse_detail(detail) * self.coarse_gate(semantics)  # (N, C, h/4, w/4)
        return self.mix(fine + resize_as(coarse, detail, 4))


class BiSeNetV2(nn.Module):
    stride = 8

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c16, c32, c64, c128, c1024 = (scaled(c, width) for c in (16, 32, 64, 128, 1024))
        self.detail = nn.Sequential(
            *(conv_bn(i, c64, 3, s) for i, s in ((3, 2), (c64, 1))),
            *(conv_bn(c64, c64, 3, s) for s in (2, 1, 1)),
            *(conv_bn(i, c128, 3, s) for i, s in ((c64, 2), (c128, 1), (c128, 1))),
        )
        self.semantics = nn.ModuleList(
            [
                Stem(c16),
                nn.Sequential(GatherAndExpand(c16, c32, 2), GatherAndExpand(c32, c32)),
                nn.Sequential(GatherAndExpand(c32, c64, 2), GatherAndExpand(c64, c64)),
                nn.Sequential(GatherAndExpand(c64, c128, 2), *(GatherAndExpand(c128, c128) for _ in range(3))),
            ]
        )
        self.context = ContextEmbedding(c128)
        self.aggregate = GuidedAggregation(c128)
        self.head = head(c128, c1024, num_classes)
        boosters = (head(c, c128, num_classes) for c in (c16, c32, c64, c128))
        self.auxiliary = nn.ModuleList(boosters) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: detail (N, 128, H/8), semantics (N, 128, H/32), their aggregate (N, 128, H/8)."""
        detail = self.detail(images)  # (N, 128, H/8, W/8)
        x, stages = images, []
        for stage in self.semantics:
            x = stage(x)
            stages.append(x)  # (N, 16, H/4), (N, 32, H/8), (N, 64, H/16), (N, 128, H/32)
        semantics = self.context(x)
        fused = self.aggregate(detail, semantics)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(booster(x) for booster, x in zip(self.auxiliary, stages, strict=True))
        return Outputs(self.head(fused), (detail, semantics, fused), extra)
