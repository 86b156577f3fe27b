"""Networks that take only some sizes of image, made to take any.

Both wrappers keep the logits where the image is: their pixel (0, 0) stands for the same corner as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.blocks import crop
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs


class Padded(nn.Module):
    """A network that takes multiples of ``multiple``: the image's last rows and columns are repeated up to the next."""

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.stride = network.stride

    def forward(self, images: Tensor) -> Outputs:
        h, w = images.shape[-2:]
        padding = (0, -w % self.multiple, 0, -h % self.multiple)
        logits = self.network(F.pad(images, padding, mode="replicate")).logits
        return Outputs(crop(logits, (-(-h // self.stride), -(-w // self.stride))))


class Windowed(nn.Module):
    """A network that takes one size, whose position embeddings are for it alone, say.

    The image is resized until one of its sides is the window's and the other no shorter; windows, evenly spread, cover
    it. Where they overlap their probabilities are averaged.
    """

    def __init__(self, network: nn.Module, size_hw: tuple[int, int]) -> None:
        super().__init__()
        if any(side % network.stride for side in size_hw):
            raise NetworkError(f"windows of {size_hw} cannot hold logits at stride {network.stride}")
        self.network = network
        self.size_hw = size_hw
        self.stride = network.stride

    def forward(self, images: Tensor) -> Outputs:
        """Log-probabilities (N, K, H/s, W/s), rounded up."""
        n, _, h, w = images.shape
        s = self.stride
        factor = max(side / length for side, length in zip(self.size_hw, (h, w), strict=True))
        # Longer than a window by whole strides, so that the logits of all windows lie on one grid.
        tall, wide = (
            side + s * math.ceil(max(0.0, length * factor - side) / s - 1e-6)
            for side, length in zip(self.size_hw, (h, w), strict=True)
        )
        enlarged = _resized(images, (tall, wide))
        total: Tensor | None = None
        height, width = self.size_hw
        for top in _starts(tall, height, s):
            for left in _starts(wide, width, s):
                part = F.log_softmax(self.network(enlarged[..., top : top + height, left : left + width]).logits, 1)
                if total is None:
                    total = part.new_full((n, part.shape[1], tall // s, wide // s), -math.inf)
                there = total[..., top // s : (top + height) // s, left // s : (left + width) // s]
                there.copy_(torch.logaddexp(there, part))  # sums probabilities; log_softmax divides by how many
        assert total is not None
        at_stride = _resized(F.log_softmax(total, 1), (-(-h // s), -(-w // s)))
        return Outputs(F.log_softmax(at_stride, 1))  # between pixels, logarithms do not add up to probabilities of 1


def _starts(length: int, window: int, stride: int) -> Iterator[int]:
    """Where windows begin that cover ``length``, the first at 0 and the last at the end."""
    count = -(-length // window)
    for i in range(count):
        yield round(i * (length - window) / stride / max(1, count - 1)) * stride


def _resized(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size_hw else F.interpolate(x, size=size_hw, mode="bilinear", align_corners=False)


def stride_of(network: nn.Module, size_hw: tuple[int, int]) -> int:
    """Image pixels per logit, found by running the network once, on an image of ``size_hw``.

    Raises NetworkError where it is not one whole number for both sides.
    """
    with torch.no_grad():
        logits = network.eval()(torch.zeros(1, 3, *size_hw)).logits
    h, w = logits.shape[-2:]
    stride = max(1, round(size_hw[0] / h))
    if (-(-size_hw[0] // stride), -(-size_hw[1] // stride)) != (h, w):
        raise NetworkError(f"expected logits smaller than an image of {size_hw} by one whole number, got {(h, w)}")
    return stride
