"""HRNet: four resolutions side by side that exchange what they know, and object regions as context.

Wang et al. 2019, "Deep High-Resolution Representation Learning for Visual Recognition",
https://arxiv.org/abs/1908.07919, here its HRNetV2: streams at 1/4, 1/8, 1/16 and 1/32 of the size, one more in each
stage, with C, 2C, 4C and 8C channels. Units of residual blocks end in an exchange: each stream becomes the sum of all,
brought to its size. The name says C: W18, W48.

Yuan et al. 2019, "Object-Contextual Representations for Semantic Segmentation", https://arxiv.org/abs/1909.11065: a
first, coarse classification says how much each pixel belongs to the region of each class; the features of a region are
the average of its pixels', and each pixel attends to the regions.

For Cityscapes, 1024 x 2048 and 19 classes, the authors give HRNetV2-W48 with 65.8 M parameters and 696.2 G
multiply-adds, W18-Small-v1 with 1.5 M and 31.1 G, v2 with 3.9 M and 71.6 G, where G is 2 to the 30th. These have
65,858,659 and 747.5 G, 1,540,579 and 33.4 G, 3,939,309 and 76.9 G: the same, counted in billions. W18 has 9,640,849 and
takes 147.4 G; with object regions W18 has 12,080,036 and W48 70,371,446, and they take 426.0 G and 1297.9 G.

What differs from the authors' code: bilinear enlargement by 2, 4 or 8 with half-pixel centres; convolutions in front of
a batch normalisation have no bias; no dropout. Weights start untrained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from edgeseg.blocks import Bottleneck, Residual, conv_bn, initialise, resize_as, scaled
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs

__all__ = ["HRNet", "hrnet_ocr_w18", "hrnet_ocr_w48", "hrnet_w18", "hrnet_w48"]

# Bottlenecks of the first stage and their planes; exchange units of the three others; residual blocks of a unit.
SIZES = {0: (4, 64, (1, 4, 3), 4), 1: (1, 32, (1, 1, 1), 2), 2: (2, 64, (1, 3, 2), 2)}


def hrnet_w18(num_classes: int, *, width: float = 1.0, small: int = 0) -> HRNet:
    """HRNetV2-W18, logits (N, num_classes, H/4, W/4).

    ``width`` scales all channels. ``small`` 1 or 2: as few blocks as the authors' W18-Small-v1 or -v2, the first of
    which has 16 channels where others have 18. Raises NetworkError for another number.
    """
    return HRNet(num_classes, 18, width, small, objects=False)


def hrnet_w48(num_classes: int, *, width: float = 1.0, small: int = 0) -> HRNet:
    """HRNetV2-W48, logits (N, num_classes, H/4, W/4); options as of W18."""
    return HRNet(num_classes, 48, width, small, objects=False)


def hrnet_ocr_w18(num_classes: int, *, width: float = 1.0, small: int = 0) -> HRNet:
    """HRNetV2-W18 with object-contextual representations, https://arxiv.org/abs/1909.11065; else as HRNetV2-W18.

    In training the coarse classification is an auxiliary output; at inference it is still needed.
    """
    return HRNet(num_classes, 18, width, small, objects=True)


def hrnet_ocr_w48(num_classes: int, *, width: float = 1.0, small: int = 0) -> HRNet:
    """HRNetV2-W48 with object-contextual representations, https://arxiv.org/abs/1909.11065; else as with W18."""
    return HRNet(num_classes, 48, width, small, objects=True)


class Exchange(nn.Module):
    """Residual blocks on each stream, then each becomes the ReLU of the sum of all: strided 3x3 down, 1x1 up."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.streams = nn.ModuleList(nn.Sequential(*(Residual(c, c) for _ in range(blocks))) for c in channels)
        self.sums = nn.ModuleList(
            nn.ModuleList(_bring(channels, j, i) for j in range(len(channels))) for i in range(len(channels))
        )
        self.relu = nn.ReLU()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [stream(x) for stream, x in zip(self.streams, maps, strict=True)]
        mixed = []
        for i, paths in enumerate(self.sums):
            total = maps[i]
            for j, path in enumerate(paths):
                if j < i:
                    total = total + path(maps[j])
                elif j > i:
                    total = total + resize_as(path(maps[j]), maps[i], 2 ** (j - i))
            mixed.append(self.relu(total))
        return mixed


def _bring(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one stream to the channels of another, and to its resolution where that is coarser."""
    inputs, outputs = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_bn(inputs, outputs, 1, relu=False)
    halvings = (conv_bn(inputs, inputs, 3, 2) for _ in range(target - source - 1))
    return nn.Sequential(*halvings, conv_bn(inputs, outputs, 3, 2, relu=False))


@fx.wrap  # one node for torch.fx, whatever the sizes
def gather(pixels: Tensor, coarse: Tensor) -> Tensor:
    """Regions (N, C, K, 1): averages of pixels (N, C, h, w), weighted by the softmax of coarse (N, K, h, w)."""
    return (pixels.flatten(2) @ coarse.flatten(2).softmax(-1).transpose(1, 2)).unsqueeze(3)


@fx.wrap
def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each pixel of query (N, C, h, w) sums the values (N, C, K, 1) by the softmax of its products with the keys."""
    products = query.flatten(2).transpose(1, 2) @ key.squeeze(3)  # (N, hw, K)
    weights = (products * query.shape[1] ** -0.5).softmax(-1)
    return (value.squeeze(3) @ weights.transpose(1, 2)).unflatten(2, query.shape[-2:])


class ObjectContext(nn.Module):
    """Pixels (N, C, h, w) and their coarse classification (N, K, h, w) to pixels that know their regions."""

    def __init__(self, planes: int, keys: int) -> None:
        super().__init__()
        self.query = nn.Sequential(conv_bn(planes, keys, 1), conv_bn(keys, keys, 1))
        self.key = nn.Sequential(conv_bn(planes, keys, 1), conv_bn(keys, keys, 1))
        self.value = conv_bn(planes, keys, 1)
        self.expand = conv_bn(keys, planes, 1)
        self.fuse = conv_bn(2 * planes, planes, 1)

    def forward(self, pixels: Tensor, coarse: Tensor) -> Tensor:
        regions = gather(pixels, coarse)
        context = self.expand(attend(self.query(pixels), self.key(regions), self.value(regions)))
        return self.fuse(torch.cat((context, pixels), 1))


class HRNet(nn.Module):
    stride = 4

    def __init__(self, num_classes: int, planes: int, width: float, small: int, *, objects: bool) -> None:
        super().__init__()
        if small not in SIZES:
            raise NetworkError(f"hrnet: small must be {', '.join(map(str, SIZES))}, got {small!r}")
        bottlenecks, first, units, blocks = SIZES[small]
        planes = max(1, round((planes // 8 * 8 if small == 1 else planes) * width))
        stem, first = scaled(64, width), scaled(first, width)
        self.stem = nn.Sequential(conv_bn(3, stem, 3, 2), conv_bn(stem, stem, 3, 2))
        inputs = (stem, *[4 * first] * (bottlenecks - 1))
        self.first = nn.Sequential(*(Bottleneck(i, first, outputs=4 * first, relu=True) for i in inputs))
        channels = [planes * 2**i for i in range(4)]
        self.enter = conv_bn(4 * first, channels[0])
        # What opens one more stream, half the resolution of the coarsest there is.
        self.open = nn.ModuleList(conv_bn(i, c, 3, 2) for i, c in zip((4 * first, *channels[1:]), channels[1:]))
        self.stages = nn.ModuleList(
            nn.ModuleList(Exchange(channels[: i + 2], blocks) for _ in range(count)) for i, count in enumerate(units)
        )
        every = sum(channels)
        self.coarse = nn.Sequential(conv_bn(every, every, 1), nn.Conv2d(every, num_classes, 1))
        self.objects = None
        if objects:
            mid = scaled(512, width)
            self.pixels = conv_bn(every, mid)
            self.objects = ObjectContext(mid, scaled(256, width))
            self.classify = nn.Conv2d(mid, num_classes, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Features: the four streams, (N, C, H/4) to (N, 8C, H/32), then all of them side by side, (N, 15C, H/4)."""
        x = self.first(self.stem(images))
        maps = [self.enter(x)]
        for opened, units in zip(self.open, self.stages, strict=True):
            maps.append(opened(maps[-1] if len(maps) > 1 else x))
            for unit in units:
                maps = unit(maps)
        x = torch.cat([maps[0], *(resize_as(m, maps[0], 2**i) for i, m in enumerate(maps[1:], 1))], 1)
        coarse = self.coarse(x)  # (N, K, H/4, W/4)
        if self.objects is None:
            return Outputs(coarse, (*maps, x))
        logits = self.classify(self.objects(self.pixels(x), coarse))
        return Outputs(logits, (*maps, x), (coarse,) if self.training else ())
