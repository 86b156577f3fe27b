"""What stands before a network's first layer: the normalisation of pixels that a model brings with it. Pure.

Casts, transposes, constants added and multiplied, and a reversal of the channels compose to one affine map per channel.
Written as ``(pixels / 255 - mean) / std`` it is what a contract says; a bundle's own head then takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeseg.adopt.steps import Shape, Step
from edgeseg.errors import UserError

LAYOUTS: dict[str, Callable[[Shape], bool]] = {
    "NCHW": lambda s: len(s) == 4 and s[1] == 3,
    "NHWC": lambda s: len(s) == 4 and s[3] == 3,
    "HWC": lambda s: len(s) == 3 and s[2] == 3,
    "CHW": lambda s: len(s) == 3 and s[0] == 3,
}
UNIT_RANGE = 1.5  # a mean above it is in pixels of 0 to 255, one below it in pixels of 0 to 1
SPAN = (0.5, 16.0)  # how far apart black and white come to lie in any usual normalisation


@dataclass(frozen=True)
class Normalisation:
    """``steps[:cut]`` as an affine map: the tensor at the cut is ``scale * input + shift`` per channel, float64 (3,).

    ``layout`` is the tensor's at the cut, NCHW or NHWC; ``reversed``: its channels run against those of the input.
    """

    cut: int
    layout: str
    scale: np.ndarray
    shift: np.ndarray
    reversed: bool

    @property
    def trivial(self) -> bool:
        return bool(np.all(self.scale == 1) and np.all(self.shift == 0))


def layout_of(shape: Shape) -> str:
    """Which axis of the model's input holds the channels. Raises UserError where none has 3."""
    for name, fits in LAYOUTS.items():
        if fits(shape):
            return name
    raise UserError(
        f"the model's input is {_shape(shape)}; expected three channels, as (1, 3, H, W) or (1, H, W, 3): "
        "export the model for colour images, one at a time"
    )


def read(steps: Sequence[Step], shape: Shape) -> Normalisation:
    """The longest run of steps from the input (of ``shape``) that is an affine map of pixels, and what it is.

    ``steps`` may end in anything; what is not understood ends the run. The run ends at a tensor with four axes.
    """
    axes = list(layout_of(shape))
    scale, shift, flipped = np.ones(3), np.zeros(3), False
    best = Normalisation(0, "".join(axes), scale, shift, False)
    for i, step in enumerate(steps):
        if step.op == "transpose":
            axes = [axes[p] for p in step.attributes["perm"]]
        elif step.op == "reshape" and step.made == (1, *step.given):
            axes = ["N", *axes]
        elif step.op == "reverse" and axes[step.attributes["axis"] % len(axes)] == "C":
            scale, shift, flipped = scale[::-1], shift[::-1], not flipped
        elif step.op == "affine":
            per_channel = _per_channel(step, axes)
            if per_channel is None:
                break
            a, b = per_channel
            scale, shift = a * scale, a * shift + b
        elif step.op not in ("identity", "cast"):
            break
        if step.op == "cast" and not np.issubdtype(np.dtype(step.attributes["to"]), np.floating):
            break
        layout = "".join(axes)
        if layout in ("NCHW", "NHWC") and np.all(scale > 0):
            best = Normalisation(i + 1, layout, scale, shift, flipped)
    return best


def _per_channel(step: Step, axes: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and summand per channel, float64 (3,); None where they vary along another axis."""
    channel = axes.index("C")
    found = []
    for name in ("scale", "shift"):
        value = np.asarray(step.attributes[name], np.float64)
        shape = (1,) * (len(axes) - value.ndim) + value.shape
        if len(shape) != len(axes) or any(n != 1 for i, n in enumerate(shape) if i != channel):
            return None
        if shape[channel] not in (1, 3):
            return None
        found.append(np.broadcast_to(value.reshape(-1), 3).copy())
    return found[0], found[1]


def pixel_scale(found: Normalisation) -> float | None:
    """What a float input is per pixel value of 0 to 255: 1, or 1/255; None where the normalisation does not tell."""
    mean = -found.shift / found.scale  # of the input, in its own units
    if found.trivial:
        return None
    if np.max(mean) > UNIT_RANGE:
        return 1.0
    if SPAN[0] <= np.min(255 * found.scale) and np.max(255 * found.scale) <= SPAN[1]:
        return 1.0
    if SPAN[0] <= np.min(found.scale) and np.max(found.scale) <= SPAN[1]:
        return 1 / 255
    return None


def mean_std(found: Normalisation, outer_scale: np.ndarray, outer_shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``mean`` and ``std`` of a contract, in the order of the channels at the cut.

    The model's input is ``outer_scale * pixels + outer_shift``, per channel in the input's own order.
    """
    if found.reversed:
        outer_scale, outer_shift = outer_scale[::-1], outer_shift[::-1]
    scale = found.scale * outer_scale
    shift = found.scale * outer_shift + found.shift
    return -shift / (255 * scale), 1 / (255 * scale)


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"
