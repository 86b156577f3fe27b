"""DeepLabV3 and V3+: convolutions of several dilations side by side see several scales at once.

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", https://arxiv.org/abs/1706.05587, on
a ResNet dilated to stride 8. Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", https://arxiv.org/abs/1802.02611, keeps stride 16 and refines with a map at stride 4; here with the plain
convolutions that its tables compare with the separable ones. The average of the whole image goes through a convolution
with a bias instead of a normalisation, so that one image is a batch. With 19 classes and ResNet-50 V3 has 39,638,099
parameters, for that reason 256 less than torchvision's without its auxiliary head, and V3+ 40,351,411.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, initialise, resize_as, scaled
from edgeseg.outputs import Outputs
from edgeseg.resnet import ResNet

__all__ = ["DeepLab", "deeplabv3", "deeplabv3_plus"]


DILATED = {"deeplabv3": 8, "deeplabv3_plus": 16}  # where a trunk's maps should end


def deeplabv3(num_classes: int, *, depth: int = 50, width: float = 1.0, trunk: nn.Module | None = None) -> DeepLab:
    """DeepLabV3, logits (N, num_classes, H/8, W/8). ``depth`` of its ResNet, 50 or 101; ``width`` scales channels.

    ``trunk`` takes the place of the ResNet: four maps, their ``channels`` and ``strides``; logits are at its last one.
    """
    return DeepLab(num_classes, depth, width, decoder=False, trunk=trunk)


def deeplabv3_plus(num_classes: int, *, depth: int = 50, width: float = 1.0, trunk: nn.Module | None = None) -> DeepLab:
    """DeepLabV3+, https://arxiv.org/abs/1802.02611, logits (N, num_classes, H/4, W/4); options as of V3."""
    return DeepLab(num_classes, depth, width, decoder=True, trunk=trunk)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling, (N, inputs, h, w) to (N, planes, h, w)."""

    def __init__(self, inputs: int, planes: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.near = conv_bn(inputs, planes, 1)
        self.around = nn.ModuleList(conv_bn(inputs, planes, 3, dilation=d) for d in dilations)
        self.everywhere = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, planes, 1), nn.ReLU())
        self.fuse = conv_bn((2 + len(dilations)) * planes, planes, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.near(x), *(branch(x) for branch in self.around), resize_as(self.everywhere(x), x))
        return self.fuse(torch.cat(parts, 1))


class DeepLab(nn.Module):
    def __init__(
        self, num_classes: int, depth: int, width: float, *, decoder: bool, trunk: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk or ResNet(depth, width, DILATED["deeplabv3_plus" if decoder else "deeplabv3"])
        self.stride = self.trunk.strides[0 if decoder else -1]
        first, last = self.trunk.channels[0], self.trunk.channels[-1]
        planes, kept = scaled(256, width), scaled(48, width)
        self.pyramid = ASPP(last, planes, (6, 12, 18) if decoder else (12, 24, 36))
        self.detail = conv_bn(first, kept, 1) if decoder else None
        refine = [conv_bn(planes + kept, planes), conv_bn(planes, planes)] if decoder else [conv_bn(planes, planes)]
        self.head = nn.Sequential(*refine, nn.Conv2d(planes, num_classes, 1))
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Features: the four maps of the trunk, then the pyramid's at the trunk's last stride."""
        maps = self.trunk(images)
        x = pooled = self.pyramid(maps[-1])
        if self.detail is not None:
            fine = self.detail(maps[0])  # (N, 48, H/4, W/4)
            x = torch.cat((resize_as(x, fine), fine), 1)
        return Outputs(self.head(x), (*maps, pooled))
