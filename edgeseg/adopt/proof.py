"""The original beside the network that was cut out of it: the same labels, and how much sooner."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg import backends
from edgeseg.adopt.recognise import Recognised
from edgeseg.contract import Contract
from edgeseg.errors import UserError
from edgeseg.pixels import labels_of
from edgeseg.target import Precision

TURNS, PER_TURN = 5, 2
PAUSE_S = 0.05  # the worker threads of one session spin for a while after their last frame and would slow the next

Run = Callable[[np.ndarray], np.ndarray]
Labels = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) in the contract's order -> labels uint8 (H, W)


@dataclass(frozen=True)
class Proof:
    """``agreement``: share of pixels with the same label, over ``frames``; the medians are from frame to labels."""

    agreement: float
    frames: int
    before_ms: float
    after_ms: float


def compare(before: Labels, after: Labels, frames: Sequence[np.ndarray]) -> Proof:
    """Label every frame with both, then time both in turns."""
    same = [float(np.mean(before(f) == after(f))) for f in frames]
    first, second = in_turns([before, after], frames)
    return Proof(float(np.mean(same)), len(frames), first, second)


def in_turns(subjects: Sequence[Labels], frames: Sequence[np.ndarray]) -> list[float]:
    """Median milliseconds of each: a few frames of one, then of the next, so that a disturbance meets all alike."""
    taken: list[list[float]] = [[] for _ in subjects]
    for turn in range(TURNS):
        for subject, times in zip(subjects, taken):
            time.sleep(PAUSE_S)
            subject(frames[turn % len(frames)])  # warm again
            for i in range(PER_TURN):
                frame = frames[(turn + i) % len(frames)]
                start = time.perf_counter_ns()
                subject(frame)
                times.append((time.perf_counter_ns() - start) / 1e6)
    return [float(np.median(times)) for times in taken]


def engine(library: str, graph: Path, precision: Precision = "fp32") -> Any:
    """A graph, opened without a plan: array in, first output out."""
    backend: Any = backends.get(library)
    if library == "openvino":
        return backend.OpenvinoEngine(graph, precision, 0)
    return backend.OnnxRuntimeEngine(graph, 0)


def untouched(library: str, model: Path) -> Run:
    """The model as it came, whatever it takes and returns."""
    backend: Any = backends.get(library)
    run: Run = backend.plain(model)
    return run


def adopted(run: Run, contract: Contract) -> Labels:
    """The network of a bundle: whole pixels in, labels made of its logits as the contract says."""
    return lambda frame: labels_of(run(np.ascontiguousarray(frame)[None]), contract.size_hw, contract)


def original(run: Run, found: Recognised) -> Labels:
    """The model as it came, fed as its own input wants it, and what it returns taken for labels."""
    swapped = found.contract.color != found.color
    layout, dtype = found.layout, found.input.dtype
    order = [{"H": 0, "W": 1, "C": 2}[axis] for axis in layout if axis != "N"]
    plain = bool(np.all(found.scale == 1) and np.all(found.shift == 0))

    def label(frame: np.ndarray) -> np.ndarray:
        image = frame[..., ::-1] if swapped else frame
        if not plain:
            image = image * found.scale.astype(np.float32) + found.shift.astype(np.float32)
        array = np.ascontiguousarray(image.transpose(order), dtype).reshape(found.input.shape)
        return understood(run(array), found)

    return label


def understood(output: np.ndarray, found: Recognised) -> np.ndarray:
    """Labels uint8 (H, W) of what the original returned: labels, or scores at any size."""
    size_hw = found.contract.size_hw
    if found.decoding is None:
        k = len(found.contract.classes)
        if output.max() >= k or output.min() < 0:
            raise UserError(
                f"the model answers labels from {output.min()} to {output.max()}, --classes lists {k}: list every "
                "class, in the order of the labels"
            )
        return output.reshape(size_hw).astype(np.uint8)
    meant: list[str] = [role for role in found.decoding.roles if role not in ("N", "1")]
    axes = tuple(i for i, role in enumerate(found.decoding.roles) if role in ("N", "1"))
    array = output.squeeze(axes)
    if found.decoding.returned == "labels":
        rows, cols = ((2 * np.arange(m) + 1) * n // (2 * m) for n, m in zip(array.shape, size_hw))
        labels: np.ndarray = array.astype(np.uint8)[rows[:, None], cols]
        return labels
    scores = np.ascontiguousarray(array.transpose([meant.index(r) for r in "KHW"]), np.float32)
    # What the contract has the label stage do to the coarse logits, the original has done to its scores.
    return labels_of(scores[None], size_hw, replace(found.contract, activation="none"))
