"""edgeseg-n, -s and -m: plain 3x3 convolutions from the frame to its labels, for integer engines on small machines.

What costs time there is not only multiply-adds. Depthwise convolutions leave most of a vector unit idle, residual sums
are read and written once more, attention and channel splits are computed in float. So there is none of it: an encoder
of 3x3 convolutions whose channels are multiples of 32, down to H/64, where a map is small enough to be seen whole, and
a decoder that adds each finer map once. In training each of the convolutions has a 1x1 convolution and the input itself
beside it, and their sum is normalised: the block of Chu et al. 2022, "Make RepVGG Greater Again: A Quantization-aware
Approach", https://arxiv.org/abs/2212.01593. Quantization and export replace it by the one convolution that equals it.
Logits at 1/8 leave the enlargement to the kernel that labels the frame.

With 19 classes, as engines run them:

    network     parameters  G multiply-adds at 512 x 1024  more parameters in training: branches, heads
    edgeseg-n    1,050,419   1.85                             115,008  58,022
    edgeseg-s    4,020,435   6.12                             439,104  142,310
    edgeseg-m    7,248,947  11.46                             788,224  263,462
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from edgeseg.blocks import RepConv, conv_bn, head, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

__all__ = ["EdgeSeg", "edgeseg_m", "edgeseg_n", "edgeseg_s"]

BARE = True  # branches are normalised as a sum


def edgeseg_n(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> EdgeSeg:
    """The nano one, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training two more heads read the encoder's H/8 and the
    decoder's H/16, unless ``auxiliary=False``.
    """
    return EdgeSeg(num_classes, (32, 32, 64, 96, 128, 128), (1, 2, 3, 3, 2), 32, 64, width, auxiliary=auxiliary)


def edgeseg_s(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> EdgeSeg:
    """The small one; logits and options as the nano one."""
    return EdgeSeg(num_classes, (32, 64, 96, 160, 256, 256), (1, 3, 4, 3, 2), 64, 96, width, auxiliary=auxiliary)


def edgeseg_m(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> EdgeSeg:
    """The middle one; logits and options as the nano one."""
    return EdgeSeg(num_classes, (32, 64, 128, 224, 320, 320), (1, 3, 5, 3, 2), 96, 128, width, auxiliary=auxiliary)


class EdgeSeg(nn.Module):
    stride = 8

    def __init__(
        self,
        num_classes: int,
        channels: tuple[int, ...],  # at H/2, H/4, H/8, H/16, H/32 and H/64
        depths: tuple[int, ...],  # convolutions at each of them but the first, where there is one
        decoder: int,  # channels
        hidden: int,  # of the head
        width: float,
        *,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        stem, *wide = (scaled(c, width) for c in channels)
        d, hidden = scaled(decoder, width), scaled(hidden, width)
        self.stem = conv_bn(3, stem, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(RepConv(inputs, outputs, 2), *(RepConv(outputs, outputs) for _ in range(depth - 1)))
            for (inputs, outputs), depth in zip(pairwise((stem, *wide)), depths, strict=True)
        )
        self.narrow = nn.ModuleList(conv_bn(c, d, 1) for c in wide[1:])  # H/8 to H/64
        self.mix = nn.ModuleList(RepConv(d, d) for _ in wide[2:])  # H/8 to H/32
        self.head = head(d, hidden, num_classes)
        self.auxiliary = (
            nn.ModuleList([head(wide[1], hidden, num_classes), head(d, hidden, num_classes)]) if auxiliary else None
        )
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: the encoder's maps at H/8, H/16, H/32 and H/64, and the decoder's at H/8."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        finer = [narrow(x) for narrow, x in zip(self.narrow, maps[1:], strict=True)]
        decoded = [finer[-1]]
        for mix, x in zip(list(self.mix)[::-1], finer[-2::-1], strict=True):
            decoded.append(mix(x + resize_as(decoded[-1], x, 2)))
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(h(x) for h, x in zip(self.auxiliary, (maps[1], decoded[-2]), strict=True))
        return Outputs(self.head(decoded[-1]), (*maps[1:], decoded[-1]), extra)
