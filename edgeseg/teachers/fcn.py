"""FCN: a classifier's trunk, kept fully convolutional, and a small head.

Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", https://arxiv.org/abs/1411.4038, in the form
that later papers compare themselves with: instead of the skips of its VGG, a ResNet dilated to stride 8. With 19
classes and ResNet-50 it has 32,955,987 parameters, as many as torchvision's without its auxiliary head.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import head, initialise
from edgeseg.outputs import Outputs
from edgeseg.resnet import ResNet

__all__ = ["FCN", "fcn"]


DILATED = {"fcn": 8}  # where a trunk's maps should end


def fcn(num_classes: int, *, depth: int = 50, width: float = 1.0, trunk: nn.Module | None = None) -> FCN:
    """FCN, logits (N, num_classes, H/8, W/8). ``depth`` of its ResNet, 50 or 101; ``width`` scales all channels.

    ``trunk`` takes the place of the ResNet: four maps, their ``channels`` and ``strides``; logits are at its last one.
    """
    return FCN(num_classes, depth, width, trunk)


class FCN(nn.Module):
    def __init__(self, num_classes: int, depth: int, width: float, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk or ResNet(depth, width, DILATED["fcn"])
        self.stride = self.trunk.strides[-1]
        inputs = self.trunk.channels[-1]
        self.head = head(inputs, inputs // 4, num_classes)
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Features: the four maps of the trunk, (N, C_i, H/4) and three times (N, C_i, H/8)."""
        maps = self.trunk(images)
        return Outputs(self.head(maps[-1]), tuple(maps))
