"""ContextNet: a shallow branch that reads the whole image for detail, and a deep one that reads a quarter of its size.

Poudel et al. 2018, "ContextNet: Exploring Context and Detail for Semantic Segmentation in Real-time",
https://arxiv.org/abs/1805.04554; this is its cn14, whose deep branch sees the image at a quarter of its height and
width. The paper gives 0.85 M parameters with 19 classes and no count of operations. The convolutions of this one have
854,195 parameters, its batch normalisations, which fold away, 22,112, and the auxiliary head of training 37,555; it
takes 6.75 G multiply-adds at 1024 x 2048.

The image is made smaller by averaging 5x5 pixels around every fourth one, not counting padding: any size has a quarter,
and the maps of both branches have the same pixel centres.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import FeatureFusion, InvertedResidual, conv_bn, head, initialise, scaled, separable
from edgeseg.outputs import Outputs

__all__ = ["ContextNet", "contextnet_cn14"]

PUBLISHED = {"contextnet-cn14": (0.85, None, None)}

STAGES = ((32, 1, 1, 1), (32, 1, 1, 6), (48, 3, 2, 6), (64, 3, 2, 6), (96, 2, 1, 6), (128, 2, 1, 6))
"""Of the deep branch: channels, blocks, stride of the first block, by how much it widens."""


def contextnet_cn14(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> ContextNet:
    """ContextNet cn14, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training a second head reads the shallow branch, unless
    ``auxiliary=False``.
    """
    return ContextNet(num_classes, width, auxiliary=auxiliary)


def _deep(width: float) -> nn.Sequential:
    """(N, 3, h, w) to (N, 128, h/8, w/8)."""
    channels = scaled(32, width)
    layers: list[nn.Module] = [conv_bn(3, channels, 3, 2)]
    for outputs, count, stride, widen in STAGES:
        for i in range(count):
            layers.append(InvertedResidual(channels, scaled(outputs, width), 1 if i else stride, widen))
            channels = scaled(outputs, width)
    return nn.Sequential(*layers)


class ContextNet(nn.Module):
    stride = 8

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c32, c64, c128 = (scaled(c, width) for c in (32, 64, 128))
        self.shallow = nn.Sequential(
            conv_bn(3, c32, 3, 2),
            separable(c32, c64, 2, between=True),
            separable(c64, c128, 2, between=True),
            separable(c128, c128, between=True),
        )
        self.quarter = nn.AvgPool2d(5, 4, 2, count_include_pad=False)
        self.deep = _deep(width)
        self.fuse = FeatureFusion(c128, c128, c128)
        self.classify = nn.Sequential(
            separable(c128, c128, between=True), separable(c128, c128, between=True), nn.Conv2d(c128, num_classes, 1)
        )
        self.auxiliary = head(c128, c32, num_classes) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: shallow (N, 128, H/8), deep (N, 128, H/32), and their fusion (N, 128, H/8)."""
        detail = self.shallow(images)  # (N, 128, H/8, W/8)
        deep = self.deep(self.quarter(images))  # (N, 128, H/32, W/32)
        fused = self.fuse(detail, deep)  # (N, 128, H/8, W/8)
        extra = (self.auxiliary(detail),) if self.training and self.auxiliary is not None else ()
        return Outputs(self.classify(fused), (detail, deep, fused), extra)
