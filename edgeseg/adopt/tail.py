"""What stands behind a network's logits, and how much of it the label stage can say instead. Pure: no library.

A model from elsewhere often ends in softmax, a resize to the size of its input and an argmax. All that is said again,
at a fraction of the cost, by four words of a contract: activation, interpolation, coordinates, stride. A reader of a
format hands over the last operations as :class:`Step`; :func:`decode` finds the earliest point from which everything
that follows can be said in those words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeseg.adopt.rules import RULES, Role, State, Unsayable, close_pointwise, unknown
from edgeseg.adopt.steps import Shape, Step

LAYOUTS: dict[str, tuple[Role, ...]] = {"NCHW": ("N", "K", "H", "W"), "NHWC": ("N", "H", "W", "K")}


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
            except Unsayable as e:
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
    state = State(roles, hw)
    for step in steps[cut:]:
        RULES.get(step.op, unknown)(state, step)
    if state.interpolation is not None and state.hw != size_hw:
        raise Unsayable(f"a resize to {_x(state.hw)}, not to the input's {_x(size_hw)}")
    _check_end(state)
    interpolation = state.interpolation
    if interpolation is None:
        # Coarse labels are enlarged as they are; coarse scores, as they are returned.
        interpolation = "nearest" if state.labels and stride > 1 else "bilinear"
        if interpolation == "bilinear" and stride > 1:
            close_pointwise(state)
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
    raise Unsayable(f"maps of {_x(hw)} are no whole stride of the input's {_x(size_hw)}")


def _check_end(state: State) -> None:
    meant = [role for role in state.roles if role not in ("N", "1")]
    want = [["H", "W"]] if state.labels else [["K", "H", "W"], ["H", "W", "K"]]
    if meant not in want:
        raise Unsayable(f"axes that end as {', '.join(state.roles)}")


def labels_at(shape: Shape, size_hw: tuple[int, int]) -> bool:
    """Whether a tensor of this shape can be a label map of the input's size: all other axes are 1."""
    spatial = [n for n in shape if n > 1]
    return spatial == [n for n in size_hw if n > 1] and 2 <= len(shape) <= 4


def _x(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"
