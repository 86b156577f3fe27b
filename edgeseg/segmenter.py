"""What a robot holds: a bundle opened for a target, called with frames, answering with label maps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgeseg import backends, pixels
from edgeseg.backends import Engine
from edgeseg.bundle import Bundle
from edgeseg.contract import ColorOrder, Contract
from edgeseg.plans import plan_of
from edgeseg.target import Precision, Target


class Segmenter:
    """``Segmenter.load("bundle", target="openvino")(frame)``: uint8 (H, W, 3) in, labels uint8 (H, W) out.

    The frame may have any size and strides; its channels are in the contract's order, or in the ``color`` that was
    given. The three stages are there one by one, so that each can be timed:
    ``labels(infer(prepare(frame)), frame.shape[:2])``.

    Nothing is allocated for a frame once the first of its size has passed. A contiguous frame of the contract's size is
    read where it lies. A label map is the caller's for as long as the caller holds it: its memory is used again for a
    later frame only when nobody refers to it any more. One segmenter serves one thread.
    """

    def __init__(self, bundle: Bundle, target: Target, engine: Engine, *, color: ColorOrder | None = None) -> None:
        self.bundle, self.target, self.engine, self.color = bundle, target, engine, color
        # An engine on a GPU has page-locked memory that a frame can be prepared in; it then needs no second copy.
        own: np.ndarray | None = getattr(engine, "pinned", None)
        self._input = np.empty(bundle.contract.input_shape, np.uint8) if own is None else own
        self._maps = Pool()

    @property
    def contract(self) -> Contract:
        return self.bundle.contract

    @classmethod
    def load(
        cls,
        bundle: Bundle | Path | str,
        target: Target | str,
        *,
        precision: Precision = "int8",
        threads: int = 0,
        color: ColorOrder | None = None,
    ) -> Segmenter:
        """Open a bundle's plan for the target, building it first where there is none.

        ``color`` is the order of the frames' channels, "rgb" or "bgr", where it is not the contract's.

        Raises PlanError where a plan was built for another bundle, library or machine; BackendMissing where the
        library is not installed.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.load(bundle)
        if isinstance(target, str):
            target = Target(backend=target, precision=precision, threads=threads)
        engine = backends.get(target.backend).load(plan_of(bundle, target), target)
        return cls(bundle, target, engine, color=color)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return self.labels(self.infer(self.prepare(frame)), (frame.shape[0], frame.shape[1]))

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> uint8 (1, h, w, 3), valid until the next call; not copied where it fits as it is."""
        return pixels.frame_to_input(frame, self.contract, self._input, color=self.color)

    def infer(self, given: np.ndarray) -> np.ndarray:
        """uint8 (1, h, w, 3) -> logits float32 (1, K, h', w'), valid until the next call."""
        return self.engine(given)

    def labels(self, logits: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """What the engine returned -> uint8 (H, W)."""
        return pixels.labels_of(logits, size_hw, self.contract, self._maps.take(size_hw))

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Label maps of frames, in their order, two frames in flight: more of them per second, each a little later.

        While the engine is at one frame, the caller's thread makes the map of the one before and takes the next.
        Frames are copied when they are taken, so a camera may use its buffer again at once.
        """
        inputs = [np.empty_like(self._input) for _ in range(2)]
        kept: list[np.ndarray | None] = [None, None]

        def infer(slot: int) -> np.ndarray:
            logits = self.engine(inputs[slot])
            if kept[slot] is None:
                kept[slot] = np.empty_like(logits)  # in the engine's order of memory
            mine = kept[slot]
            assert mine is not None
            np.copyto(mine, logits)  # the engine's own is overwritten by the next frame
            return mine

        with ThreadPoolExecutor(1, thread_name_prefix="edgeseg-engine") as engine:
            waiting: tuple[Future[np.ndarray], tuple[int, int]] | None = None
            for i, frame in enumerate(frames):
                slot = i % 2
                pixels.frame_to_input(frame, self.contract, inputs[slot], color=self.color, copy=True)
                started = engine.submit(infer, slot)
                if waiting is not None:
                    yield self.labels(waiting[0].result(), waiting[1])
                waiting = started, (frame.shape[0], frame.shape[1])
            if waiting is not None:
                yield self.labels(waiting[0].result(), waiting[1])


class Pool:
    """Label maps that are used again once nobody holds them.

    A map is free when nothing but this pool refers to it; an array that views it refers to it too. So a caller who
    keeps every map gets a new one each time, and one who drops them causes no allocation.
    """

    KEPT = 4  # more are not needed by one who drops them

    def __init__(self) -> None:
        self.maps: list[np.ndarray] = []

    def take(self, size_hw: tuple[int, int]) -> np.ndarray:
        """uint8 (H, W), its contents whatever they were."""
        if self.maps and self.maps[0].shape != size_hw:
            self.maps.clear()
        for i in range(len(self.maps)):
            if references(self.maps, i) == HELD_ONCE:
                return self.maps[i]
        fresh = np.empty(size_hw, np.uint8)
        if len(self.maps) < self.KEPT:
            self.maps.append(fresh)
        return fresh


def references(maps: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(maps[i])


HELD_ONCE = references([np.empty(0)], 0)  # what the list, and the counting itself, come to
