"""What stands behind a network's logits, and how much of it the label stage can say instead. Pure: no library.

A model from elsewhere often ends in softmax, a resize to the size of its input and an argmax. All that is said again,
at a fraction of the cost, by four words of a contract: activation, interpolation, coordinates, stride. A reader of a
format hands over the last operations as :class:`Step`; :func:`decode` finds the earliest point from which everything
that follows can be said in those words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Shape = tuple[int, ...]
Role = Literal["N", "K", "H", "W", "1"]  # batch, classes, rows, columns, an axis of size 1 without meaning
LAYOUTS: dict[str, tuple[Role, ...]] = {"NCHW": ("N", "K", "H", "W"), "NHWC": ("N", "H", "W", "K")}
COORDINATES = {
    "half_pixel": "half_pixel",
    "half_pixel_symmetric": "half_pixel",  # differs only where scale times size is no whole number: refused below
    "pytorch_half_pixel": "half_pixel",  # differs only where an output side is 1: refused below
    "align_corners": "align_corners",
    "asymmetric": "asymmetric",
}
EXACT = 1e-4  # pixels by which scale * size may miss the output's size: exporters write scales as float32


@dataclass(frozen=True)
class Step:
    """One operation with one tensor in and one out; ``source`` and ``result`` name them in the reader's own way.

    ``op`` is one of identity, cast (``to``: a numpy name), reshape (also squeeze and unsqueeze), transpose (``perm``),
    softmax, logsoftmax (``axis``), sigmoid, argmax (``axis``, ``last``: the higher index wins a tie), and resize
    (``mode``, ``coordinates``, ``rounding``, ``scales``: one per axis, ``antialias``). Anything else is unknown.
    In front of a network there are also affine (``scale``, ``shift``: arrays that broadcast) and reverse (``axis``).
    """

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    given: Shape = ()
    made: Shape = ()
    source: str = ""
    result: str = ""


@dataclass(frozen=True)
class Decoding:
    """How labels are made of a tensor: ``steps[cut:]`` in the words of a contract.

    ``layout`` is the tensor's at the cut; ``returned`` what the whole model returns: "logits" (scores of any kind) or
    "labels", with ``roles`` for the axes.
    """

    cut: int
    layout: str
    hw: tuple[int, int]
    stride: int
    activation: Literal["none", "softmax"]
    interpolation: Literal["bilinear", "nearest"]
    coordinates: Literal["half_pixel", "align_corners", "asymmetric"]
    returned: Literal["logits", "labels"]
    roles: tuple[Role, ...]


class _No(Exception):
    """Not sayable from this point; the message says why."""


@dataclass
class _State:
    """What is known of a tensor on the way from the cut to the end."""

    roles: tuple[Role, ...]
    hw: tuple[int, int]
    pointwise: Literal["none", "softmax", "other"] = "none"  # over classes, since the cut or the resize
    activation: Literal["none", "softmax"] = "none"
    interpolation: Literal["bilinear", "nearest"] | None = None
    coordinates: str = "half_pixel"
    labels: bool = False


def decode(
    steps: Sequence[Step], shape: Shape, classes: int, size_hw: tuple[int, int]
) -> tuple[Decoding | None, list[str]]:
    """The decoding with the earliest cut, and why no earlier one will do.

    ``steps`` lead to the model's output, of ``shape``; ``classes`` and ``size_hw`` (of the model's input) tell the axes
    apart. None where not even the output itself is a map of logits.
    """
    reasons: list[str] = []
    for cut in range(len(steps) + 1):
        given = steps[cut].given if cut < len(steps) else shape
        for layout in _layouts(given, classes):
            try:
                return _simulate(steps, cut, given, layout, size_hw), reasons
            except _No as e:
                if str(e) not in reasons:
                    reasons.append(str(e))
    return None, reasons


def _layouts(shape: Shape, classes: int) -> list[str]:
    if len(shape) != 4 or shape[0] != 1 or 0 in shape:
        return []
    return [name for name, roles in LAYOUTS.items() if shape[roles.index("K")] == classes]


def _simulate(steps: Sequence[Step], cut: int, shape: Shape, layout: str, size_hw: tuple[int, int]) -> Decoding:
    roles = LAYOUTS[layout]
    hw = (shape[roles.index("H")], shape[roles.index("W")])
    stride = stride_of(hw, size_hw)
    state = _State(roles, hw)
    for step in steps[cut:]:
        _RULES.get(step.op, _unknown)(state, step)
    if state.interpolation is not None and state.hw != size_hw:
        raise _No(f"a resize to {_x(state.hw)}, not to the input's {_x(size_hw)}")
    _check_end(state)
    interpolation = state.interpolation
    if interpolation is None:
        # Coarse labels are enlarged as they are; coarse scores, as they are returned.
        interpolation = "nearest" if state.labels and stride > 1 else "bilinear"
        if interpolation == "bilinear" and stride > 1:
            _close_pointwise(state)
    return Decoding(
        cut=cut,
        layout=layout,
        hw=hw,
        stride=stride,
        activation=state.activation,
        interpolation=interpolation,
        coordinates=state.coordinates,  # type: ignore[arg-type]
        returned="labels" if state.labels else "logits",
        roles=state.roles,
    )


def stride_of(hw: tuple[int, int], size_hw: tuple[int, int]) -> int:
    """The whole number of pixels per logit; as strided convolutions have it, sides are rounded up."""
    for stride in range(max(1, size_hw[0] // max(hw[0], 1)), size_hw[0] + 1):
        if tuple(-(-n // stride) for n in size_hw) == hw:
            return stride
        if -(-size_hw[0] // stride) < hw[0]:
            break
    raise _No(f"maps of {_x(hw)} are no whole stride of the input's {_x(size_hw)}")


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
        raise _No(f"a nearest resize with coordinates {coordinates!r}")
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
        raise _No(f"a nearest resize that rounds by {rounding!r}")
    index: np.ndarray = np.clip(rounded[rounding](at), 0, size - 1).astype(np.int64)
    return index


# One rule per operation: the state after it, or why the contract has no word for it.


def _unknown(state: _State, step: Step) -> None:
    raise _No(f"{step.op} is none of the operations a label stage knows")


def _identity(state: _State, step: Step) -> None:
    pass


def _cast(state: _State, step: Step) -> None:
    to = np.dtype(step.attributes["to"])
    if not state.labels and to not in (np.float32, np.float64):
        raise _No(f"a cast of scores to {to}")
    if state.labels and to == np.bool_:
        raise _No("a cast of labels to bool")


def _reshape(state: _State, step: Step) -> None:
    kept = [role for role, n in zip(state.roles, step.given, strict=True) if n > 1]
    if [n for n in step.given if n > 1] != [n for n in step.made if n > 1]:
        raise _No(f"a reshape from {step.given} to {step.made}")
    left = iter(kept)
    state.roles = tuple(next(left) if n > 1 else "1" for n in step.made)


def _transpose(state: _State, step: Step) -> None:
    state.roles = tuple(state.roles[i] for i in step.attributes["perm"])


def _over_classes(state: _State, step: Step) -> None:
    axis = step.attributes["axis"] % len(state.roles)
    if state.labels or state.roles[axis] != "K":
        raise _No(f"{step.op} over another axis than the classes'")


def _softmax(state: _State, step: Step) -> None:
    _over_classes(state, step)
    state.pointwise = "softmax" if state.pointwise == "none" else "other"


def _logsoftmax(state: _State, step: Step) -> None:
    """Takes the same number from every class of a pixel, and interpolation the same mean of such numbers."""
    _over_classes(state, step)


def _sigmoid(state: _State, step: Step) -> None:
    if state.labels:
        raise _No("a sigmoid of labels")
    state.pointwise = "other"  # rises with its argument, so that argmax does not see it; a mean of it does


def _close_pointwise(state: _State) -> None:
    """The values so far are going to be averaged, and what was done to each alone can be left out no longer."""
    if state.pointwise == "other":
        raise _No("a bilinear resize behind something other than softmax")
    state.activation, state.pointwise = state.pointwise, "none"


def _resize(state: _State, step: Step) -> None:
    a = step.attributes
    if state.interpolation is not None:
        raise _No("two resizes, one behind the other")
    changed = {state.roles[i] for i, (n, m) in enumerate(zip(step.given, step.made, strict=True)) if n != m}
    if not changed <= {"H", "W"} or not {"H", "W"} <= set(state.roles):
        raise _No("a resize of other axes than rows and columns")
    if a.get("antialias"):
        raise _No("a resize with antialiasing")
    axes = [state.roles.index("H"), state.roles.index("W")]
    sides = [(step.given[i], step.made[i], float(a["scales"][i])) for i in axes]
    if any(m < n for n, m, _ in sides):
        raise _No("a resize that shrinks")
    if a["mode"] == "nearest":
        state.interpolation, state.coordinates = "nearest", _nearest(a["coordinates"], a["rounding"], sides)
    elif a["mode"] == "linear":
        _linear(state, a["coordinates"], sides)
    else:
        raise _No(f"a {a['mode']} resize")
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
    raise _No("a nearest resize that takes other pixels than the nearest or the one before")


def _linear(state: _State, coordinates: str, sides: list[tuple[int, int, float]]) -> None:
    if state.labels:
        raise _No("a bilinear resize of labels")
    if coordinates not in COORDINATES:
        raise _No(f"a bilinear resize with coordinates {coordinates!r}")
    if coordinates == "pytorch_half_pixel" and any(m == 1 for _, m, _ in sides):
        raise _No("a bilinear resize to one pixel")
    if coordinates != "align_corners" and any(abs(scale * n - m) > EXACT * m for n, m, scale in sides):
        raise _No("a bilinear resize by a factor that is not output over input")
    _close_pointwise(state)
    state.interpolation, state.coordinates = "bilinear", COORDINATES[coordinates]


def _argmax(state: _State, step: Step) -> None:
    _over_classes(state, step)
    if step.attributes.get("last"):
        raise _No("an argmax that prefers the last of equals")
    if step.attributes.get("smallest"):
        raise _No("a TopK of the smallest")
    roles = list(state.roles)
    axis = step.attributes["axis"] % len(roles)
    roles[axis : axis + 1] = ["1"] if len(step.made) == len(step.given) else []
    state.roles, state.labels, state.pointwise = tuple(roles), True, "none"


_RULES = {
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


def _check_end(state: _State) -> None:
    meant = [role for role in state.roles if role not in ("N", "1")]
    want = [["H", "W"]] if state.labels else [["K", "H", "W"], ["H", "W", "K"]]
    if meant not in want:
        raise _No(f"axes that end as {', '.join(state.roles)}")


def labels_at(shape: Shape, size_hw: tuple[int, int]) -> bool:
    """Whether a tensor of this shape can be a label map of the input's size: all other axes are 1."""
    spatial = [n for n in shape if n > 1]
    return spatial == [n for n in size_hw if n > 1] and 2 <= len(shape) <= 4


def in_words(step: Step) -> str:
    """``Resize x8 linear``; ``Softmax``."""
    if step.op != "resize":
        return {"argmax": "ArgMax", "logsoftmax": "LogSoftmax"}.get(step.op, step.op.capitalize())
    factors = sorted({round(m / n, 3) for n, m in zip(step.given, step.made, strict=True) if n != m})
    by = f" x{factors[0]:g}" if len(factors) == 1 else f" to {'x'.join(map(str, step.made))}"
    return f"Resize{by} {step.attributes['mode']}"


def _x(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"
