"""What a model from elsewhere does before and behind its network, and the contract that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseg.adopt import head as heads
from edgeseg.adopt import tail as tails
from edgeseg.adopt.ends import Ends, Model, Port
from edgeseg.adopt.steps import Step, in_words
from edgeseg.adopt.tail import Decoding
from edgeseg.contract import ColorOrder, Contract
from edgeseg.data import palette
from edgeseg.errors import UserError

Triple = tuple[float, float, float]
SILENT = {"identity", "cast", "reshape", "transpose"}  # nobody misses them in a sentence


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the caller says of a model, where its file does not.

    ``mean`` and ``std``: the model's input is ``(pixels / 255 - mean) / std``, channels in ``color`` order.
    """

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    mean: Triple | None = None
    std: Triple | None = None
    color: ColorOrder = "rgb"
    fit: Literal["stretch", "letterbox"] = "stretch"
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A model read: where it is cut, what its contract is, and how it is fed and understood as it was.

    ``scale`` and ``shift``, float64 (3,): the original's input per pixel value, its channels in ``color`` order.
    ``decoding`` is None where the model returns labels and does so in its own way.
    """

    contract: Contract
    ends: Ends
    input: Port
    layout: str
    output: Port
    color: ColorOrder
    scale: np.ndarray
    shift: np.ndarray
    decoding: Decoding | None
    cut: tuple[str, ...]
    left: str


def recognise(model: Model, wishes: Wishes) -> Recognised:
    """Read both ends. Raises UserError where the model returns no labels or logits, or its input is not explained."""
    port = model.input
    layout = heads.layout_of(port.shape)
    size_hw = (port.shape[layout.index("H")], port.shape[layout.index("W")])
    steps = model.head()
    found = heads.read(steps, port.shape)
    if found.layout not in ("NCHW", "NHWC"):
        raise UserError(f"the model's input {port.name!r} has {len(port.shape)} axes; expected (1, 3, H, W)")
    scale, shift = _outer(port, found, wishes)
    mean, std = heads.mean_std(found, scale, shift)
    output, tail, decoding, reasons = _output(model, wishes, size_hw)
    color = wishes.color if not found.reversed else ("bgr" if wishes.color == "rgb" else "rgb")
    k = len(wishes.classes)
    contract = Contract(
        size_hw=size_hw,
        classes=wishes.classes,
        colors=wishes.colors or palette(k),
        stride=decoding.stride if decoding else 1,
        color=color,
        mean=_triple(mean),
        std=_triple(std),
        ignore_label=255,
        fit=wishes.fit,
        output="logits" if decoding else "labels",
        output_name="logits" if decoding else "labels",
        activation=decoding.activation if decoding else "none",
        interpolation=decoding.interpolation if decoding else "nearest",
        coordinates=decoding.coordinates if decoding else "half_pixel",
    )
    ends = Ends(
        head=steps[found.cut - 1].result if found.cut else port.name,
        head_layout=found.layout,
        subtract=255 * mean,
        multiply=1 / (255 * std),
        tail=tail[decoding.cut].source if decoding and decoding.cut < len(tail) else output.name,
        tail_layout=decoding.layout if decoding else "",
    )
    kept = tail[: decoding.cut] if decoding else tail
    return Recognised(
        contract=contract,
        ends=ends,
        input=port,
        layout=layout,
        output=output,
        color=wishes.color,
        scale=scale,
        shift=shift,
        decoding=decoding,
        cut=(*_words(steps[: found.cut], head=True), *_words(tail[decoding.cut :] if decoding else ())),
        left=_left(kept, reasons),
    )


def _outer(port: Port, found: heads.Normalisation, wishes: Wishes) -> tuple[np.ndarray, np.ndarray]:
    """What the model's own input is per pixel value: factor and summand, float64 (3,) each."""
    if (wishes.mean is None) != (wishes.std is None):
        raise UserError("--mean and --std go together: (pixels / 255 - mean) / std is what the model takes")
    said = wishes.mean is not None and wishes.std is not None
    if port.dtype.kind in "ui":
        if said:
            raise UserError(
                f"the model takes whole pixels ({port.dtype}) and normalises them itself: leave --mean and --std out"
            )
        return np.ones(3), np.zeros(3)
    if said:
        std = np.asarray(wishes.std, np.float64)
        if np.any(std <= 0):
            raise UserError(f"--std must be positive, got {wishes.std}")
        return 1 / (255 * std), -np.asarray(wishes.mean, np.float64) / std
    guess = heads.pixel_scale(found)
    if guess is None:
        raise UserError(
            "the model takes floats, and nothing in it says how they come from pixels: say what it was trained with, "
            "such as --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, or --mean 0,0,0 --std 1,1,1 for pixels / 255"
        )
    return np.full(3, guess), np.zeros(3)


def _output(
    model: Model, wishes: Wishes, size_hw: tuple[int, int]
) -> tuple[Port, list[Step], Decoding | None, list[str]]:
    """The output to go by: the one that was asked for, or the first that can be labels or logits."""
    ports = list(model.outputs)
    if wishes.output is not None:
        ports = [p for p in ports if p.name == wishes.output]
        if not ports:
            names = ", ".join(p.name for p in model.outputs)
            raise UserError(f"the model has no output {wishes.output!r}; it has {names}")
    reasons: list[str] = []
    for port in ports:
        steps = model.tail(port.name)
        decoding, why = tails.decode(steps, port.shape, len(wishes.classes), size_hw)
        if decoding is not None:
            at = steps[decoding.cut].source if decoding.cut < len(steps) else port.name
            if model.tensor(at).dtype.kind == "f":
                return port, steps, decoding, why
        if port.dtype.kind in "ui" and tails.labels_at(port.shape, size_hw):
            _check_count(steps, len(wishes.classes))
            return port, steps, None, why
        reasons += why
    found = "; ".join(f"{p.name!r} is {p.dtype} {p.shape}" for p in ports)
    k = len(wishes.classes)
    remarks = f" ({'; '.join(reasons)})" if reasons else ""
    raise UserError(
        f"the model returns neither labels nor logits of {k} classes for its {size_hw[0]}x{size_hw[1]} input: "
        f"{found}{remarks}. Expected floats (1, {k}, h, w) or (1, h, w, {k}), h and w a whole stride of the input, or "
        f"integers (1, {size_hw[0]}, {size_hw[1]}): does --classes list every class, and is another --output meant?"
    )


def _check_count(steps: Sequence[Step], listed: int) -> None:
    """Labels do not say how many classes there are; the argmax that makes them does, where there is one in sight."""
    for step in steps:
        count = step.given[step.attributes["axis"]] if step.op == "argmax" else listed
        if count != listed:
            raise UserError(f"the model tells {count} classes apart, --classes lists {listed}: list each, in its order")


def _words(steps: Sequence[Step], head: bool = False) -> list[str]:
    if head:
        return ["normalisation"] if any(s.op in ("affine", "reverse") for s in steps) else []
    return [in_words(s) for s in steps if s.op not in SILENT]


def _left(kept: Sequence[Step], reasons: Sequence[str]) -> str:
    """What stays in the graph though it looks like a tail, and why; "" where nothing does."""
    words = [in_words(s) for s in kept if s.op not in SILENT]
    if not words:
        return ""
    return f"left {', '.join(words)} in the graph" + (f" ({'; '.join(reasons)})" if reasons else "")


def _triple(values: np.ndarray) -> Triple:
    a, b, c = (round(float(v), 9) for v in values)
    return a, b, c
