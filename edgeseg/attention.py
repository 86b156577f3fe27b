"""EfficientFormer's attention on maps of any size, in convolutions that quantize and functions that stay in float.

Li et al. 2022, "EfficientFormer: Vision Transformers at MobileNet Speed", https://arxiv.org/abs/2206.01191, and Li et
al. 2022, "Rethinking Vision Transformers for MobileNet Size and Speed", https://arxiv.org/abs/2212.08059. What is added
for the distance between two pixels is a table made for one size of image; for another it is resized, bilinearly, so
that distances stand for the same part of the image. At the size that it was made for nothing changes.

Each class takes the module of timm that it stands for, and its parameters. Linear layers become 1x1 convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

FLOAT = ("attend", "normalise")  # sums over all pixels and over all channels, and a softmax


@fx.wrap  # one node for torch.fx, whatever the sizes
def attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, made_for: Sequence[int], mix: Any = ()) -> Tensor:
    """For each pixel the mean of all values (N, D, h, w), weighted by softmax.

    ``query``: (N, C, h, w), or of every second pixel; ``key``: (N, C, h, w); ``table``: (heads, H W), what is added for
    distances on a map of H x W, ``made_for``. ``mix``: weights and biases of convolutions over the heads, before the
    softmax and behind it.
    """
    heads, (n, _, h, w), out_hw = len(table), key.shape, query.shape[-2:]
    q, k, v = (x.reshape(n, heads, -1, x.shape[-2] * x.shape[-1]) for x in (query, key, value))
    weights = q.transpose(2, 3) @ k * q.shape[2] ** -0.5 + distances(table, made_for, (h, w), out_hw)
    weights = mixed(weights, *mix[:2]).softmax(-1)
    weights = mixed(weights, *mix[2:])
    return (v @ weights.transpose(2, 3)).reshape(n, -1, *out_hw)


def mixed(weights: Tensor, factors: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Attention (N, heads, a, b), each head now a mixture of all; as it is where there are no factors.

    A product of matrices: as a convolution engines would take it for one of those that should be integer.
    """
    if factors is None or bias is None:
        return weights
    return (factors.flatten(1) @ weights.flatten(2) + bias[:, None]).view_as(weights)


def distances(table: Tensor, made_for: Sequence[int], size_hw: Sequence[int], out_hw: Sequence[int]) -> Tensor:
    """(heads, pixels of out_hw, pixels of size_hw): the table's number for how far two pixels are apart."""
    (h, w), maps = size_hw, table.view(1, len(table), *made_for)
    if (h, w) != tuple(made_for):
        maps = F.interpolate(maps, size=(h, w), mode="bilinear", align_corners=True)
    steps = [-(-size // out) for size, out in zip(size_hw, out_hw, strict=True)]
    rows, columns = (
        (torch.arange(out, device=table.device)[:, None] * s - torch.arange(size, device=table.device)).abs()
        for size, out, s in zip(size_hw, out_hw, steps, strict=True)
    )
    apart = rows[:, None, :, None] * w + columns[None, :, None, :]  # (h', w', h, w)
    return maps.view(len(table), h * w)[:, apart.reshape(out_hw[0] * out_hw[1], h * w)]


@fx.wrap
def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer normalisation over the channels of a map (N, C, h, w)."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (len(weight),), weight, bias, eps).permute(0, 3, 1, 2)


def pointwise(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A linear layer as a convolution of 1x1 pixels."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device=weight.device)
    conv.weight = nn.Parameter(weight.detach()[:, :, None, None].clone())
    conv.bias = nn.Parameter(bias.detach().clone())
    return conv


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(factors.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)


class Block(nn.Module):
    """EfficientFormer's last blocks, which timm computes on pixels in a row."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        mixer = block.token_mixer
        ends = (mixer.key_dim, 2 * mixer.key_dim, None)
        parts = mixer.qkv.weight.view(mixer.num_heads, -1, mixer.qkv.in_features)  # of each head query, key, value
        biases = mixer.qkv.bias.view(mixer.num_heads, -1)
        self.query, self.key, self.value = (
            pointwise(parts[:, a:b].flatten(0, 1), biases[:, a:b].flatten())
            for a, b in zip((0, *ends), ends, strict=False)
        )
        self.table = nn.Parameter(mixer.attention_biases.detach().clone())
        side = round(self.table.shape[1] ** 0.5)
        self.made_for = (side, side)
        self.project = pointwise(mixer.proj.weight, mixer.proj.bias)
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.widen, self.narrow = (pointwise(f.weight, f.bias) for f in (block.mlp.fc1, block.mlp.fc2))
        self.act = nn.GELU()
        self.scale1, self.scale2 = Scale(block.ls1.gamma), Scale(block.ls2.gamma)

    def forward(self, x: Tensor) -> Tensor:
        y = normalise(x, self.norm1.weight, self.norm1.bias, self.norm1.eps)
        y = self.project(attend(self.query(y), self.key(y), self.value(y), self.table, self.made_for))
        x = x + self.scale1(y)
        y = normalise(x, self.norm2.weight, self.norm2.bias, self.norm2.eps)
        return x + self.scale2(self.narrow(self.act(self.widen(y))))


class Attention(nn.Module):
    """EfficientFormerV2's attention, at its own resolution or at half of it, or to half of it."""

    def __init__(self, mixer: Any) -> None:
        super().__init__()
        self.shrink, self.enlarge = getattr(mixer, "stride_conv", None), getattr(mixer, "upsample", None)
        self.query, self.key, self.value, self.local = mixer.q, mixer.k, mixer.v, mixer.v_local
        self.table, self.made_for = mixer.attention_biases, tuple(mixer.resolution)
        heads = [getattr(mixer, name, None) for name in ("talking_head1", "talking_head2")]
        self.mix = nn.ModuleList(h for h in heads if h is not None)
        self.act, self.project = mixer.act, mixer.proj

    def forward(self, x: Tensor) -> Tensor:
        if self.shrink is not None:
            x = self.shrink(x)
        value = self.value(x)
        mix = tuple(p for conv in self.mix for p in (conv.weight, conv.bias))
        y = attend(self.query(x), self.key(x), value, self.table, self.made_for, mix) + self.local(value)
        return self.project(self.act(y if self.enlarge is None else self.enlarge(y)))
