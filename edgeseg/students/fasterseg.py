"""FasterSeg: a network that was found by search, two branches that part late, of plain and zoomed convolutions.

Chen et al. 2020, "FasterSeg: Searching for Faster Real-time Semantic Segmentation", https://arxiv.org/abs/1912.10917.
This is its student, as derived from the search that the authors published (architecture 1 of two, branches ending at
H/32 and H/16), fixed here as tables: convolutions, whether they are zoomed, stride, channels. With 19 classes it has
3,421,875 parameters and takes 27.77 G multiply-adds at 1024 x 2048, as the authors' network; theirs counts 4,385,689
with its auxiliary heads, which are the same 931,046, and a gate of 32,768 that it has and never uses.

A zoomed convolution halves its input, convolves, and enlarges what comes out: a quarter of the work, twice the reach.

It differs from the authors' network so that all engines compute the same numbers:

* where theirs resizes with corners aligned, this halves by averaging four pixels, which is bilinear with half-pixel
  centres, and enlarges by 2 with half-pixel centres, cropping where sizes are odd;
* a zoomed convolution rectifies before it enlarges, where theirs does after it: conv-BN-ReLU, one operation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, head, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["FasterSeg", "fasterseg"]


class Cell(NamedTuple):
    """One searched layer."""

    convolutions: int
    zoomed: bool
    stride: int
    channels: int


SHARED = (Cell(2, False, 1, 32), Cell(2, False, 1, 32), Cell(2, True, 1, 32))  # at H/8
TO_32 = (  # at H/8, from the second at H/16, from the sixth at H/32
    Cell(1, True, 2, 128),
    Cell(2, True, 1, 64),
    Cell(2, True, 1, 64),
    Cell(2, True, 1, 64),
    Cell(2, True, 2, 128),
    Cell(2, True, 1, 128),
    Cell(2, True, 1, 256),
)
TO_16 = (  # at H/8, from the fourth at H/16
    Cell(2, True, 1, 32),
    Cell(2, False, 1, 32),
    Cell(2, False, 2, 64),
    Cell(2, True, 1, 64),
    Cell(2, True, 1, 192),
    Cell(2, True, 1, 128),
)


def fasterseg(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> FasterSeg:
    """FasterSeg, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training two more heads read the maps at H/16, of both
    branches, and at H/32, unless ``auxiliary=False``.
    """
    return FasterSeg(num_classes, width, auxiliary=auxiliary)


class Zoomed(nn.Module):
    """Convolutions at half the size; enlarged again unless the stride is 2."""

    def __init__(self, inputs: int, cell: Cell) -> None:
        super().__init__()
        self.shrink = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.body = _convolutions(inputs, cell._replace(stride=1))
        self.enlarges = cell.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.shrink(x))
        return resize_as(y, x, 2) if self.enlarges else y


def _convolutions(inputs: int, cell: Cell) -> nn.Sequential:
    rest = (conv_bn(cell.channels, cell.channels) for _ in range(cell.convolutions - 1))
    return nn.Sequential(conv_bn(inputs, cell.channels, 3, cell.stride), *rest)


def _layers(inputs: int, cells: tuple[Cell, ...], width: float) -> nn.Sequential:
    layers = []
    for cell in cells:
        cell = cell._replace(channels=scaled(cell.channels, width))
        layers.append(Zoomed(inputs, cell) if cell.zoomed else _convolutions(inputs, cell))
        inputs = cell.channels
    return nn.Sequential(*layers)


class Refine(nn.Module):
    """A coarse map, narrowed and enlarged by 2, beside the finer one of its branch, through a 3x3 convolution."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.narrow = conv_bn(coarse, outputs, 1)
        self.refine = conv_bn(outputs + fine, outputs)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.refine(torch.cat([resize_as(self.narrow(coarse), fine, 2), fine], 1))


class FasterSeg(nn.Module):
    stride = 8

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c32, c64, c128, c256 = (scaled(c, width) for c in (32, 64, 128, 256))
        two = Cell(2, False, 2, c64)
        self.stem = nn.Sequential(conv_bn(3, c32, 3, 2), _convolutions(c32, two), _convolutions(c64, two))
        self.shared = _layers(c64, SHARED, width)
        self.to32_8 = _layers(c32, TO_32[:1], width)
        self.to32_16 = _layers(c128, TO_32[1:4], width)
        self.to32_32 = _layers(c64, TO_32[4:], width)
        self.to16_8 = _layers(c32, TO_16[:2], width)
        self.to16_16 = _layers(c32, TO_16[2:], width)
        self.refine32 = Refine(c256, c64, c128)
        self.refine32_16 = Refine(c128, c32, c64)
        self.refine16 = Refine(c128, c32, c64)
        self.fuse = conv_bn(2 * c64, c128, 1)
        self.head = head(c128, c128, num_classes)
        self.auxiliary = nn.ModuleList(head(c, c, num_classes) for c in (c64 + c128, c256)) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: H/16 and H/32 of the one branch, H/16 of the other, and the fusion at H/8."""
        shared = self.shared(self.stem(images))  # (N, 32, H/8, W/8)
        at16 = self.to32_16(self.to32_8(shared))  # (N, 64, H/16, W/16)
        at32 = self.to32_32(at16)  # (N, 256, H/32, W/32)
        fine = self.to16_8(shared)  # (N, 32, H/8, W/8)
        other16 = self.to16_16(fine)  # (N, 128, H/16, W/16)
        deep = self.refine32_16(self.refine32(at32, at16), shared)  # (N, 64, H/8, W/8)
        fused = self.fuse(torch.cat([deep, self.refine16(other16, fine)], 1))  # (N, 128, H/8, W/8)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            maps = (torch.cat([at16, other16], 1), at32)
            extra = tuple(h(x) for h, x in zip(self.auxiliary, maps, strict=True))
        return Outputs(self.head(fused), (at16, at32, other16, fused), extra)
