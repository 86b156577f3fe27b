"""Both halves of the kernels, and a plain call of either."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseg.native import Kernels, twin

DEFAULTS: dict[str, Any] = {
    "channels_last": False,
    "coordinates": "half_pixel",
    "interpolation": "bilinear",
    "softmax": False,
    "window": (0, 0, 0, 0),
    "scale": 1.0,
}


@pytest.fixture(params=["compiled", "twin"], scope="session")
def kernels(request) -> Kernels:
    """Without a compiled module these tests fail: 'make native'."""
    if request.param == "twin":
        return twin
    from edgeseg.native import _kernels

    return _kernels


@pytest.fixture(scope="session")
def label(kernels):
    """``label(logits, size_hw, **options)`` -> labels; with ``confident=True`` labels and confidence."""

    def call(
        logits: np.ndarray, size_hw: tuple[int, int], *, confident: bool = False, **options: Any
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        labels = np.full(size_hw, 254, np.uint8)
        confidence = np.full(size_hw, -1, np.float32) if confident else None
        kernels.upsample_argmax(logits, labels, **DEFAULTS | options, confidence=confidence)
        return (labels, confidence) if confident else labels

    return call
