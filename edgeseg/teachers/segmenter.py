"""Segmenter: a plain vision transformer, and a decoder in which classes and patches attend to each other.

Strudel et al. 2021, "Segmenter: Transformer for Semantic Segmentation", https://arxiv.org/abs/2105.05633, with its mask
transformer. The encoder is the vision transformer of Dosovitskiy et al. 2020 (arXiv 2010.11929): 12 blocks on patches
of 16x16 pixels, one learned embedding a position, a class token that nothing reads in the end. Two more blocks see one
learned token for each class as well; a patch's logit is its cosine with what became of the class's token, normalised
over the classes.

For ADE20K, 150 classes, the authors give 7, 27 and 106 M parameters. The networks of their code have 6,713,388,
26,033,964 and 102,497,580, as these have, and the transformer's classifier of ImageNet, which they do not use: 0.2, 0.4
and 0.8 M. With 19 classes these have 6,687,974, 25,983,398 and 102,396,710, and at 1024 x 2048 take 413.7 G, 930.1 G
and 2271.1 G multiply-adds, much of it attention over 8192 patches; at 512 x 512, 12.3 G, 37.4 G and 126.4 G.

Positions are learned on 32 x 32 patches, images of 512 x 512, and interpolated to whatever a frame has; one whose sides
are no multiples of 16 is padded with zeros at its right and bottom. There is no dropout and no dropped path. The
weights start as theirs without pretraining.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.blocks import scaled
from edgeseg.outputs import Outputs

__all__ = ["Segmenter", "segmenter_base", "segmenter_small", "segmenter_tiny"]

PATCH = 16
GRID = 32  # positions a side that have an embedding of their own
HEAD = 64  # channels
DEPTH, DECODER_DEPTH = 12, 2


def segmenter_tiny(num_classes: int, *, width: float = 1.0) -> Segmenter:
    """Seg-T-Mask/16, 3 heads, logits (N, num_classes, H/16, W/16).

    ``width`` scales the channels of each head, 64, rounded to multiples of 8; the number of heads stays.
    """
    return Segmenter(num_classes, 3, scaled(HEAD, width))


def segmenter_small(num_classes: int, *, width: float = 1.0) -> Segmenter:
    """Seg-S-Mask/16, 6 heads; else as Seg-T-Mask/16."""
    return Segmenter(num_classes, 6, scaled(HEAD, width))


def segmenter_base(num_classes: int, *, width: float = 1.0) -> Segmenter:
    """Seg-B-Mask/16, 12 heads; else as Seg-T-Mask/16."""
    return Segmenter(num_classes, 12, scaled(HEAD, width))


@fx.wrap  # one node for torch.fx, whatever the sizes
def whole_patches(images: Tensor) -> Tensor:
    """Zeros at the right and bottom, up to the next multiple of a patch's side."""
    h, w = images.shape[-2:]
    return F.pad(images, (0, -w % PATCH, 0, -h % PATCH))


@fx.wrap
def attention(qkv: Tensor, heads: int) -> Tensor:
    """Self-attention, queries, keys and values beside each other in (N, L, 3C), to (N, L, C)."""
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (N, heads, L, C / heads)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@fx.wrap
def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(N, h * w, C) to (N, C, h, w), with the h and w of ``like``."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:])


class Block(nn.Module):
    """Attention, then two linear layers, each behind a normalisation and added to what it reads."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv, self.project = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mix = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project(attention(self.qkv(self.norm(x)), self.heads))
        return x + self.mix(x)


class Segmenter(nn.Module):
    stride = PATCH

    def __init__(self, num_classes: int, heads: int, head_channels: int) -> None:
        super().__init__()
        channels = heads * head_channels
        self.num_classes = num_classes
        self.embed = nn.Conv2d(3, channels, PATCH, PATCH)
        self.token = nn.Parameter(torch.empty(1, 1, channels))
        self.token_position = nn.Parameter(torch.empty(1, 1, channels))
        self.positions = nn.Parameter(torch.empty(1, channels, GRID, GRID))
        self.encoder = nn.Sequential(*(Block(channels, heads) for _ in range(DEPTH)), nn.LayerNorm(channels))
        self.enter = nn.Linear(channels, channels)
        self.classes = nn.Parameter(torch.empty(1, num_classes, channels))
        self.decoder = nn.Sequential(*(Block(channels, heads) for _ in range(DECODER_DEPTH)), nn.LayerNorm(channels))
        self.of_patch = nn.Linear(channels, channels, bias=False)
        self.of_class = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(num_classes)
        self._initialise(channels)

    def _initialise(self, channels: int) -> None:
        for parameter in (self.token, self.token_position, self.positions, self.classes):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for projection in (self.of_patch, self.of_class):
            nn.init.normal_(projection.weight, std=channels**-0.5)

    def forward(self, images: Tensor) -> Outputs:
        """Features: what the encoder says of the patches, then the decoder, both (N, C, H/16, W/16)."""
        embedded = self.embed(whole_patches(images))  # (N, C, h, w), h and w those of the logits
        positions = F.interpolate(self.positions, size=embedded.shape[-2:], mode="bilinear", align_corners=False)
        x = (embedded + positions).flatten(2).transpose(1, 2)  # (N, h * w, C)
        token = (self.token + self.token_position).expand(images.shape[0], -1, -1)
        x = self.encoder(torch.cat((token, x), 1))[:, 1:]
        seen = self.decoder(torch.cat((self.enter(x), self.classes.expand(images.shape[0], -1, -1)), 1))
        patches, classes = seen[:, : -self.num_classes], seen[:, -self.num_classes :]
        cosines = F.normalize(self.of_patch(patches), dim=-1) @ F.normalize(self.of_class(classes), dim=-1).mT
        logits = as_map(self.norm(cosines), embedded)
        return Outputs(logits, (as_map(x, embedded), as_map(patches, embedded)))
