"""FANet: a ResNet that strides once more, and on each of its maps an attention whose cost grows with the pixels only.

Hu et al. 2020, "Real-time Semantic Segmentation with Fast Attention", https://arxiv.org/abs/2007.03815; the authors'
code is https://github.com/feinanshan/FANet. Queries and keys are compared by the cosine between them and not by a
softmax of products, so that the three matrices may be multiplied in either order, and n pixels cost n and not n^2.

With 19 classes FANet-18 has 13,080,147 parameters and takes 47.07 G multiply-adds at 1024 x 2048, FANet-34 23,188,307
and 66.40 G; the products of the attention are 0.25 G of either. What differs:

* ReLU where the authors' code has leaky ReLU, for integer engines run it with its convolution;
* the 1x1 convolutions that lead to the finer level do not pad, where the authors' do, which makes maps two pixels wider
  before they are stretched to the finer one's size; maps are enlarged by 2 or 4 and cropped;
* what is attended to is averaged over the pixels, which the authors' code leaves to the normalisation behind it:
  a whole frame then attends as loudly as the crops of training;
* the classifier has a bias: 19 parameters.

The attention stays in float: FLOAT names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.blocks import ResNet, conv_bn, head, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["FANet", "fanet_18", "fanet_34"]

FLOAT = ("attend",)  # its sums are over all pixels of a frame, its factors not of one scale
EPS = 2.0**-10  # of lengths that are divided by: one that fp16 holds, for rounded queries may be all zeros


def fanet_18(num_classes: int, *, width: float = 1.0, auxiliary: bool = True, trunk: nn.Module | None = None) -> FANet:
    """FANet on ResNet-18, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training two more heads read the fused maps of H/64 and
    H/32, unless ``auxiliary=False``. ``trunk`` takes the place of ResNet-18: maps at H/4 to H/32, their ``channels``
    and ``strides``. It does not stride once more, so that logits are at H/4; ``width`` then scales what reads the maps.
    """
    return FANet(num_classes, (2, 2, 2, 2), width, auxiliary=auxiliary, trunk=trunk)


def fanet_34(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> FANet:
    """FANet on ResNet-34, logits (N, num_classes, H/8, W/8); options as above."""
    return FANet(num_classes, (3, 4, 6, 3), width, auxiliary=auxiliary)


@fx.wrap  # one node for torch.fx, whatever the sizes
def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """For each pixel the mean of all values (N, C, h, w), weighted by the cosine of its query with their keys.

    Queries and keys: (N, c, h, w). The products are taken in the order that costs less.
    """
    q, k = (F.normalize(x.flatten(2), dim=1, eps=EPS) for x in (query, key))  # (N, c, n)
    v = value.flatten(2)  # (N, C, n)
    c, (wide, n) = q.shape[1], v.shape[1:]
    k = k.transpose(1, 2) / n**0.5  # (N, n, c); half of the mean before the sums, which fp16 could not hold
    y = (v @ k) @ q if 2 * c * wide < n * (c + wide) else v @ (k @ q)  # by way of (N, C, c), or of (N, n, n)
    return (y / n**0.5).view_as(value)


class FastAttention(nn.Module):
    """A map plus what it attends to in itself, plus a coarser level's map where there is one."""

    def __init__(self, planes: int, compared: int) -> None:
        super().__init__()
        self.query, self.key = (conv_bn(planes, compared, 1, relu=False) for _ in range(2))
        self.value = conv_bn(planes, planes, 1)
        self.out = conv_bn(planes, planes, 1)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        x = self.out(attend(self.query(x), self.key(x), self.value(x))) + x
        return x if coarser is None else resize_as(coarser, x, 2) + x


class FANet(nn.Module):
    def __init__(
        self,
        num_classes: int,
        blocks: Sequence[int],
        width: float,
        *,
        auxiliary: bool,
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__()
        c32, c64, c128, c256 = (scaled(c, width) for c in (32, 64, 128, 256))
        self.encoder = trunk or ResNet(blocks, width, first_stride=2)
        self.stride = self.encoder.strides[-4]
        planes = self.encoder.channels[:-5:-1]  # coarse to fine
        self.attention = nn.ModuleList(FastAttention(p, c32) for p in planes)
        self.to_finer = nn.ModuleList(conv_bn(p, finer, 1) for p, finer in pairwise(planes))
        self.smooth_deep = conv_bn(planes[1], c128)
        self.smooth_fine = conv_bn(planes[3], c128)
        self.classify = head(2 * c128, c256, num_classes)
        self.auxiliary = (
            nn.ModuleList(
                [nn.Sequential(conv_bn(planes[0], c128), head(c128, c64, num_classes)), head(c128, c64, num_classes)]
            )
            if auxiliary
            else None
        )
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: what the attention of each level says, (N, 512, H/64) to (N, 64, H/8)."""
        maps = self.encoder(images)[:-5:-1]
        fused = [self.attention[0](maps[0])]
        for attention, to_finer, x in zip(self.attention[1:], self.to_finer, maps[1:], strict=True):
            fused.append(attention(x, to_finer(fused[-1])))
        deep, fine = self.smooth_deep(fused[1]), self.smooth_fine(fused[3])  # (N, 128, H/32), (N, 128, H/8)
        logits = self.classify(torch.cat([resize_as(deep, fine, 4), fine], 1))
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(h(x) for h, x in zip(self.auxiliary, (fused[0], deep), strict=True))
        return Outputs(logits, tuple(fused), extra)
