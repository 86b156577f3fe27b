"""What students and teachers return, and what objectives and losses read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """One forward pass. Shapes: N batch, K classes, H W input pixels, s stride."""

    logits: Tensor  # (N, K, H/s, W/s), no resize, no softmax
    features: tuple[Tensor, ...] = ()  # (N, C_i, H/s_i, W/s_i), shallow to deep
    auxiliary: tuple[Tensor, ...] = ()  # more logits (N, K, H/s_i, W/s_i): only in training


class Batch(NamedTuple):
    """What one training step sees."""

    images: Tensor  # (N, 3, H, W) normalised
    labels: Tensor  # (N, H, W) int64; ignore_label where unknown
    teacher: Outputs | None = None  # what a cache has of the teacher's answer; NaN where it has none
    unlabelled: Unlabelled | None = None  # views of frames that have no labels


class Unlabelled(NamedTuple):
    """Views of M frames without labels, each as it is and L times in changed colours."""

    weak: Tensor  # (M, 3, H, W) normalised
    strong: Tensor  # (L, M, 3, H, W) the same views
    inside: Tensor  # (M, H, W) bool: what of the view is frame
