"""How well the outlines of a label map follow the true ones.

The boundary F1 score of Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?",
BMVC 2013, section 2.3: per class, precision is the share of the given boundary that has true boundary within a
tolerance, recall the share of the true one that has given boundary within it. mIoU hardly sees outlines, since most
pixels lie inside; a network or a shortcut that blurs or steps them shows here.
"""

from __future__ import annotations

import numpy as np

from edgeseg.errors import ContractError

TOLERANCE = 0.0075  # of the image's diagonal, as the paper has it


def boundary_f1(labels: np.ndarray, truth: np.ndarray, num_classes: int, ignore_label: int = 255) -> float:
    """Mean F1, 0 to 1, over the classes in either map, both uint8 (H, W); nan where no class has a boundary.

    Pixels whose truth is the ignore label are made equal in both maps, and count as no class.
    """
    if labels.shape != truth.shape:
        raise ContractError(f"labels are {labels.shape}, the truth is {truth.shape}: give both at one size")
    given = np.where(truth == ignore_label, ignore_label, labels)
    radius = max(1.0, TOLERANCE * float(np.hypot(*truth.shape)))
    scores = []
    for c in range(num_classes):
        ours, theirs = outline(given == c), outline(truth == c)
        if ours.any() or theirs.any():
            precision, recall = _met(ours, grown(theirs, radius)), _met(theirs, grown(ours, radius))
            scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else float("nan")


def _met(edge: np.ndarray, near: np.ndarray) -> float:
    """Share of an outline that lies near another."""
    return float(np.count_nonzero(edge & near) / max(int(np.count_nonzero(edge)), 1))


def outline(mask: np.ndarray) -> np.ndarray:
    """Pixels (H, W) of a mask with a neighbour, above, below, left or right, that is not in it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    edge: np.ndarray = mask & ~inside
    return edge


def grown(mask: np.ndarray, radius: float) -> np.ndarray:
    """Pixels (H, W) within a radius of one in the mask."""
    reach = int(radius)
    h, w = mask.shape
    wide = np.pad(mask, reach)
    near = np.zeros_like(mask)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= radius * radius:
                near |= wide[reach + dy : reach + dy + h, reach + dx : reach + dx + w]
    return near
