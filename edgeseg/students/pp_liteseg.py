"""PP-LiteSeg-T and -B: an STDC encoder, a light pyramid, and a decoder that weighs two maps against each other.

Peng et al. 2022, "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model", https://arxiv.org/abs/2204.02681, with
the channels of the authors' configurations in PaddleSeg. With 19 classes, G multiply-adds at the paper's two sizes:

    network        authors' layers, added up   this one     512 x 1024  768 x 1536  with its auxiliary heads
    PP-LiteSeg-T    8,028,320                   8,028,670   11.42 G     25.70 G     113,318 parameters more
    PP-LiteSeg-B   12,234,752                  12,235,102   19.23 G     43.27 G     131,750

It differs from the authors' network in what integer engines want otherwise:

* the pyramid's pools of 2 and 4 bins a side, of unequal size where the map does not divide, are windows of 2s + 1
  pixels every s, s = 16 and 8, not counting padding: 2 x 4 and 4 x 8 bins at 1024 x 2048; a window covers the same
  extent in a training crop and in a whole frame, and parameters are the same;
* each weight of the decoder comes from 8 hidden channels, where theirs has 2 (integer kernels work on blocks of 8), and
  its last convolution has a bias instead of a normalisation: 281 parameters more for each of the three;
* classifiers have a bias: 19 more for the one that inference uses; and in front of a normalisation there is none, where
  the pyramid of theirs has 512;
* average pools of the encoder do not count padding, and its module is as in ``blocks.ShortTermDense``.

The mean and the largest of all channels, from which the decoder finds its weights, are computed in float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import conv_bn, head, initialise, resize_as, scaled, stdc_stages, windows
from edgeseg.outputs import Outputs

__all__ = ["PPLiteSeg", "pp_liteseg_b", "pp_liteseg_t"]

FLOAT = ("mean", "amax")  # over channels: no engine here reduces those in integers


def pp_liteseg_t(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> PPLiteSeg:
    """PP-LiteSeg-T, on STDC1, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8 (of an STDC module: 64). In training two more heads read
    the decoder (H/16, H/32), unless ``auxiliary=False``. Training needs two images or more in a batch: the pyramid's
    global average, one value per image and channel, is normalised over them.
    """
    return PPLiteSeg(num_classes, (2, 2, 2), (32, 64, 128), (32, 64, 64), width, auxiliary=auxiliary)


def pp_liteseg_b(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> PPLiteSeg:
    """PP-LiteSeg-B, on STDC2 and with a wider decoder; logits and options as PP-LiteSeg-T."""
    return PPLiteSeg(num_classes, (4, 5, 3), (64, 96, 128), (64, 64, 64), width, auxiliary=auxiliary)


class SimplePyramid(nn.Module):
    """Averages over windows of two sizes and over all, summed (SPPM): (N, inputs, h, w) to (N, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.strides = (16, 8)
        self.pools = nn.ModuleList(
            nn.Sequential(pool, conv_bn(inputs, outputs, 1))
            for pool in (nn.AdaptiveAvgPool2d(1), *windows(self.strides))
        )
        self.mix = conv_bn(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        total = resize_as(self.pools[0](x), x)
        for pool, stride in zip(self.pools[1:], self.strides, strict=True):
            total = total + resize_as(pool(x), x, stride)
        return self.mix(total)


class AttentionFusion(nn.Module):
    """A finer map and a coarser one, weighed against each other at each pixel (UAFM with spatial attention).

    ``fine`` (N, F, h, w) and ``coarse`` (N, C, h/2, w/2) to (N, outputs, h, w); or of the same size, ``factor`` 1.
    """

    def __init__(self, fine: int, coarse: int, outputs: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.of_fine = conv_bn(fine, coarse)
        self.weight = nn.Sequential(conv_bn(4, 8), nn.Conv2d(8, 1, 3, padding=1), nn.Sigmoid())
        self.mix = conv_bn(coarse, outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        fine = self.of_fine(fine)
        if self.factor > 1:
            coarse = resize_as(coarse, fine, self.factor)
        seen = [reduce(x, 1, keepdim=True) for x in (fine, coarse) for reduce in (torch.mean, torch.amax)]
        weight = self.weight(torch.cat(seen, 1))  # (N, 1, h, w)
        return self.mix(fine * weight + coarse * (weight * -1.0 + 1.0))  # 1 - weight, of operations that quantize


class PPLiteSeg(nn.Module):
    stride = 8

    def __init__(
        self,
        num_classes: int,
        blocks: tuple[int, int, int],
        decoder: tuple[int, int, int],
        hidden: tuple[int, int, int],
        width: float,
        *,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        self.stages, (*_, c8, c16, c32) = stdc_stages(blocks, width)
        d8, d16, d32 = (scaled(c, width) for c in decoder)
        h8, h16, h32 = (scaled(c, width) for c in hidden)
        pooled = scaled(128, width)
        self.pyramid = SimplePyramid(c32, pooled)
        self.fuse32 = AttentionFusion(c32, pooled, d32, 1)
        self.fuse16 = AttentionFusion(c16, d32, d16)
        self.fuse8 = AttentionFusion(c8, d16, d8)
        self.head = head(d8, h8, num_classes)
        heads = (head(d, h, num_classes) for d, h in ((d16, h16), (d32, h32)))
        self.auxiliary = nn.ModuleList(heads) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: the encoder's (N, 256, H/8), (N, 512, H/16), (N, 1024, H/32), and the decoder's last
        (N, 32 or 64, H/8)."""
        x, maps = images, []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x8, x16, x32 = maps[2:]
        up32 = self.fuse32(x32, self.pyramid(x32))  # (N, 128, H/32, W/32)
        up16 = self.fuse16(x16, up32)  # (N, 64 or 96, H/16, W/16)
        up8 = self.fuse8(x8, up16)  # (N, 32 or 64, H/8, W/8)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(h(x) for h, x in zip(self.auxiliary, (up16, up32), strict=True))
        return Outputs(self.head(up8), (x8, x16, x32, up8), extra)
