"""Maps of another size: what makes them smaller, what makes them larger, and what crops them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.blocks.convolution import normalised


def resize_as(x: Tensor, like: Tensor, factor: int | None = None) -> Tensor:
    """``x`` at the height and width of ``like``: bilinear, half-pixel centres.

    With a ``factor``, by which strides have made ``x`` smaller (rounding up), it is enlarged by just that and cropped.
    Where the factor is a power of two every interpolation weight is a binary fraction, so that all engines compute the
    same numbers; 23 rows stretched to 45 have weights that float32 cannot hold.
    """
    if factor is None:
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return crop(F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False), like.shape[-2:])


def nearest_as(x: Tensor, like: Tensor, factor: int) -> Tensor:
    """``x`` at the height and width of ``like``, each value ``factor`` times in both directions, then cropped.

    It moves values and computes none: exact in integers, on the grid that ``x`` has.
    """
    return crop(F.interpolate(x, scale_factor=factor, mode="nearest"), like.shape[-2:])


def transposed(inputs: int, outputs: int, factor: int = 2) -> nn.ConvTranspose2d:
    """A transposed convolution, H and W times ``factor``: each pixel becomes factor x factor, which see no other.

    As its kernel is its stride there is no checkerboard of overlaps; nor is there a bias or a normalisation.
    """
    return nn.ConvTranspose2d(inputs, outputs, factor, factor, bias=False)


@fx.wrap  # one node for torch.fx, whatever the sizes
def crop(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The upper left of ``x`` (N, C, H, W)."""
    h, w = size_hw
    return x[..., :h, :w]


class Down(nn.Module):
    """Half the size: a strided convolution, and beside it, where the channels grow, the max-pooled map.

    As in Paszke et al. 2016, ENet, https://arxiv.org/abs/1606.02147. The convolution makes the channels that are
    missing; the pool rounds up, so that both have the same size. ``behind`` makes what stands behind the two for a
    number of channels.
    """

    def __init__(self, inputs: int, outputs: int, behind: Callable[[int], Iterable[nn.Module]] = normalised) -> None:
        super().__init__()
        self.grows = inputs < outputs
        self.conv = nn.Conv2d(inputs, outputs - inputs if self.grows else outputs, 3, 2, 1, bias=False)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.norm = nn.Sequential(*behind(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(torch.cat([y, self.pool(x)], 1) if self.grows else y)
