"""STDC1-Seg and STDC2-Seg: one deep branch whose maps at H/8, H/16 and H/32 are fused by attention.

Fan et al. 2021, "Rethinking BiSeNet For Real-time Semantic Segmentation", https://arxiv.org/abs/2104.13188. The 50 and
75 behind these names in the paper are input sizes, 512 x 1024 and 768 x 1536, not networks. The paper counts only the
classifiers that the encoders come from, at 224 x 224: STDC1 8.44 M parameters and 813 M multiply-adds, STDC2 12.47 M
and 1,446 M. The stages here, with the layers that classify, have just these parameters; their convolutions and matrices
take 806 M and 1,437 M, and normalisations and ReLUs, which many tools count, make up the rest. With 19 classes:

    network     authors' network, counted   this one                                    with its auxiliary heads
    STDC1-Seg    8,275,104                   8,275,763, 16.86 G at 512, 37.94 G at 768   150,182 parameters more
    STDC2-Seg   12,305,568                  12,306,227, 23.46 G at 512, 52.78 G at 768   150,182

It differs from the authors' network in what integer engines want otherwise:

* the 1x1 convolutions of the last attention are normalised, so that they fold: 640 parameters more; and the classifier
  has a bias, 19 more;
* maps are enlarged bilinearly, by 2, where theirs repeat pixels;
* average pools do not count padding.

In training the authors have one more head, which finds the edges between classes in the H/8 map ("detail guidance").
Its output is no class, so the losses on labels here cannot read it, and it is left out; accuracy will miss it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, head, initialise, resize_as, scaled, stdc_stages
from edgeseg.outputs import Outputs

__all__ = ["STDCSeg", "stdc1_seg", "stdc2_seg"]


def stdc1_seg(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> STDCSeg:
    """STDC1-Seg, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8 (of an STDC module: 64). In training two more heads read
    the decoder (H/8, H/16), unless ``auxiliary=False``. Training needs two images or more in a batch: global averages,
    one value per image and channel, are normalised over them.
    """
    return STDCSeg(num_classes, (2, 2, 2), width, auxiliary=auxiliary)


def stdc2_seg(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> STDCSeg:
    """STDC2-Seg, of the same channels and twice as deep; logits and options as STDC1-Seg."""
    return STDCSeg(num_classes, (4, 5, 3), width, auxiliary=auxiliary)


class Refinement(nn.Module):
    """A 3x3 convolution whose channels are gated by their own global averages (attention refinement)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn(inputs, outputs)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(outputs, outputs, 1, relu=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.gate(x)


class Fusion(nn.Module):
    """Two maps beside each other, mixed, plus the mixture gated by its own global averages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = scaled(outputs, 1 / 4)
        self.mix = conv_bn(inputs, outputs, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv_bn(outputs, quarter, 1),
            conv_bn(quarter, outputs, 1, relu=False),
            nn.Sigmoid(),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        x = self.mix(torch.cat((fine, coarse), 1))
        return x * self.gate(x) + x


class STDCSeg(nn.Module):
    stride = 8

    def __init__(self, num_classes: int, blocks: tuple[int, int, int], width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c64, c128, c256 = (scaled(c, width) for c in (64, 128, 256))
        self.stages, (*_, c8, c16, c32) = stdc_stages(blocks, width)
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(c32, c128, 1))
        self.refine32 = Refinement(c32, c128)
        self.refine16 = Refinement(c16, c128)
        self.smooth32 = conv_bn(c128, c128)
        self.smooth16 = conv_bn(c128, c128)
        self.fuse = Fusion(c8 + c128, c256)
        self.head = head(c256, c256, num_classes)
        self.auxiliary = nn.ModuleList(head(c128, c64, num_classes) for _ in range(2)) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: the encoder's (N, 256, H/8), (N, 512, H/16), (N, 1024, H/32), and their fusion (N,
        256, H/8)."""
        x, maps = images, []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x8, x16, x32 = maps[2:]
        up16 = self.refine32(x32) + resize_as(self.average(x32), x32)  # (N, 128, H/32, W/32)
        up16 = self.smooth32(resize_as(up16, x16, 2))  # (N, 128, H/16, W/16)
        up8 = self.smooth16(resize_as(self.refine16(x16) + up16, x8, 2))  # (N, 128, H/8, W/8)
        fused = self.fuse(x8, up8)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(h(x) for h, x in zip(self.auxiliary, (up8, up16), strict=True))
        return Outputs(self.head(fused), (x8, x16, x32, fused), extra)
