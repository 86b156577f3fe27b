"""Labels of what a network returned, as its contract says: the plain reference, every class enlarged in full."""

from __future__ import annotations

import numpy as np

from edgeseg import pixels
from edgeseg.contract import Contract


def labels_of(output: np.ndarray, contract: Contract) -> np.ndarray:
    """uint8 (H, W) at the contract's size, of logits float32 (1, K, h, w) or labels (1, H, W)."""
    if contract.output == "labels":
        return output[0].astype(np.uint8)
    return enlarge(output[0], contract, contract.activation)


def enlarge(logits: np.ndarray, contract: Contract, activation: str) -> np.ndarray:
    """uint8 (H, W) of logits float32 (K, h, w)."""
    if activation == "softmax":
        risen = np.exp(logits - logits.max(0))
        logits = risen / risen.sum(0)
    size_hw = contract.size_hw
    if logits.shape[1:] == size_hw:
        return logits.argmax(0).astype(np.uint8)
    if contract.interpolation == "nearest":
        rows, cols = (np.arange(m) * n // m for n, m in zip(logits.shape[1:], size_hw))
        return logits.argmax(0).astype(np.uint8)[rows[:, None], cols]
    if contract.coordinates == "half_pixel":
        return pixels.upsample_argmax(logits, size_hw)
    (y0, y1, fy), (x0, x1, fx) = (
        _neighbours(n, m, contract.coordinates) for n, m in zip(logits.shape[1:], size_hw, strict=True)
    )
    wide = logits[:, :, x0] * (1 - fx) + logits[:, :, x1] * fx  # (K, h, W)
    tall = wide[:, y0] * (1 - fy[:, None]) + wide[:, y1] * fy[:, None]  # (K, H, W)
    return tall.argmax(0).astype(np.uint8)


def _neighbours(size: int, out: int, coordinates: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper index and weight of the upper, per output position."""
    step = (size - 1) / max(out - 1, 1) if coordinates == "align_corners" else size / out
    at = np.arange(out, dtype=np.float32) * np.float32(step)
    lower = np.minimum(at.astype(np.int64), size - 1)
    return lower, np.minimum(lower + 1, size - 1), (at - lower).astype(np.float32)
