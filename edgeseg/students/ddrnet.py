"""DDRNet-23-slim, -23 and -39: two branches, one that keeps H/8 for detail and one that shrinks to H/64 for context.

Hong et al. 2021, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
https://arxiv.org/abs/2101.06085. Parameters and multiply-adds at 1024 x 2048 with 19 classes, without the auxiliary
head, which is there in training only:

    network         paper            authors' network, counted   this one                with its auxiliary head
    DDRNet-23-slim   5.7 M,  36.3 G   5,695,987,  36.28 G         5,690,035,  36.28 G    38,227 parameters more
    DDRNet-23       20.1 M, 143.1 G  20,148,947, 143.06 G        20,137,043, 143.06 G   150,163
    DDRNet-39       32.3 M, 281.2 G  32,360,275, 281.12 G        32,348,371, 281.11 G   300,307

It differs from the authors' network so that integer engines can run each convolution, normalisation and ReLU as one:

* conv-BN-ReLU everywhere, where theirs has BN-ReLU-conv in the pyramid pooling and the heads; this normalises fewer
  channels: in the slim one 5,632 parameters less in the pooling, 256 in the head (and 64 less for two biases in front
  of a BN), in the others 11,264, 512 and 128;
* every residual block ends in a ReLU, where theirs leaves it out at the end of a stage and applies it at each use;
* average pools do not count padding, which some integer kernels get wrong when they should;
* where sizes are odd, maps are enlarged by 2, 4 or 8 and cropped, where theirs are stretched (see ``resize_as``).
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import DAPPM, Bottleneck, Residual, conv_bn, head, initialise, resize_as, scaled
from edgeseg.outputs import Outputs

Blocks = tuple[int, int, tuple[int, ...], int]  # residual blocks of conv2, of conv3, of each part of conv4, of conv5

__all__ = ["DDRNet", "ddrnet_23", "ddrnet_23_slim", "ddrnet_39"]

PUBLISHED = {
    "ddrnet-23-slim": (5.7, 36.3, (1024, 2048)),
    "ddrnet-23": (20.1, 143.1, (1024, 2048)),
    "ddrnet-39": (32.3, 281.2, (1024, 2048)),
}


def ddrnet_23_slim(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> DDRNet:
    """DDRNet-23-slim, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training a second head reads the detail branch after
    its first fusion, as in the authors' network, unless ``auxiliary=False``. Training needs two images or more in a
    batch: the pyramid's global average, one value per image and channel, is normalised over them.
    """
    return _ddrnet(num_classes, (32, 128, 64), width, (2, 2, (2,), 2), auxiliary=auxiliary)


def ddrnet_23(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> DDRNet:
    """DDRNet-23, of twice the channels of DDRNet-23-slim, logits (N, num_classes, H/8, W/8); options as there."""
    return _ddrnet(num_classes, (64, 128, 128), width, (2, 2, (2,), 2), auxiliary=auxiliary)


def ddrnet_39(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> DDRNet:
    """DDRNet-39, deeper, and with a third exchange between its branches; logits and options as DDRNet-23-slim.

    The auxiliary head reads the detail branch after its second fusion.
    """
    return _ddrnet(num_classes, (64, 128, 256), width, (3, 4, (3, 3), 3), auxiliary=auxiliary)


def _ddrnet(
    num_classes: int, channels: tuple[int, int, int], width: float, blocks: Blocks, *, auxiliary: bool
) -> DDRNet:
    planes, pooled, hidden = (scaled(c, width) for c in channels)
    return DDRNet(num_classes, planes, pooled, hidden, blocks, auxiliary=auxiliary)


class DDRNet(nn.Module):
    """The dual-resolution network of P = ``planes`` channels; convN of the context branch works at H / 2^N.

    The branches exchange their maps after each part of conv4 and after conv5.
    """

    stride = 8

    def __init__(
        self, num_classes: int, planes: int, pooled: int, hidden: int, blocks: Blocks, *, auxiliary: bool
    ) -> None:
        super().__init__()
        p = planes
        of_conv2, of_conv3, of_conv4, of_conv5 = blocks
        self.stem = nn.Sequential(conv_bn(3, p, 3, 2), conv_bn(p, p, 3, 2))
        self.conv2 = _stage(p, p, of_conv2)
        self.conv3 = _stage(p, 2 * p, of_conv3, 2)

        self.conv4 = nn.ModuleList(
            _stage(4 * p if i else 2 * p, 4 * p, n, 1 if i else 2) for i, n in enumerate(of_conv4)
        )
        self.conv4_detail = nn.ModuleList(_stage(2 * p, 2 * p, n) for n in of_conv4)
        self.down4 = nn.ModuleList(conv_bn(2 * p, 4 * p, 3, 2, relu=False) for _ in of_conv4)
        self.up4 = nn.ModuleList(conv_bn(4 * p, 2 * p, 1, relu=False) for _ in of_conv4)

        self.conv5 = _stage(4 * p, 8 * p, of_conv5, 2)
        self.conv5_detail = _stage(2 * p, 2 * p, of_conv5)
        self.down5 = nn.Sequential(conv_bn(2 * p, 4 * p, 3, 2), conv_bn(4 * p, 8 * p, 3, 2, relu=False))
        self.up5 = conv_bn(8 * p, 2 * p, 1, relu=False)

        self.conv6 = Bottleneck(8 * p, 8 * p, 2)
        self.conv6_detail = Bottleneck(2 * p, 2 * p)
        self.pyramid = DAPPM(16 * p, pooled, 4 * p)
        self.relu = nn.ReLU()
        self.head = head(4 * p, hidden, num_classes)
        self.auxiliary = head(2 * p, hidden, num_classes) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: detail (N, 4P, H/8), context (N, 4P, H/64), and their sum (N, 4P, H/8)."""
        context = detail = self.conv3(self.conv2(self.stem(images)))  # (N, 2P, H/8, W/8)

        for conv, conv_detail, down, up in zip(self.conv4, self.conv4_detail, self.down4, self.up4, strict=True):
            context, detail = conv(context), conv_detail(detail)  # (N, 4P, H/16, W/16), (N, 2P, H/8, W/8)
            context, detail = self._exchange(context, detail, down, up, 2)
        early = detail

        context, detail = self.conv5(context), self.conv5_detail(detail)  # (N, 8P, H/32, W/32), (N, 2P, H/8, W/8)
        context, detail = self._exchange(context, detail, self.down5, self.up5, 4)

        detail = self.conv6_detail(detail)  # (N, 4P, H/8, W/8)
        context = self.pyramid(self.conv6(context))  # (N, 4P, H/64, W/64)
        fused = self.relu(detail + resize_as(context, detail, 8))
        extra = (self.auxiliary(early),) if self.training and self.auxiliary is not None else ()
        return Outputs(self.head(fused), (detail, context, fused), extra)

    def _exchange(
        self, context: Tensor, detail: Tensor, down: nn.Module, up: nn.Module, factor: int
    ) -> tuple[Tensor, Tensor]:
        """Bilateral fusion: each branch receives the other's map at its own resolution and channels."""
        return self.relu(context + down(detail)), self.relu(detail + resize_as(up(context), detail, factor))


def _stage(inputs: int, outputs: int, blocks: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs, stride), *(Residual(outputs, outputs) for _ in range(blocks - 1)))
