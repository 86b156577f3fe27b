"""PIDNet-S, -M and -L: a branch for detail (P), one for context (I), and one for the edges (D) at which to trust which.

Xu et al. 2023, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers",
https://arxiv.org/abs/2206.02066. Parameters and multiply-adds at 1024 x 2048 with 19 classes, without the auxiliary
head, which is there in training only:

    network    paper            authors' network, counted   this one                with its auxiliary head
    PIDNet-S    7.6 M,  47.6 G   7,625,715,  47.19 G         7,619,829,  47.20 G    76,435 parameters more
    PIDNet-M    -                28,538,515, 177.33 G        28,526,741, 177.33 G   150,163
    PIDNet-L   36.9 M, 275.8 G  36,939,571, 274.93 G        36,927,797, 274.94 G   300,307

It differs from the authors' network so that integer engines can run each convolution, normalisation and ReLU as one:

* conv-BN-ReLU everywhere, where theirs has BN-ReLU-conv in the pyramid pooling, the last fusion and the heads; this
  normalises fewer channels (in S 5,632 parameters less in the pooling, 256 in the head, and 64 for two biases in
  front of a BN; in M and L 11,264, 512 and 128);
* the similarity of two maps is the sum over the channels of their product; here it is a 1x1 convolution of that
  product, which starts as the sum: 66 parameters more in S, 130 in M and L;
* every residual block ends in a ReLU, where theirs leaves it out at the end of a stage and applies it at most uses;
* average pools do not count padding;
* where sizes are odd, maps are enlarged by 2, 4 or 8 and cropped, where theirs are stretched (see ``resize_as``).

In training the authors have one more head, which finds the edges between classes in the D branch, and one more loss
that counts labels only near them. Its output is no class, so the losses on labels here cannot read it, and it is left
out: nothing but the last fusion then tells the D branch what to look for, and accuracy will miss it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import DAPPM, Bottleneck, Residual, conv_bn, head, initialise, resize_as, scaled, windows
from edgeseg.outputs import Outputs

__all__ = ["PIDNet", "pidnet_l", "pidnet_m", "pidnet_s"]

PUBLISHED = {"pidnet-s": (7.6, 47.6, (1024, 2048)), "pidnet-l": (36.9, 275.8, (1024, 2048))}


def pidnet_s(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> PIDNet:
    """PIDNet-S, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training a second head reads the P branch after its
    first fusion, unless ``auxiliary=False``. Training needs two images or more in a batch: the pyramid's global
    average, one value per image and channel, is normalised over them.
    """
    return _pidnet(num_classes, (32, 96, 128), width, (2, 3), auxiliary=auxiliary)


def pidnet_m(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> PIDNet:
    """PIDNet-M, of twice the channels of PIDNet-S; logits and options as there."""
    return _pidnet(num_classes, (64, 96, 128), width, (2, 3), auxiliary=auxiliary)


def pidnet_l(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> PIDNet:
    """PIDNet-L, deeper than PIDNet-M, with DDRNet's pyramid and a fusion by a 3x3 convolution; else as PIDNet-S."""
    return _pidnet(num_classes, (64, 112, 256), width, (3, 4), auxiliary=auxiliary)


def _pidnet(
    num_classes: int, channels: tuple[int, int, int], width: float, blocks: tuple[int, int], *, auxiliary: bool
) -> PIDNet:
    planes, pooled, hidden = (scaled(c, width) for c in channels)
    return PIDNet(num_classes, planes, pooled, hidden, blocks, auxiliary=auxiliary)


def _complement(gate: Tensor) -> Tensor:
    return gate * -1.0 + 1.0  # 1 - gate, of operations that quantize


class PixelAttention(nn.Module):
    """Detail replaced by context, pixel by pixel, as far as the two are alike (Pag).

    ``detail`` (N, channels, H, W) and ``context`` (N, channels, H / factor, W / factor) to (N, channels, H, W).
    """

    def __init__(self, channels: int, hidden: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.of_detail = conv_bn(channels, hidden, 1, relu=False)
        self.of_context = conv_bn(channels, hidden, 1, relu=False)
        self.alike = nn.Conv2d(hidden, 1, 1)
        self.gate = nn.Sigmoid()
        self.relu = nn.ReLU()

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        product = self.of_detail(detail) * resize_as(self.of_context(context), detail, self.factor)
        gate = self.gate(self.alike(product))  # (N, 1, H, W)
        return self.relu(detail * _complement(gate) + resize_as(context, detail, self.factor) * gate)


class PAPPM(nn.Module):
    """DAPPM with its levels side by side: all refined at once, by one grouped convolution."""

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__()
        self.same = conv_bn(inputs, planes, 1)
        self.strides = (2, 4, 8)
        self.pools = nn.ModuleList(
            nn.Sequential(pool, conv_bn(inputs, planes, 1))
            for pool in (*windows(self.strides), nn.AdaptiveAvgPool2d(1))
        )
        levels = len(self.pools)
        self.refine = conv_bn(planes * levels, planes * levels, groups=levels)
        self.compress = conv_bn(planes * (1 + levels), outputs, 1, relu=False)
        self.shortcut = conv_bn(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        same = self.same(x)
        pairs = zip(self.pools, (*self.strides, None), strict=True)
        refined = self.refine(torch.cat([resize_as(pool(x), x, stride) + same for pool, stride in pairs], 1))
        return self.compress(torch.cat((same, refined), 1)) + self.shortcut(x)


class LightBag(nn.Module):
    """Detail where the edges say so, context elsewhere, each on top of the other's map: (N, C, H, W) four times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sigmoid()
        self.of_detail = conv_bn(channels, channels, 1, relu=False)
        self.of_context = conv_bn(channels, channels, 1, relu=False)
        self.relu = nn.ReLU()

    def forward(self, detail: Tensor, context: Tensor, edges: Tensor) -> Tensor:
        gate = self.gate(edges)
        x = self.of_detail(context * _complement(gate) + detail)
        return self.relu(x + self.of_context(detail * gate + context))


class Bag(nn.Module):
    """Detail where the edges say so and context elsewhere, mixed by a 3x3 convolution: (N, C, H, W) four times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sigmoid()
        self.mix = conv_bn(channels, channels)

    def forward(self, detail: Tensor, context: Tensor, edges: Tensor) -> Tensor:
        gate = self.gate(edges)
        return self.mix(detail * gate + context * _complement(gate))


class PIDNet(nn.Module):
    """The three branches of P = ``planes`` channels; convN of the I branch works at H / 2^N.

    ``blocks``: residual blocks of conv2, conv3 and the P branch's stages, and of conv4 and conv5. With two of the first
    the light parts are taken, as in PIDNet-S and -M.
    """

    stride = 8

    def __init__(
        self, num_classes: int, planes: int, pooled: int, hidden: int, blocks: tuple[int, int], *, auxiliary: bool
    ) -> None:
        super().__init__()
        p, (shallow, deep) = planes, blocks
        light = shallow == 2
        self.stem = nn.Sequential(conv_bn(3, p, 3, 2), conv_bn(p, p, 3, 2))
        self.conv2 = _stage(p, p, shallow)
        self.conv3 = _stage(p, 2 * p, shallow, 2)
        self.conv4 = _stage(2 * p, 4 * p, deep, 2)
        self.conv5 = _stage(4 * p, 8 * p, deep, 2)
        self.conv6 = nn.Sequential(Bottleneck(8 * p, 8 * p, 2), Bottleneck(16 * p, 8 * p))
        self.pyramid = (PAPPM if light else DAPPM)(16 * p, pooled, 4 * p)

        self.conv4_detail = _stage(2 * p, 2 * p, shallow)
        self.up4 = conv_bn(4 * p, 2 * p, 1, relu=False)
        self.attend4 = PixelAttention(2 * p, p, 2)
        self.conv5_detail = _stage(2 * p, 2 * p, shallow)
        self.up5 = conv_bn(8 * p, 2 * p, 1, relu=False)
        self.attend5 = PixelAttention(2 * p, p, 4)
        self.conv6_detail = Bottleneck(2 * p, 2 * p)

        early = p if light else 2 * p  # channels of the D branch's first stage
        self.conv4_edges = Residual(2 * p, early)
        self.edges4 = conv_bn(4 * p, early, relu=False)
        self.conv5_edges = Bottleneck(p, p) if light else Residual(2 * p, 2 * p)
        self.edges5 = conv_bn(8 * p, 2 * p, relu=False)
        self.conv6_edges = Bottleneck(2 * p, 2 * p)

        self.relu = nn.ReLU()
        self.fuse = (LightBag if light else Bag)(4 * p)
        self.head = head(4 * p, hidden, num_classes)
        self.auxiliary = head(2 * p, hidden, num_classes) if auxiliary else None
        initialise(self)
        for attend in (self.attend4, self.attend5):
            nn.init.ones_(attend.alike.weight)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: P (N, 4P, H/8), I (N, 4P, H/64), D (N, 4P, H/8), and their fusion (N, 4P, H/8)."""
        x = self.conv3(self.conv2(self.stem(images)))  # (N, 2P, H/8, W/8)

        context = self.conv4(x)  # (N, 4P, H/16, W/16)
        detail = self.attend4(self.conv4_detail(x), self.up4(context))  # (N, 2P, H/8, W/8)
        edges = self.conv4_edges(x)  # (N, P or 2P, H/8, W/8)
        edges = self.relu(edges + resize_as(self.edges4(context), edges, 2))
        early = detail

        context = self.conv5(context)  # (N, 8P, H/32, W/32)
        detail = self.attend5(self.conv5_detail(detail), self.up5(context))  # (N, 2P, H/8, W/8)
        edges = self.conv5_edges(edges)  # (N, 2P, H/8, W/8)
        edges = self.relu(edges + resize_as(self.edges5(context), edges, 4))

        detail, edges = self.conv6_detail(detail), self.conv6_edges(edges)  # (N, 4P, H/8, W/8)
        context = self.pyramid(self.conv6(context))  # (N, 4P, H/64, W/64)
        fused = self.fuse(detail, resize_as(context, detail, 8), edges)
        extra = (self.auxiliary(early),) if self.training and self.auxiliary is not None else ()
        return Outputs(self.head(fused), (detail, context, edges, fused), extra)


def _stage(inputs: int, outputs: int, blocks: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs, stride), *(Residual(outputs, outputs) for _ in range(blocks - 1)))
