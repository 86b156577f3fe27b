"""No network at all: fixed logits at once, for measuring everything but the engine.

What ``null`` takes is the floor under every other target: preparing the frame and making the label map. Its answers are
wrong by design, so its measurements are INVALID by design.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeseg.backends import Layer, Plan, machine
from edgeseg.bundle import Bundle, Form
from edgeseg.target import Precision, Target

FORM: dict[Precision, Form] = {"fp32": "float", "bf16": "float", "fp16": "float", "int8": "float"}
LIBRARY = "null"


def build(bundle: Bundle, target: Target, out: Path) -> Path:
    """The shape of the logits is all there is to know."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "shape.json").write_text(json.dumps(bundle.contract.output_shape) + "\n")
    Plan(
        backend=target.backend,
        precision=target.precision,
        bundle_digest=bundle.digest,
        library=LIBRARY,
        machine=machine(),
    ).write(out)
    return out


def load(plan: Path, target: Target) -> NullEngine:
    Plan.open(plan, target, LIBRARY)
    return NullEngine(tuple(json.loads((plan / "shape.json").read_text())))


class NullEngine:
    library = LIBRARY
    threads = 1

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.logits = np.zeros(shape, np.float32)  # (1, K, h, w): every pixel a tie, so class 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.logits

    def layers(self) -> Sequence[Layer]:
        return []
