"""SegNet: an encoder, its mirror image, and maxima that go back to where they came from.

Badrinarayanan et al. 2015, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
https://arxiv.org/abs/1511.00561. The encoder has the 13 convolutions of VGG-16 (Simonyan and Zisserman 2014,
arXiv 1409.1556), each with batch normalisation and ReLU behind it. Each of its five max-pools tells where in its 2x2
pixels the maximum stood; the decoder puts its values there, zeros everywhere else, and lets convolutions fill the gaps.
The paper gives 14.7 M parameters for the encoder and 29.45 M in all. This one has 14,718,912 and, with the 11 classes
of CamVid, 29,441,419: the authors' convolutions have biases in front of normalisations, 7,936 in all, which change
nothing. With 19 classes it has 29,446,035 and takes 1302.2 G multiply-adds at 1024 x 2048.

Pools round up, so that the last row and column of an odd size are not lost, and the decoder's maps have the sizes of
the encoder's.
"""

from __future__ import annotations

from torch import Tensor, fx, nn

from edgeseg.blocks import conv_bn, initialise, scaled
from edgeseg.outputs import Outputs

__all__ = ["SegNet", "segnet"]

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Of VGG-16: channels, and how many convolutions before the pool."""


def segnet(num_classes: int, *, width: float = 1.0) -> SegNet:
    """SegNet, logits (N, num_classes, H, W). ``width`` scales all channels, rounded to multiples of 8."""
    return SegNet(num_classes, width)


@fx.wrap  # one node for torch.fx, whatever the sizes
def unpool(x: Tensor, indices: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(N, C, h, w) to (N, C, H, W): each value where its index says, counted over H * W; zeros elsewhere."""
    h, w = size_hw
    blank = x.new_zeros(*x.shape[:2], h * w)
    # As max_unpool2d, which torch has no deterministic form of; windows do not overlap, so no two values share a place.
    return blank.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, (h, w))


class SegNet(nn.Module):
    stride = 1

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__()
        channels = [scaled(c, width) for c, _ in STAGES]
        counts = [count for _, count in STAGES]
        self.encoder = nn.ModuleList(
            nn.Sequential(conv_bn(i, c), *(conv_bn(c, c) for _ in range(count - 1)))
            for i, c, count in zip((3, *channels), channels, counts, strict=False)
        )
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        # From the coarsest on; each leaves the channels that the stage after it pools. The last one's last convolution
        # is the classifier.
        self.decoder = nn.ModuleList(
            nn.Sequential(*(conv_bn(c, c) for _ in range(count - 1)), conv_bn(c, o))
            for c, o, count in zip(channels[:0:-1], channels[-2::-1], counts[:0:-1], strict=True)
        )
        self.decoder.append(conv_bn(channels[0], channels[0]))
        self.classify = nn.Conv2d(channels[0], num_classes, 3, padding=1)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Features: the pooled maps of the encoder, (N, 64, H/2) to (N, 512, H/32), and the decoder's last, at H."""
        maps, places = [], []
        x = images
        for stage in self.encoder:
            before = stage(x)
            x, indices = self.pool(before)
            maps.append(x)
            places.append((indices, before.shape[-2:]))
        for stage, (indices, size_hw) in zip(self.decoder, reversed(places), strict=True):
            x = stage(unpool(x, indices, size_hw))
        return Outputs(self.classify(x), (*maps, x))
