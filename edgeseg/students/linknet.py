"""LinkNet: ResNet-18 and a light decoder of transposed convolutions, each of whose steps an encoder map is added to.

Chaurasia and Culurciello 2017, "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
https://arxiv.org/abs/1707.03718; the authors' code is https://github.com/e-lab/pytorch-linknet. The paper gives 11.5 M
parameters and 21.2 GFLOPs, two for each multiply-add, for an image of 640 x 360; this one has 11,535,635 with 19
classes, 2,451 more in training, and 9.73 G multiply-adds at that size (87.0 G at 1024 x 2048). The one thing left out
is the bias of the transposed convolution at H/2, which its normalisation takes away again.

The transposed convolutions have int8 weights like all others, but not every engine has an integer kernel for them:
OpenVINO computes them in float, of the same numbers. Said with plain convolutions, each is one of 2x2 pixels to four
times the channels, whose outputs interleave; but 7 of its 16 weights are zero, and its normalisation must be one for
four maps, so that it would neither be as cheap nor fold. They are 6 % of the multiply-adds.

Where sizes are odd, what the decoder enlarges is cropped.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from edgeseg.blocks import ResNet, conv_bn, crop, initialise, scaled
from edgeseg.outputs import Outputs

__all__ = ["LinkNet", "linknet"]

PUBLISHED = {"linknet": (11.5, 10.6, (360, 640))}


def linknet(num_classes: int, *, width: float = 1.0, auxiliary: bool = True, trunk: nn.Module | None = None) -> LinkNet:
    """LinkNet, logits (N, num_classes, H, W).

    ``width`` scales all channels, rounded to multiples of 8. In training a second classifier reads the decoder at H/8,
    unless ``auxiliary=False``; the paper has none. ``trunk`` takes the place of ResNet-18: maps at H/4 to H/32, their
    ``channels`` and ``strides``; ``width`` then scales what is behind the last sum.
    """
    return LinkNet(num_classes, width, auxiliary=auxiliary, trunk=trunk)


def _enlarge(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    """3x3 transposed convolution, batch normalisation, ReLU: (N, inputs, h, w) to (N, outputs, stride h, stride w)."""
    conv = nn.ConvTranspose2d(inputs, outputs, 3, stride, 1, output_padding=stride - 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _decoder(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Narrow to a quarter, enlarge, widen."""
    quarter = scaled(inputs, 1 / 4)
    return nn.Sequential(conv_bn(inputs, quarter, 1), _enlarge(quarter, quarter, stride), conv_bn(quarter, outputs, 1))


class LinkNet(nn.Module):
    stride = 1

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool, trunk: nn.Module | None = None) -> None:
        super().__init__()
        c32 = scaled(32, width)
        self.encoder = trunk or ResNet(width=width)
        channels, strides = self.encoder.channels, self.encoder.strides
        # Each to the channels of the map it is added to, coarse to fine; in ResNet-18 the last one does not enlarge.
        steps = [coarse // fine for fine, coarse in pairwise(strides)]
        shapes = list(zip(channels[1:], channels, steps, strict=False))[::-1]
        self.decoders = nn.ModuleList(_decoder(*shape) for shape in shapes)
        self.enlarge = _enlarge(channels[0], c32)
        self.mix = conv_bn(c32, c32)
        self.classify = nn.ConvTranspose2d(c32, num_classes, 2, 2)
        self.auxiliary = nn.Conv2d(channels[-3], num_classes, 1) if auxiliary else None
        initialise(self, but=trunk)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/1; features: the encoder's coarsest map (N, 512, H/32), then the decoder's sums to H/4."""
        *links, x = self.encoder(images)
        maps = [x]
        for decoder, link in zip(self.decoders, links[::-1], strict=True):
            maps.append(link + crop(decoder(maps[-1]), link.shape[-2:]))  # at H/16, H/8, H/4 and H/4
        logits = self.classify(self.mix(self.enlarge(maps[-1])))
        extra = (self.auxiliary(maps[2]),) if self.training and self.auxiliary is not None else ()
        return Outputs(crop(logits, images.shape[-2:]), tuple(maps), extra)
