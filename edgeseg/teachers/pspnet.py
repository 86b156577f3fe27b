"""PSPNet: averages over a pyramid of regions tell each pixel what kind of scene it is in.

Zhao et al. 2017, "Pyramid Scene Parsing Network", https://arxiv.org/abs/1612.01105: a ResNet dilated to stride 8, pools
into 1, 2, 3 and 6 bins, and in training a second head behind the third stage. The average of the whole image goes
through a convolution with a bias instead of a normalisation, so that one image is a batch. With 19 classes and
ResNet-50 it has 46.6 M parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, head, initialise, resize_as
from edgeseg.outputs import Outputs
from edgeseg.resnet import ResNet

__all__ = ["PSPNet", "pspnet"]

BINS = (1, 2, 3, 6)


DILATED = {"pspnet": 8}  # where a trunk's maps should end


def pspnet(
    num_classes: int, *, depth: int = 50, width: float = 1.0, auxiliary: bool = True, trunk: nn.Module | None = None
) -> PSPNet:
    """PSPNet, logits (N, num_classes, H/8, W/8). ``depth`` of its ResNet, 50 or 101; ``width`` scales all channels.

    ``trunk`` takes the place of the ResNet: four maps, their ``channels`` and ``strides``; logits are at its last one.
    """
    return PSPNet(num_classes, depth, width, auxiliary=auxiliary, trunk=trunk)


class Pyramid(nn.Module):
    """(N, C, h, w) to (N, 2C, h, w): the map itself, and a quarter of its channels, rounded down, for each number of
    bins."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // len(BINS)
        whole = nn.Sequential(nn.Conv2d(channels, quarter, 1), nn.ReLU())
        self.levels = nn.ModuleList([whole, *(conv_bn(channels, quarter, 1) for _ in BINS[1:])])

    def forward(self, x: Tensor) -> Tensor:
        pooled = [level(F.adaptive_avg_pool2d(x, n)) for n, level in zip(BINS, self.levels, strict=True)]
        return torch.cat((x, *(resize_as(p, x) for p in pooled)), 1)


class PSPNet(nn.Module):
    def __init__(
        self, num_classes: int, depth: int, width: float, *, auxiliary: bool, trunk: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk or ResNet(depth, width, DILATED["pspnet"])
        self.stride = self.trunk.strides[-1]
        *_, middle, last = self.trunk.channels
        self.pyramid = Pyramid(last)
        self.head = head(last + last // len(BINS) * len(BINS), last // 4, num_classes)
        self.auxiliary = head(middle, middle // 4, num_classes) if auxiliary else None
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Features: the four maps of the trunk, (N, C_i, H/4) and three times (N, C_i, H/8)."""
        maps = self.trunk(images)
        extra = (self.auxiliary(maps[2]),) if self.auxiliary is not None and self.training else ()
        return Outputs(self.head(self.pyramid(maps[-1])), tuple(maps), extra)
