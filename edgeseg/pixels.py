"""From a camera's frame to the network's input, and from coarse logits to a label map and its picture.

What arrays must be is checked here; :mod:`edgeseg.native` computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseg.contract import CHOICES, ColorOrder, Contract
from edgeseg.errors import ContractError
from edgeseg.native import Window, kernels, twin

Colors = tuple[tuple[int, int, int], ...]
LOGITS = ("float32", "float16", "int8", "uint8")


def frame_to_input(
    frame: np.ndarray,
    contract: Contract,
    out: np.ndarray | None = None,
    *,
    color: ColorOrder | None = None,
    copy: bool = False,
) -> np.ndarray:
    """uint8 (H, W, 3) of any size and strides -> uint8 (1, h, w, 3): resized or letterboxed, as the contract says.

    ``color`` is the order of the frame's channels where it is not the contract's. A contiguous frame that needs nothing
    comes back as a view unless ``copy``; anything else goes into ``out``, or a new array.
    """
    contract.check_frame(frame)
    if color not in (None, *CHOICES["color"]):
        raise ContractError(f"color must be one of {', '.join(map(repr, CHOICES['color']))}, got {color!r}")
    swap = color is not None and color != contract.color
    if not swap and not copy and frame.shape[:2] == contract.size_hw and frame.flags.c_contiguous:
        return frame[None]
    if out is None:
        out = np.empty(contract.input_shape, np.uint8)
    _check_out("out", out, contract.input_shape, np.uint8)
    kernels().frame_to_input(
        frame, out, swap_channels=swap, letterbox=contract.fit == "letterbox", border=contract.border
    )
    return out


def labels_of(
    answer: np.ndarray, frame_hw: tuple[int, int], contract: Contract, out: np.ndarray | None = None
) -> np.ndarray:
    """What an engine returned of a frame -> labels uint8 (H, W) at the frame's size, as the contract says.

    ``answer`` is logits (1, K, h, w) in any order of memory, or integer labels (1, h, w) of a network that makes them.
    """
    window = letterbox_window(frame_hw, contract)
    if contract.output == "labels":
        return _nearest(answer[0], frame_hw, window, _labels(out, frame_hw))
    logits = answer[0]
    channels_last = not logits.flags.c_contiguous
    return upsample_argmax(
        logits.transpose(1, 2, 0) if channels_last else logits,
        frame_hw,
        channels_last=channels_last,
        coordinates=contract.coordinates,
        interpolation=contract.interpolation,
        window=window,
        activation=contract.activation,
        out=out,
    )


def _nearest(labels: np.ndarray, size_hw: tuple[int, int], window: Window | None, out: np.ndarray) -> np.ndarray:
    """Integer labels (h, w), or the window of them, as uint8 at another size."""
    top, left, h, w = window or (0.0, 0.0, *map(float, labels.shape))
    rows, cols = (
        np.clip(((np.arange(n) + 0.5) * length / n + begin).astype(int), 0, most - 1)
        for begin, length, n, most in zip((top, left), (h, w), size_hw, labels.shape)
    )
    if labels.shape == size_hw and window is None:
        np.copyto(out, labels, casting="unsafe")
    else:
        out[...] = labels[rows[:, None], cols]
    return out


def resize(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of uint8 (H, W, C), half-pixel centres, averaging over the area it shrinks.

    The same filter as Pillow's ``BILINEAR``, with which the networks are trained: each output pixel is a weighted
    mean under a triangle as wide as the larger of one input and one output pixel.
    """
    if frame.shape[2] != 3:
        return twin.resize(frame, size_hw)
    out = np.empty((1, *size_hw, 3), np.uint8)
    kernels().frame_to_input(frame, out, swap_channels=False, letterbox=False, border=0)
    resized: np.ndarray = out[0]
    return resized


def letterbox_window(frame_hw: tuple[int, int], contract: Contract) -> Window | None:
    """The part of the logits that a letterboxed frame of that size covers: ``window`` of ``upsample_argmax``.

    (top, left, height, width) in logits pixels; None where frames are stretched and the whole map is theirs. Each pixel
    of the frame is looked up at its centre's place in the network's input.
    """
    if contract.fit != "letterbox":
        return None
    top, left, h, w = twin.placement(frame_hw, contract.size_hw)
    begins, lengths = zip(
        *(
            _window(*sizes, contract.coordinates)
            for sizes in zip((top, left), (h, w), frame_hw, contract.size_hw, contract.output_shape[2:])
        )
    )
    return (begins[0], begins[1], lengths[0], lengths[1])


def _window(begin: int, length: int, frame: int, size: int, logits: int, coordinates: str) -> tuple[float, float]:
    """Begin and length along one axis, of a frame of ``frame`` pixels that fills ``length`` of the input's ``size``."""
    ratio = logits / size
    if coordinates == "half_pixel":
        return begin * ratio, length * ratio
    first = begin + 0.5 * length / frame - 0.5  # centre of the frame's first pixel, in the input
    if coordinates == "asymmetric":
        return first * ratio, length * ratio
    ratio = (logits - 1) / max(size - 1, 1)
    return first * ratio, (frame - 1) * length / frame * ratio + 1


def upsample_argmax(
    logits: np.ndarray,
    size_hw: tuple[int, int],
    *,
    channels_last: bool = False,
    coordinates: str = "half_pixel",
    interpolation: str = "bilinear",
    window: Window | None = None,
    scale: float = 1.0,
    activation: str = "none",
    out: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
) -> np.ndarray:
    """Labels uint8 (H, W) of logits (K, h, w), or (h, w, K) where ``channels_last``, upsampled to ``size_hw``.

    Equal to upsampling every class with torch's ``interpolate`` and taking the argmax, without doing it: between four
    neighbouring logits a class can win only if the largest of its four reaches the smallest of every other's four. Ties
    go to the lower class and NaN counts as the largest, as in torch; two classes within a few ulps of each other may be
    told apart either way.

    Logits are float32, float16, int8 or uint8, and stand for ``scale`` times their number. ``coordinates`` and
    ``interpolation`` are those of a contract; ``activation`` "softmax" is applied to the coarse logits first.
    ``window`` (top, left, height, width), in logits pixels, is what the labels cover: see ``letterbox_window``.
    ``out`` takes the labels; ``confidence``, float32 (H, W), the softmax at the label, within 1e-5 or 2 ulps.

    Raises ContractError for arrays of other types, shapes or layouts.
    """
    size_hw = (size_hw[0], size_hw[1])
    options = _options(
        logits, channels_last, coordinates, interpolation, window, scale, activation, confidence, size_hw
    )
    labels = _labels(out, size_hw)
    kernels().upsample_argmax(np.ascontiguousarray(logits), labels, **options)
    return labels


def upsample_overlay(
    logits: np.ndarray,
    frame: np.ndarray,
    colors: Colors,
    *,
    alpha: float = 0.5,
    channels_last: bool = False,
    coordinates: str = "half_pixel",
    interpolation: str = "bilinear",
    window: Window | None = None,
    scale: float = 1.0,
    activation: str = "none",
    out: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    picture: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``upsample_argmax`` to the frame's size and ``overlay`` in one pass: labels uint8 (H, W), picture (H, W, 3)."""
    _check_picture(frame, alpha)
    size_hw = (frame.shape[0], frame.shape[1])
    options = _options(
        logits, channels_last, coordinates, interpolation, window, scale, activation, confidence, size_hw
    )
    labels, picture = _labels(out, size_hw), _picture(picture, frame)
    kernels().upsample_argmax(
        np.ascontiguousarray(logits),
        labels,
        **options,
        frame=frame,
        palette=_palette(colors),
        alpha=alpha,
        picture=picture,
    )
    return labels, picture


def colorize(labels: np.ndarray, colors: Colors) -> np.ndarray:
    """RGB uint8 (H, W, 3) of labels (H, W); labels without a colour are black."""
    picture: np.ndarray = _palette(colors)[labels]
    return picture


def overlay(frame: np.ndarray, labels: np.ndarray, colors: Colors, alpha: float = 0.5) -> np.ndarray:
    """The RGB frame uint8 (H, W, 3) with its labels uint8 (H, W) laid over it, ``alpha`` rounded to 1/256."""
    _check_picture(frame, alpha)
    if labels.dtype != np.uint8 or labels.shape != frame.shape[:2]:
        raise ContractError(f"expected uint8 labels {frame.shape[:2]}, got {labels.dtype} {labels.shape}")
    picture = _picture(None, frame)
    kernels().overlay(np.ascontiguousarray(labels), frame, _palette(colors), alpha, picture)
    return picture


def _options(
    logits: np.ndarray,
    channels_last: bool,
    coordinates: str,
    interpolation: str,
    window: Window | None,
    scale: float,
    activation: str,
    confidence: np.ndarray | None,
    size_hw: tuple[int, int],
) -> Mapping[str, Any]:
    """What the kernel takes beside logits and labels, checked."""
    if logits.ndim != 3 or 0 in logits.shape or logits.dtype not in LOGITS:
        wanted = "(h, w, K)" if channels_last else "(K, h, w)"
        raise ContractError(
            f"expected logits {wanted} of one frame, {', '.join(LOGITS)}, got {logits.dtype} {logits.shape}"
        )
    if (classes := logits.shape[2 if channels_last else 0]) > 255:
        raise ContractError(
            f"expected 1 to 255 classes (labels are uint8), got {classes} of {logits.shape}: is channels_last right?"
        )
    for name, value in (("coordinates", coordinates), ("interpolation", interpolation), ("activation", activation)):
        if value not in CHOICES[name]:
            raise ContractError(f"{name} must be one of {', '.join(map(repr, CHOICES[name]))}, got {value!r}")
    if not (0 < scale < math.inf):
        raise ContractError(f"scale must be positive and finite, got {scale}")
    if window is not None:
        least = 1.0 if coordinates == "align_corners" else 1e-6  # the former counts from centre to centre
        if not (all(map(math.isfinite, window)) and min(window[2:]) >= least):
            raise ContractError(f"expected window (top, left, height, width), finite and not empty, got {window}")
    if confidence is not None:
        _check_out("confidence", confidence, size_hw, np.float32)
    return {
        "channels_last": channels_last,
        "coordinates": coordinates,
        "interpolation": interpolation,
        "softmax": activation == "softmax",
        "window": window or (0.0, 0.0, 0.0, 0.0),
        "scale": scale,
        "confidence": confidence,
    }


def _labels(out: np.ndarray | None, size_hw: tuple[int, int]) -> np.ndarray:
    if out is None:
        if min(size_hw) < 1:
            raise ContractError(f"expected a size of at least one pixel, got {size_hw}")
        return np.empty(size_hw, np.uint8)
    _check_out("out", out, size_hw, np.uint8)
    return out


def _picture(picture: np.ndarray | None, frame: np.ndarray) -> np.ndarray:
    if picture is None:
        return np.empty(frame.shape, np.uint8)
    _check_out("picture", picture, frame.shape, np.uint8)
    return picture


def _palette(colors: Colors) -> np.ndarray:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette


def _check_out(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    flags = array.flags
    if array.shape != shape or array.dtype != dtype or not (flags.c_contiguous and flags.writeable):
        layout = "" if flags.c_contiguous and flags.writeable else ", read-only or not contiguous"
        raise ContractError(
            f"expected {name} as contiguous {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}{layout}: "
            "leave it out to have it made"
        )


def _check_picture(frame: np.ndarray, alpha: float) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ContractError(f"expected a uint8 frame (H, W, 3), got {frame.dtype} {frame.shape}")
    if not 0 <= alpha <= 1:
        raise ContractError(f"alpha is from 0 (the frame) to 1 (the colours), got {alpha}")
