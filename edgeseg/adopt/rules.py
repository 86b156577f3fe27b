"""What each operation behind the logits does to the words of a contract, or why there is no word for it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseg.adopt.steps import Step

Role = Literal["N", "K", "H", "W", "1"]  # batch, classes, rows, columns, an axis of size 1 without meaning
COORDINATES = {
    "half_pixel": "half_pixel",
    "half_pixel_symmetric": "half_pixel",  # differs only where scale times size is no whole number: refused below
    "pytorch_half_pixel": "half_pixel",  # differs only where an output side is 1: refused below
    "align_corners": "align_corners",
    "asymmetric": "asymmetric",
}
EXACT = 1e-4  # pixels by which scale * size may miss the output's size: exporters write scales as float32


class Unsayable(Exception):
    """Not sayable from this point; the message says why."""


@dataclass
class State:
    """What is known of a tensor on the way from the cut to the end."""

    roles: tuple[Role, ...]
    hw: tuple[int, int]
    pointwise: Literal["none", "softmax", "other"] = "none"  # over classes, since the cut or the resize
    activation: Literal["none", "softmax"] = "none"
    interpolation: Literal["bilinear", "nearest"] | None = None
    coordinates: str = "half_pixel"
    labels: bool = False


def nearest_table(size: int, out: int, scale: float, coordinates: str, rounding: str) -> np.ndarray:
    """Index (out,) of the pixel that a nearest resize from ``size`` takes for each output pixel."""
    x = np.arange(out, dtype=np.float64)
    if coordinates in ("half_pixel", "half_pixel_symmetric") or (coordinates == "pytorch_half_pixel" and out > 1):
        at = (x + 0.5) / scale - 0.5
    elif coordinates == "pytorch_half_pixel":
        at = np.zeros_like(x)
    elif coordinates == "align_corners":
        at = x * ((size - 1) / (out - 1)) if out > 1 else np.zeros_like(x)
    elif coordinates == "asymmetric":
        at = x / scale
    elif coordinates == "tf_half_pixel_for_nn":
        at = (x + 0.5) / scale
    else:
        raise Unsayable(f"a nearest resize with coordinates {coordinates!r}")
    at = np.round(at, 6)  # a float32 scale puts whole numbers beside themselves
    # "simple", OpenVINO's: rounded down when it enlarges.
    rounded = {
        "floor": np.floor,
        "simple": np.floor if out >= size else np.ceil,
        "ceil": np.ceil,
        "round_prefer_floor": lambda a: np.ceil(a - 0.5),
        "round_prefer_ceil": lambda a: np.floor(a + 0.5),
    }
    if rounding not in rounded:
        raise Unsayable(f"a nearest resize that rounds by {rounding!r}")
    index: np.ndarray = np.clip(rounded[rounding](at), 0, size - 1).astype(np.int64)
    return index


# One rule per operation: the state after it, or why the contract has no word for it.


def unknown(state: State, step: Step) -> None:
    raise Unsayable(f"{step.op} is none of the operations a label stage knows")


def _identity(state: State, step: Step) -> None:
    pass


def _cast(state: State, step: Step) -> None:
    to = np.dtype(step.attributes["to"])
    if not state.labels and to not in (np.float32, np.float64):
        raise Unsayable(f"a cast of scores to {to}")
    if state.labels and to == np.bool_:
        raise Unsayable("a cast of labels to bool")


def _reshape(state: State, step: Step) -> None:
    kept = [role for role, n in zip(state.roles, step.given, strict=True) if n > 1]
    if [n for n in step.given if n > 1] != [n for n in step.made if n > 1]:
        raise Unsayable(f"a reshape from {step.given} to {step.made}")
    left = iter(kept)
    state.roles = tuple(next(left) if n > 1 else "1" for n in step.made)


def _transpose(state: State, step: Step) -> None:
    state.roles = tuple(state.roles[i] for i in step.attributes["perm"])


def _over_classes(state: State, step: Step) -> None:
    axis = step.attributes["axis"] % len(state.roles)
    if state.labels or state.roles[axis] != "K":
        raise Unsayable(f"{step.op} over another axis than the classes'")


def _softmax(state: State, step: Step) -> None:
    _over_classes(state, step)
    state.pointwise = "softmax" if state.pointwise == "none" else "other"


def _logsoftmax(state: State, step: Step) -> None:
    """Takes the same number from every class of a pixel, and interpolation the same mean of such numbers."""
    _over_classes(state, step)


def _sigmoid(state: State, step: Step) -> None:
    if state.labels:
        raise Unsayable("a sigmoid of labels")
    state.pointwise = "other"  # rises with its argument, so that argmax does not see it; a mean of it does


def close_pointwise(state: State) -> None:
    """The values so far are going to be averaged, and what was done to each alone can be left out no longer."""
    if state.pointwise == "other":
        raise Unsayable("a bilinear resize behind something other than softmax")
    state.activation, state.pointwise = state.pointwise, "none"


def _resize(state: State, step: Step) -> None:
    a = step.attributes
    if state.interpolation is not None:
        raise Unsayable("two resizes, one behind the other")
    changed = {state.roles[i] for i, (n, m) in enumerate(zip(step.given, step.made, strict=True)) if n != m}
    if not changed <= {"H", "W"} or not {"H", "W"} <= set(state.roles):
        raise Unsayable("a resize of other axes than rows and columns")
    if a.get("antialias"):
        raise Unsayable("a resize with antialiasing")
    axes = [state.roles.index("H"), state.roles.index("W")]
    sides = [(step.given[i], step.made[i], float(a["scales"][i])) for i in axes]
    if any(m < n for n, m, _ in sides):
        raise Unsayable("a resize that shrinks")
    if a["mode"] == "nearest":
        state.interpolation, state.coordinates = "nearest", _nearest(a["coordinates"], a["rounding"], sides)
    elif a["mode"] == "linear":
        _linear(state, a["coordinates"], sides)
    else:
        raise Unsayable(f"a {a['mode']} resize")
    state.hw = (sides[0][1], sides[1][1])


def _nearest(coordinates: str, rounding: str, sides: list[tuple[int, int, float]]) -> str:
    """The contract's coordinates that take the same pixels: half_pixel, true to frames of any size, where both do."""
    tables = [nearest_table(n, m, scale, coordinates, rounding) for n, m, scale in sides]
    taken: dict[str, Callable[[int, int], np.ndarray]] = {
        "half_pixel": lambda n, m: (2 * np.arange(m) + 1) * n // (2 * m),
        "asymmetric": lambda n, m: np.arange(m) * n // m,
    }
    for name, table in taken.items():
        if all(np.array_equal(mine, table(n, m)) for mine, (n, m, _) in zip(tables, sides, strict=True)):
            return name
    raise Unsayable("a nearest resize that takes other pixels than the nearest or the one before")


def _linear(state: State, coordinates: str, sides: list[tuple[int, int, float]]) -> None:
    if state.labels:
        raise Unsayable("a bilinear resize of labels")
    if coordinates not in COORDINATES:
        raise Unsayable(f"a bilinear resize with coordinates {coordinates!r}")
    if coordinates == "pytorch_half_pixel" and any(m == 1 for _, m, _ in sides):
        raise Unsayable("a bilinear resize to one pixel")
    if coordinates != "align_corners" and any(abs(scale * n - m) > EXACT * m for n, m, scale in sides):
        raise Unsayable("a bilinear resize by a factor that is not output over input")
    close_pointwise(state)
    state.interpolation, state.coordinates = "bilinear", COORDINATES[coordinates]


def _argmax(state: State, step: Step) -> None:
    _over_classes(state, step)
    if step.attributes.get("last"):
        raise Unsayable("an argmax that prefers the last of equals")
    if step.attributes.get("smallest"):
        raise Unsayable("a TopK of the smallest")
    roles = list(state.roles)
    axis = step.attributes["axis"] % len(roles)
    roles[axis : axis + 1] = ["1"] if len(step.made) == len(step.given) else []
    state.roles, state.labels, state.pointwise = tuple(roles), True, "none"


RULES = {
    "identity": _identity,
    "cast": _cast,
    "reshape": _reshape,
    "transpose": _transpose,
    "softmax": _softmax,
    "logsoftmax": _logsoftmax,
    "sigmoid": _sigmoid,
    "resize": _resize,
    "argmax": _argmax,
}
