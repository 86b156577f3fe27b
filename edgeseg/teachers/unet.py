"""U-Net with residual blocks and, where asked for, attention gates.

Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597; residual blocks of He et al. 2015, https://arxiv.org/abs/1512.03385; gates of Oktay
et al. 2018, "Attention U-Net", https://arxiv.org/abs/1804.03999.

Five resolutions with 1, 2, 4, 8 and 16 times ``width`` channels. The encoder holds the depth, as in the U-Nets of
Isensee et al. 2024 (https://arxiv.org/abs/2404.09556); each stage of the decoder is one residual block. It grows by
bilinear resizing, which leaves no checkerboard and fits any image size. With 19 classes and everything else as it comes
it has 13.9 M parameters and takes 609 G multiply-adds at 1024 x 2048; with ``stem_stride=4``, 39.6 G.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.blocks import Residual, conv_bn, initialise, resize_as
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs

__all__ = ["UNet", "unet"]


def unet(
    num_classes: int,
    *,
    width: int = 32,
    blocks: int = 2,
    depth: int = 1,
    attention: bool = False,
    stem_stride: int = 1,
) -> UNet:
    """A U-Net, logits (N, num_classes, H/stem_stride, W/stem_stride).

    ``width``: channels of the finest stage. ``blocks``: residual blocks per stage of the encoder, 2 to 5, times
    ``depth``, 1 to 4. ``stem_stride`` 1, 2 or 4: resolution of the finest stage, and so of the logits; each step makes
    the network about four times cheaper. Raises NetworkError for anything else.
    """
    for what, value, allowed in (("blocks", blocks, range(2, 6)), ("depth", depth, range(1, 5))):
        if value not in allowed:
            raise NetworkError(f"unet: {what} must be {allowed[0]} to {allowed[-1]}, got {value!r}")
    if stem_stride not in (1, 2, 4):
        raise NetworkError(f"unet: stem_stride must be 1, 2 or 4, got {stem_stride!r}")
    if width != int(width) or width < 1:
        raise NetworkError(f"unet: width is the number of channels of the finest stage, such as 32, got {width!r}")
    return UNet(num_classes, int(width), int(blocks * depth), attention=attention, stem_stride=stem_stride)


class Gate(nn.Module):
    """Additive attention gate: how far each position of a skip connection is let through.

    ``coarse``, the decoder's map at half the resolution, says what to look for; the coefficient is computed at its
    resolution and resized.
    """

    def __init__(self, skip: int, coarse: int) -> None:
        super().__init__()
        self.of_skip = conv_bn(skip, skip, 1, 2, relu=False)
        self.of_coarse = conv_bn(coarse, skip, 1, relu=False)
        self.relu = nn.ReLU()
        self.coefficient = nn.Conv2d(skip, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        alpha = self.coefficient(self.relu(self.of_skip(skip) + self.of_coarse(coarse)))  # (N, 1, h/2, w/2)
        return skip * resize_as(torch.sigmoid(alpha), skip)


class Up(nn.Module):
    """One stage of the decoder: coarse (N, 2C, h/2, w/2) and skip (N, C, h, w) to (N, C, h, w)."""

    def __init__(self, channels: int, *, attention: bool) -> None:
        super().__init__()
        self.gate = Gate(channels, 2 * channels) if attention else None
        self.reduce = conv_bn(2 * channels, channels, 1)
        self.block = Residual(2 * channels, channels)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        kept = skip if self.gate is None else self.gate(skip, coarse)
        return self.block(torch.cat((resize_as(self.reduce(coarse), skip), kept), 1))


class UNet(nn.Module):
    def __init__(self, num_classes: int, width: int, blocks: int, *, attention: bool, stem_stride: int) -> None:
        super().__init__()
        self.stride = stem_stride
        halvings = [2] * (stem_stride // 2) or [1]  # 1: [1], 2: [2], 4: [2, 2]
        self.stem = nn.Sequential(*(conv_bn(width if i else 3, width, 3, s) for i, s in enumerate(halvings)))
        channels = [width * 2**i for i in range(5)]
        self.down = nn.ModuleList([_stage(width, width, 1, blocks)])
        self.down.extend(_stage(c, 2 * c, 2, blocks) for c in channels[:-1])
        self.up = nn.ModuleList(Up(c, attention=attention) for c in reversed(channels[:-1]))
        self.classify = nn.Conv2d(width, num_classes, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at the stem's stride s; features: the encoder's five maps, (N, C, H/s) to (N, 16C, H/16s), then the
        decoder's last, (N, C, H/s)."""
        x = self.stem(images)  # (N, C, H/s, W/s)
        maps = []
        for down in self.down:
            x = down(x)
            maps.append(x)
        for up, skip in zip(self.up, maps[-2::-1], strict=True):
            x = up(x, skip)
        return Outputs(self.classify(x), (*maps, x))


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs, stride), *(Residual(outputs, outputs) for _ in range(blocks - 1)))
