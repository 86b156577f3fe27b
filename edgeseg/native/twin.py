"""The kernels in numpy: what the compiled ones are tested against, and what runs where they were not built.

Float32 throughout, in the order in which the headers add and multiply, so that labels and pictures are the same bits
(but for ``exp``, which has a last bit of its own). What each function promises is written in the headers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STRIP = 2**22  # interpolated logits held at once, where every class is interpolated


def upsample_argmax(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    channels_last: bool,
    coordinates: str,
    interpolation: str,
    softmax: bool,
    window: tuple[float, float, float, float],
    scale: float,
    confidence: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    palette: np.ndarray | None = None,
    alpha: float = 0.5,
    picture: np.ndarray | None = None,
) -> None:
    """See include/edgeseg/upsample_argmax.hpp."""
    if channels_last:
        logits = logits.transpose(2, 0, 1)
    values = logits.astype(np.float32)  # (K, h, w)
    with np.errstate(invalid="ignore", over="ignore"):  # infinity times 0 is NaN, as it should be
        if softmax:
            values = np.exp((values - values.max(0)) * np.float32(scale))
            values /= values.sum(0)
        (top, left, height, width), (h, w) = window, values.shape[1:]
        down = axis(h, labels.shape[0], coordinates, interpolation, top, height or h)
        across = axis(w, labels.shape[1], coordinates, interpolation, left, width or w)
        finite = bool(np.isfinite(values).all())
        if finite:
            _between_survivors(values, labels, down, across)
        if confidence is not None or not finite:
            known = labels.copy() if finite else labels  # among all, a tie within an ulp may be told the other way
            _between_all(values, known, down, across, None if softmax else np.float32(scale), confidence)
    if picture is not None:
        assert frame is not None and palette is not None
        overlay(labels, frame, palette, alpha, picture)


class Axis(NamedTuple):
    """Two taps per output: ``lower`` with 1 - ``weight``, ``upper`` with ``weight``; (n,) each."""

    lower: np.ndarray
    upper: np.ndarray
    weight: np.ndarray
    blend: bool  # False: the lower tap as it is


def axis(size: int, out: int, coordinates: str, interpolation: str, begin: float, length: float) -> Axis:
    """See Axis in include/edgeseg/taps.hpp."""
    one, span, blend = np.float32(1), np.float32(length), interpolation == "bilinear"
    at = np.arange(out, dtype=np.float32)
    if coordinates == "align_corners":
        at *= max(span - one, np.float32(0)) / np.float32(out - 1) if out > 1 else np.float32(0)
        at += np.float32(0 if blend else 0.5)
    elif coordinates == "half_pixel":
        exact = np.float64(span / np.float32(out)) * (at + np.float32(0.5)) - (0.5 if blend else 0)
        at = exact.astype(np.float32)  # rounded once, as by a fused multiply-add
    else:
        at *= span / np.float32(out)
    at = np.maximum(at + np.float32(begin), np.float32(0))
    lower = np.minimum(at, np.float32(size - 1)).astype(np.int64)
    if not blend or (size == out and begin == 0 and span == size):
        return Axis(lower, lower, np.zeros(out, np.float32), blend)
    return Axis(lower, np.minimum(lower + 1, size - 1), np.minimum(at - lower.astype(np.float32), one), True)


def _between_survivors(values: np.ndarray, labels: np.ndarray, down: Axis, across: Axis) -> None:
    """Between four neighbouring logits a class can win only if the largest of its four reaches the smallest of every
    other's four. Where one class is left the whole cell is its own; elsewhere the survivors are interpolated.
    """
    # Cell (i, j) has its corners at rows i and min(i + 1, h - 1), columns j and min(j + 1, w - 1).
    below = np.concatenate([values[:, 1:], values[:, -1:]], 1)
    corners = [values, below, *(np.concatenate([c[:, :, 1:], c[:, :, -1:]], 2) for c in (values, below))]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)  # (K, h, w)
    alive = high >= low.max(0)
    winner = alive.argmax(0).astype(np.uint8)  # (h, w): the label where one class is alive
    open_cells = alive.sum(0) > 1  # (h, w)
    labels[:] = winner[down.lower[:, None], across.lower]
    ys, xs = np.nonzero(open_cells[down.lower[:, None], across.lower])
    if len(ys):
        classes = np.flatnonzero((alive & open_cells).any((1, 2)))
        at, wx, wy = values[classes], across.weight[xs], down.weight[ys]  # (k, h, w), (pixels,), (pixels,)
        y0, y1, x0, x1 = down.lower[ys], down.upper[ys], across.lower[xs], across.upper[xs]
        top = at[:, y0, x0] * (1 - wx) + at[:, y0, x1] * wx  # (k, pixels)
        bottom = at[:, y1, x0] * (1 - wx) + at[:, y1, x1] * wx
        labels[ys, xs] = classes[(top * (1 - wy) + bottom * wy).argmax(0)]


def _between_all(
    values: np.ndarray,
    labels: np.ndarray,
    down: Axis,
    across: Axis,
    scale: np.float32 | None,
    confidence: np.ndarray | None,
) -> None:
    """Every class at every pixel; argmax takes the first NaN for the largest. ``scale`` None: values are shares."""
    rows = max(1, STRIP // (len(values) * labels.shape[1]))
    for begin in range(0, len(labels), rows):
        strip = slice(begin, begin + rows)
        top, bottom = (_across(values[:, y[strip]], across) for y in (down.lower, down.upper))  # (K, rows, W)
        weight = down.weight[strip, None]
        mixed = top * (1 - weight) + bottom * weight if down.blend else top
        labels[strip] = mixed.argmax(0)
        if confidence is not None:
            best = mixed.max(0)
            confidence[strip] = best if scale is None else 1 / np.exp((mixed - best) * scale).sum(0)


def _across(rows: np.ndarray, axis: Axis) -> np.ndarray:
    mixed: np.ndarray = rows[:, :, axis.lower]
    return mixed * (1 - axis.weight) + rows[:, :, axis.upper] * axis.weight if axis.blend else mixed


def overlay(labels: np.ndarray, frame: np.ndarray, palette: np.ndarray, alpha: float, picture: np.ndarray) -> None:
    """See Blend in include/edgeseg/overlay.hpp."""
    share = int(np.floor(np.float32(alpha) * 256 + np.float32(0.5)))
    tint = palette.astype(np.uint16) * np.uint16(share) + np.uint16(128)  # (256, 3)
    picture[:] = (frame * np.uint16(256 - share) + tint[labels]) >> 8


def frame_to_input(frame: np.ndarray, out: np.ndarray, *, swap_channels: bool, letterbox: bool, border: int) -> None:
    """See include/edgeseg/frame_to_input.hpp."""
    if swap_channels:
        frame = frame[:, :, ::-1]
    size_hw = (out.shape[1], out.shape[2])
    top, left, h, w = placement((frame.shape[0], frame.shape[1]), size_hw) if letterbox else (0, 0, *size_hw)
    if (h, w) != size_hw:
        out[:] = border
    out[0, top : top + h, left : left + w] = frame if frame.shape[:2] == (h, w) else resize(frame, (h, w))


def placement(frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a letterboxed frame in the network's input, in pixels."""
    scale = min(size_hw[0] / frame_hw[0], size_hw[1] / frame_hw[1])
    h, w = (min(max(int(n * scale + 0.5), 1), most) for n, most in zip(frame_hw, size_hw))
    return (size_hw[0] - h) // 2, (size_hw[1] - w) // 2, h, w


def resize(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, C) -> uint8 (H', W', C), under Pillow's triangle: down first, then across."""
    tall = _apply(frame, _triangle(frame.shape[0], size_hw[0]))  # (H', W, C)
    wide = _apply(tall.swapaxes(0, 1), _triangle(frame.shape[1], size_hw[1]))  # (W', H', C)
    resized: np.ndarray = (wide.swapaxes(0, 1) + np.float32(0.5)).astype(np.uint8)
    return resized


def _triangle(size: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights (out, taps)."""
    step = size / out
    radius = max(step, 1.0)
    centre = (np.arange(out) + 0.5) * step  # in input pixels
    first = np.maximum((centre - radius + 0.5).astype(int), 0)
    index = first[:, None] + np.arange(int(np.ceil(radius)) * 2 + 1)  # (out, taps)
    weight = np.maximum(0.0, 1 - np.abs((index + 0.5 - centre[:, None]) / radius))
    weight[index >= size] = 0
    weight /= np.add.accumulate(weight, axis=1)[:, -1:]  # in order, which sum() does not promise
    return np.minimum(index, size - 1), weight.astype(np.float32)


def _apply(x: np.ndarray, taps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Weighted sums of rows, tap after tap: (H, ...) -> float32 (H', ...)."""
    index, weight = taps
    column = (-1, *(1,) * (x.ndim - 1))
    out = np.zeros((len(index), *x.shape[1:]), np.float32)
    for t in range(index.shape[1]):
        out += x[index[:, t]].astype(np.float32) * weight[:, t].reshape(column)
    return out
