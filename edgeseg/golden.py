"""Choosing golden frames: few, real, and such that an embedding mistake shows on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeseg.contract import Contract
from edgeseg.data import IGNORE, Dataset, Sample
from edgeseg.errors import DataError
from edgeseg.native.twin import placement
from edgeseg.pixels import frame_to_input

FRAMES = 6
CANDIDATES = 24
CHANGED = 0.02  # share of labels that a mistake must change, on the mean of the frames

Labels = Callable[[np.ndarray], np.ndarray]  # uint8 frame (H, W, 3) -> labels (H, W)


def choose(dataset: Dataset, contract: Contract, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (n, H, W, 3) and their truth uint8 (n, H, W), in the contract's size and colour order.

    From evenly spaced candidates, those on which the network gives the most classes. Raises DataError where a mirrored
    image, or one with red and blue swapped, would go unnoticed on them.
    """
    frames, truths, answers = [], [], []
    for i in spaced(dataset, CANDIDATES):
        frame, truth = at_size(dataset[i], contract)
        frames.append(frame)
        truths.append(truth)
        answers.append(labels(frame))
    richest = sorted(range(len(frames)), key=lambda i: -len(np.unique(answers[i])))[:FRAMES]
    check_can_fail([frames[i] for i in richest], [answers[i] for i in richest], labels)
    return np.stack([frames[i] for i in richest]), np.stack([truths[i] for i in richest])


def spaced(dataset: Dataset, count: int) -> list[int]:
    """At most ``count`` numbers of samples, evenly spaced from the first to the last."""
    numbers: list[int] = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)).tolist()
    return numbers


def at_size(sample: Sample, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """A frame uint8 (H, W, 3) and its truth uint8 (H, W) as a contract's network sees them: size, fit, colour order."""
    frame = frame_to_input(sample.image, contract, color="rgb")[0]
    h, w = contract.size_hw
    top, left = 0, 0
    if contract.fit == "letterbox":
        top, left, h, w = placement(sample.image.shape[:2], contract.size_hw)
    truth = np.full(contract.size_hw, contract.ignore_label, np.uint8)
    truth[top : top + h, left : left + w] = _nearest(sample.mask, (h, w))
    truth[truth == IGNORE] = contract.ignore_label
    return frame, truth


def check_can_fail(frames: list[np.ndarray], answers: list[np.ndarray], labels: Labels) -> None:
    mistakes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "a mirrored image": lambda frame: frame[:, ::-1],
        "swapped red and blue": lambda frame: frame[..., ::-1],
    }
    for mistake, make in mistakes.items():
        changed = np.mean([np.mean(labels(make(f).copy()) != a) for f, a in zip(frames, answers, strict=True)])
        if changed < CHANGED:
            raise DataError(
                f"golden frames would not reveal {mistake}: only {changed:.1%} of the labels change (at least "
                f"{CHANGED:.0%} must); give --data with more varied frames, or train the network further"
            )


def _nearest(mask: np.ndarray | None, size_hw: tuple[int, int]) -> np.ndarray:
    if mask is None:
        return np.full(size_hw, IGNORE, np.uint8)
    rows, cols = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size_hw, mask.shape, strict=True))
    nearest: np.ndarray = mask[rows[:, None], cols]
    return nearest
