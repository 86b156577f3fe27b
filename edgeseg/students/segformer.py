"""SegFormer-B0: four stages of transformer blocks that mix by convolution too, and a decoder of 1x1 convolutions.

Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
https://arxiv.org/abs/2105.15203. The paper gives 3.8 M parameters and 8.4 G multiply-adds at 512 x 512 with 150
classes, 125.5 G at 1024 x 2048 with 19. This one has 3,752,694 parameters and takes 8.39 G; with 19 classes 3,719,027
and, counting convolutions and matrix products alone, 120.96 G, of which 66.6 G are the products of attention.

It is the authors' network written on maps (N, C, H, W): what linear layers do to sequences, 1x1 convolutions do here.
Two things differ, so that all engines compute the same numbers and training needs no random paths:

* where sizes are odd, the decoder's maps are enlarged by 2, 4 or 8 and cropped, where theirs are stretched;
* no dropout and no dropped paths: a student learns from a teacher's answers, which regularise it.

The weights start as theirs do; pretrained ones on ImageNet, which the paper's accuracy needs, are not here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.blocks import conv_bn, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["SegFormer", "segformer_b0"]

PUBLISHED = {"segformer-b0": (3.8, 125.5, (1024, 2048))}

# No integer kernels worth having: softmax needs its exponents, and a mean over channels is little beside its roots.
FLOAT = ("attention", "normalise", "GELU")
HEADS = (1, 2, 5, 8)  # by stage
REDUCTION = (8, 4, 2, 1)  # of the side of keys and values, by stage
DEPTH = 2  # blocks of each stage


def segformer_b0(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> SegFormer:
    """SegFormer-B0, logits (N, num_classes, H/4, W/4); it has no auxiliary head to switch off.

    ``width`` scales the channels of each head of attention, 32 in all stages, and of the decoder, rounded to multiples
    of 8; the number of heads stays.
    """
    return SegFormer(num_classes, scaled(32, width), scaled(256, width))


@fx.wrap  # one node for torch.fx, whatever the sizes
def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Each position of q (N, C, H, W) sums the values v (N, C, h, w) by the softmax of its products with k, by head."""
    n, c, h, w = q.shape
    q, k, v = (x.reshape(n, heads, c // heads, -1).transpose(2, 3) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) * (c // heads) ** -0.5).softmax(-1)  # (N, heads, HW, hw)
    return (weights @ v).transpose(2, 3).reshape(n, c, h, w)


@fx.wrap
def normalise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalisation over the channels of (N, C, H, W)."""
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6).permute(0, 3, 1, 2)


class Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight, self.bias)


class Attention(nn.Module):
    """Efficient self-attention: keys and values of a map that a strided convolution has made ``reduction`` smaller."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduce = nn.Sequential(
            *([nn.Conv2d(channels, channels, reduction, reduction), Norm(channels)] if reduction > 1 else [])
        )
        self.q, self.k, self.v, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        small = self.reduce(x)
        return self.out(attention(self.q(x), self.k(small), self.v(small), self.heads))


class Block(nn.Module):
    """Attention, then Mix-FFN: widen four times, a depthwise 3x3 that tells positions, GELU, narrow; both residual."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.attend = nn.Sequential(Norm(channels), Attention(channels, heads, reduction))
        self.mix = nn.Sequential(
            Norm(channels),
            nn.Conv2d(channels, wide, 1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.GELU(),
            nn.Conv2d(wide, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.mix(x)


class SegFormer(nn.Module):
    """Mix transformer B0 of ``planes`` channels a head, and an all-MLP decoder of ``hidden``."""

    stride = 4
    auxiliary = None

    def __init__(self, num_classes: int, planes: int, hidden: int) -> None:
        super().__init__()
        channels = [planes * heads for heads in HEADS]
        inputs = [3, *channels[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, c, 7 if i == 3 else 3, 4 if i == 3 else 2, 3 if i == 3 else 1),  # overlapping patches
                Norm(c),
                *(Block(c, heads, reduction) for _ in range(DEPTH)),
                Norm(c),
            )
            for i, c, heads, reduction in zip(inputs, channels, HEADS, REDUCTION, strict=True)
        )
        self.project = nn.ModuleList(nn.Conv2d(c, hidden, 1) for c in channels)
        self.fuse = conv_bn(4 * hidden, hidden, 1)
        self.classify = nn.Conv2d(hidden, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module)
        nn.init.normal_(self.classify.weight, std=hidden**-0.5)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/4; features: the four stages, at H/4 to H/32, and their fusion at H/4."""
        features: list[Tensor] = []
        for stage in self.stages:
            features.append(stage(features[-1] if features else images))  # (N, 32, 64, 160, 256, H / 4, 8, 16, 32)
        finest, *coarser = (project(x) for project, x in zip(self.project, features, strict=True))
        enlarged = [resize_as(x, finest, 2 ** (i + 1)) for i, x in enumerate(coarser)]
        fused = self.fuse(torch.cat([*reversed(enlarged), finest], 1))  # (N, 256, H/4, W/4)
        return Outputs(self.classify(fused), (*features, fused))


def _initialise(conv: nn.Conv2d) -> None:
    """Linear layers: truncated normal of 0.02; convolutions: normal, 2 / fan-out."""
    taps = math.prod(conv.kernel_size)
    if taps == 1:
        nn.init.trunc_normal_(conv.weight, std=0.02)
    else:
        nn.init.normal_(conv.weight, std=math.sqrt(2 * conv.groups / (taps * conv.out_channels)))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
