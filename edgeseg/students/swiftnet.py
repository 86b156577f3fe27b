"""SwiftNet-RN18: ResNet-18, pyramid pooling, and a ladder of light upsampling steps; one scale, or two that interleave.

Oršić et al. 2019, "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of Road-driving
Images", https://arxiv.org/abs/1903.08469; the authors' code is https://github.com/orsic/swiftnet. At 1024 x 2048 with
19 classes the paper's network on one scale has 11.8 M parameters and takes 104.0 G multiply-adds; this one has
11,793,603 and takes 103.56 G. On two scales it has 12,887,379 and takes 143.39 G: their first published code has as
many parameters but for the differences below.

What differs, so that integer engines can run each convolution, normalisation and ReLU as one:

* conv-BN-ReLU, where theirs has BN-ReLU-conv in the ladder, the pooling and the classifier. What is added at a step of
  the ladder has passed its own normalisation, and a ReLU follows the sum: ReLUs act where theirs do;
* the encoder's blocks hand their rectified sums to the ladder, which theirs rectifies first thing;
* pooling averages windows of 2s + 1 pixels every s pixels, s = 4, 8, 16, not counting padding, which at 1024 x 2048
  makes the 8 x 16, 4 x 8 and 2 x 4 bins of theirs; each level has 40 channels where theirs has 42, a third of 128;
* the classifier is a 1x1 convolution, as in their later code (3x3 at first: 2.6 G more);
* the half-size image is the average of 3x3 pixels around every second one, where theirs is interpolated: its maps and
  those of the whole image then have the same pixel centres, and any size has a half;
* both scales share convolutions but each has its own normalisations, as in their later code, so that each folds: 10,624
  parameters.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgeseg.blocks import ResNet, conv_bn, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["SwiftNet", "SwiftNetPyramid", "swiftnet_rn18", "swiftnet_rn18_pyramid"]

PUBLISHED = {"swiftnet-rn18": (11.8, 104.0, (1024, 2048))}


def swiftnet_rn18(
    num_classes: int, *, width: float = 1.0, auxiliary: bool = True, trunk: nn.Module | None = None
) -> SwiftNet:
    """SwiftNet-RN18 on one scale, logits (N, num_classes, H/4, W/4).

    ``width`` scales all channels, rounded to multiples of 8. In training a second classifier reads the first step of
    the ladder (H/16), which the authors' code offers, unless ``auxiliary=False``. ``trunk`` takes the place of
    ResNet-18: maps at H/4 to H/32, their ``channels``; ``width`` then scales what reads them.
    """
    return SwiftNet(num_classes, width, auxiliary=auxiliary, trunk=trunk)


def swiftnet_rn18_pyramid(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> SwiftNetPyramid:
    """SwiftNet-RN18 on the image and its half, logits (N, num_classes, H/4, W/4); options as above, H/32 for H/16."""
    return SwiftNetPyramid(num_classes, width, auxiliary=auxiliary)


class PyramidPooling(nn.Module):
    """The map, narrowed, beside its averages over windows of three sizes; no ReLU behind what mixes them."""

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.strides = (4, 8, 16)
        level = scaled(planes, 1 / 3)
        self.narrow = conv_bn(inputs, planes, 1)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2 * s + 1, s, s, count_include_pad=False), conv_bn(planes, level, 1))
            for s in self.strides
        )
        self.mix = conv_bn(planes + level * len(self.pools), planes, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        maps = [resize_as(pool(x), x, stride) for pool, stride in zip(self.pools, self.strides, strict=True)]
        return self.mix(torch.cat([x, *maps], 1))


class Ladder(nn.Module):
    """From the coarsest map up: enlarge by two, add the lateral maps of that size, ReLU, 3x3 convolution.

    The last step ends in a ReLU; the others are rectified after the next sum.
    """

    def __init__(self, planes: int, steps: int) -> None:
        super().__init__()
        self.blend = nn.ModuleList(conv_bn(planes, planes, relu=i == steps - 1) for i in range(steps))
        self.relu = nn.ReLU()

    def forward(self, coarsest: Tensor, lateral: list[list[Tensor]]) -> list[Tensor]:
        """All steps, coarse to fine; ``lateral``: for each, the maps to add."""
        steps = [coarsest]
        for blend, (first, *others) in zip(self.blend, lateral, strict=True):
            x = resize_as(steps[-1], first, 2) + first
            for other in others:
                x = x + other
            steps.append(blend(self.relu(x)))
        return steps[1:]


class SwiftNet(nn.Module):
    stride = 4

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool, trunk: nn.Module | None = None) -> None:
        super().__init__()
        planes = scaled(128, width)
        self.encoder = trunk or ResNet(width=width)
        *fine, coarsest = self.encoder.channels[-4:]
        self.pyramid = PyramidPooling(coarsest, planes)
        self.lateral = nn.ModuleList(conv_bn(c, planes, 1, relu=False) for c in fine)
        self.ladder = Ladder(planes, len(fine))
        self.classify = nn.Conv2d(planes, num_classes, 1)
        self.relu = nn.ReLU()
        self.auxiliary = nn.Conv2d(planes, num_classes, 1) if auxiliary else None
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/4; features: the pooled map (N, 128, H/32), then the ladder's steps (N, 128, H/16 .. H/4)."""
        *fine, coarsest = self.encoder(images)[-4:]
        pooled = self.pyramid(coarsest)  # (N, 128, H/32, W/32)
        lateral = [[narrow(x)] for narrow, x in zip(self.lateral, fine, strict=True)]
        steps = self.ladder(pooled, lateral[::-1])
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = (self.auxiliary(self.relu(steps[0])),)
        return Outputs(self.classify(steps[-1]), (pooled, *steps), extra)


class Scale(nn.Module):
    """The encoder and the lateral convolutions on one scale: maps (N, planes, H/4 .. H/32) of an image."""

    def __init__(self, width: float, planes: int) -> None:
        super().__init__()
        self.encoder = ResNet(width=width)
        self.lateral = nn.ModuleList(conv_bn(c, planes, 3, relu=False) for c in self.encoder.channels[1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        _, *maps = self.encoder(images)
        return [narrow(x) for narrow, x in zip(self.lateral, maps, strict=True)]

    def sharing_convolutions(self) -> Scale:
        """Another scale with these convolutions' weights, the same tensors, and normalisations of its own."""
        other = copy.deepcopy(self)
        for mine, theirs in zip(self.modules(), other.modules(), strict=True):
            if isinstance(mine, nn.Conv2d):
                theirs.weight = mine.weight  # not one module used twice: its outputs fold into two normalisations
        return other


class SwiftNetPyramid(nn.Module):
    stride = 4

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        planes = scaled(128, width)
        self.whole_scale = Scale(width, planes)
        self.half_scale = self.whole_scale.sharing_convolutions()
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.ladder = Ladder(planes, 4)
        self.classify = nn.Conv2d(planes, num_classes, 1)
        self.relu = nn.ReLU()
        self.auxiliary = nn.Conv2d(planes, num_classes, 1) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/4; features: the ladder's steps (N, 128, H/32 .. H/4)."""
        whole = self.whole_scale(images)  # (N, 128, H/4 .. H/32)
        half = self.half_scale(self.halve(images))  # (N, 128, H/8 .. H/64)
        lateral = [[whole[3], half[2]], [whole[2], half[1]], [whole[1], half[0]], [whole[0]]]
        steps = self.ladder(half[3], lateral)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = (self.auxiliary(self.relu(steps[0])),)
        return Outputs(self.classify(steps[-1]), tuple(steps), extra)
