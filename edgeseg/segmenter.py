"""What a robot holds: a bundle opened for a target, called with frames, answering with label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeseg import backends, pixels
from edgeseg.backends import Engine
from edgeseg.bundle import Bundle
from edgeseg.contract import Contract
from edgeseg.plans import plan_of
from edgeseg.target import Precision, Target


class Segmenter:
    """``Segmenter.load("bundle", target="openvino")(frame)``: uint8 (H, W, 3) in, labels uint8 (H, W) out.

    The frame may have any size; its channels are in the contract's colour order. The three stages are there one by
    one, so that each can be timed: ``labels(infer(prepare(frame)), frame.shape[:2])``.
    """

    def __init__(self, bundle: Bundle, target: Target, engine: Engine) -> None:
        self.bundle, self.target, self.engine = bundle, target, engine

    @property
    def contract(self) -> Contract:
        return self.bundle.contract

    @classmethod
    def load(
        cls, bundle: Bundle | Path | str, target: Target | str, *, precision: Precision = "int8", threads: int = 0
    ) -> Segmenter:
        """Open a bundle's plan for the target, building it first where there is none.

        Raises PlanError where a plan was built for another bundle, library or machine; BackendMissing where the
        library is not installed.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.load(bundle)
        if isinstance(target, str):
            target = Target(backend=target, precision=precision, threads=threads)
        return cls(bundle, target, backends.get(target.backend).load(plan_of(bundle, target), target))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return self.labels(self.infer(self.prepare(frame)), (frame.shape[0], frame.shape[1]))

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> uint8 (1, h, w, 3); a frame of the contract's size is not copied."""
        return pixels.frame_to_input(frame, self.contract)

    def infer(self, given: np.ndarray) -> np.ndarray:
        """uint8 (1, h, w, 3) -> logits float32 (1, K, h', w'), valid until the next call."""
        return self.engine(given)

    def labels(self, logits: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """logits (1, K, h', w') -> uint8 (H, W)."""
        return pixels.upsample_argmax(logits[0], size_hw)
