"""From a camera's frame to the network's input, and from coarse logits to a label map and its picture."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgeseg.contract import Contract


def frame_to_input(frame: np.ndarray, contract: Contract) -> np.ndarray:
    """uint8 (H, W, 3) of any size -> uint8 (1, h, w, 3) as the contract promises it to the network.

    A contiguous frame of the contract's size comes back as a view: nothing is copied.
    """
    contract.check_frame(frame)
    if frame.shape[:2] != contract.size_hw:
        frame = resize(frame, contract.size_hw)
    return np.ascontiguousarray(frame)[None]


def resize(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of uint8 (H, W, C), half-pixel centres, averaging over the area it shrinks.

    The same filter as Pillow's ``BILINEAR``, with which the networks are trained: each output pixel is a weighted
    mean under a triangle as wide as the larger of one input and one output pixel.
    """
    rows = _triangle(frame.shape[0], size_hw[0])  # (H', H)
    cols = _triangle(frame.shape[1], size_hw[1])  # (W', W)
    wide = _apply(frame.astype(np.float32), cols, axis=1)  # (H, W', C)
    return (_apply(wide, rows, axis=0) + 0.5).astype(np.uint8)  # (H', W', C)


Taps = tuple[np.ndarray, np.ndarray]  # indices (n, taps) and weights (n, taps)


def _triangle(size: int, out: int) -> Taps:
    step = size / out
    radius = max(step, 1.0)
    centre = (np.arange(out) + 0.5) * step  # in input pixels
    first = np.maximum((centre - radius + 0.5).astype(int), 0)
    taps = int(np.ceil(radius)) * 2 + 1
    index = first[:, None] + np.arange(taps)  # (out, taps)
    weight = np.maximum(0.0, 1 - np.abs((index + 0.5 - centre[:, None]) / radius))
    weight[index >= size] = 0
    weight /= weight.sum(1, keepdims=True)
    return np.minimum(index, size - 1), weight.astype(np.float32)


def _apply(x: np.ndarray, taps: Taps, axis: Literal[0, 1]) -> np.ndarray:
    index, weight = taps
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    out = np.take(x, index[:, 0], axis) * weight[:, 0].reshape(shape)
    for t in range(1, index.shape[1]):
        out += np.take(x, index[:, t], axis) * weight[:, t].reshape(shape)
    return out


def upsample_argmax(logits: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Labels uint8 (H, W) of float32 logits (K, h, w) after bilinear upsampling with half-pixel centres.

    Equal to upsampling every class and taking the argmax, without doing it: between four neighbouring logits a class
    can win only if the largest of its four reaches the smallest of every other's four. Where one class is left the
    whole cell is its own; elsewhere the survivors are interpolated. Ties go to the lower class, as in argmax.
    """
    k, h, w = logits.shape
    y0, y1, fy = _bilinear(h, size_hw[0])
    x0, x1, fx = _bilinear(w, size_hw[1])
    # Cell (i, j) has its corners at rows i and min(i + 1, h - 1), columns j and min(j + 1, w - 1).
    below = np.concatenate([logits[:, 1:], logits[:, -1:]], 1)
    corners = (logits, below, *(np.concatenate([c[:, :, 1:], c[:, :, -1:]], 2) for c in (logits, below)))
    low = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))  # (K, h, w)
    high = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))  # (K, h, w)
    alive = high >= low.max(0)  # (K, h, w)
    winner = alive.argmax(0).astype(np.uint8)  # (h, w): the label where one class is alive
    open_cells = alive.sum(0) > 1  # (h, w)
    labels: np.ndarray = winner[y0[:, None], x0]
    ys, xs = np.nonzero(open_cells[y0[:, None], x0])
    if len(ys):
        classes = np.flatnonzero((alive & open_cells).any((1, 2)))
        at = logits[classes]  # (k, h, w)
        wy, wx = fy[ys], fx[xs]
        top = at[:, y0[ys], x0[xs]] * (1 - wx) + at[:, y0[ys], x1[xs]] * wx  # (k, pixels)
        bottom = at[:, y1[ys], x0[xs]] * (1 - wx) + at[:, y1[ys], x1[xs]] * wx
        labels[ys, xs] = classes[(top * (1 - wy) + bottom * wy).argmax(0)]
    return labels


def _bilinear(size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper index and weight of the upper, per output position."""
    at = np.maximum((np.arange(out, dtype=np.float32) + 0.5) * np.float32(size / out) - 0.5, 0)
    lower = np.minimum(at.astype(np.int64), size - 1)
    return lower, np.minimum(lower + 1, size - 1), (at - lower).astype(np.float32)


def colorize(labels: np.ndarray, colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """RGB uint8 (H, W, 3) of labels (H, W); labels without a colour are black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    picture: np.ndarray = palette[labels]
    return picture


def overlay(
    frame: np.ndarray, labels: np.ndarray, colors: tuple[tuple[int, int, int], ...], alpha: float = 0.5
) -> np.ndarray:
    """The RGB frame (H, W, 3) with its labels (H, W) laid over it."""
    mixed = frame * (1 - alpha) + colorize(labels, colors) * alpha
    return (mixed + 0.5).astype(np.uint8)
