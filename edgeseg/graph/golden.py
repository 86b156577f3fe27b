"""Choosing golden frames: few, real, and such that an embedding mistake shows on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeseg.data import IGNORE, Dataset
from edgeseg.errors import DataError
from edgeseg.pixels import resize

FRAMES = 6
CANDIDATES = 24
CHANGED = 0.02  # share of labels that a mistake must change, on the mean of the frames

Labels = Callable[[np.ndarray], np.ndarray]  # uint8 frame (H, W, 3) -> labels (H, W)


def choose(dataset: Dataset, size_hw: tuple[int, int], labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (n, H, W, 3), RGB, and their truth uint8 (n, H, W), at the contract's size.

    From evenly spaced candidates, those on which the network gives the most classes. Raises DataError where a mirrored
    image, or one with red and blue swapped, would go unnoticed on them.
    """
    spaced = np.unique(np.linspace(0, len(dataset) - 1, min(CANDIDATES, len(dataset))).astype(int))
    frames, truths, answers = [], [], []
    for i in spaced:
        sample = dataset[int(i)]
        frames.append(sample.image if sample.image.shape[:2] == size_hw else resize(sample.image, size_hw))
        truths.append(_nearest(sample.mask, size_hw))
        answers.append(labels(frames[-1]))
    richest = sorted(range(len(frames)), key=lambda i: -len(np.unique(answers[i])))[:FRAMES]
    check_can_fail([frames[i] for i in richest], [answers[i] for i in richest], labels)
    return np.stack([frames[i] for i in richest]), np.stack([truths[i] for i in richest])


def check_can_fail(frames: list[np.ndarray], answers: list[np.ndarray], labels: Labels) -> None:
    mistakes = {
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
    return mask[rows[:, None], cols]
