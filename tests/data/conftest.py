"""Small image and mask files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., np.ndarray]


@pytest.fixture
def write_image() -> Write:
    """Writes a noisy RGB frame and returns it."""

    def write(path: Path, size_hw: tuple[int, int] = (6, 8)) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size_hw, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    return write


@pytest.fixture
def write_mask() -> Write:
    """Writes a mask whose pixels take the given ids in turn, and returns it."""

    def write(path: Path, ids: list[int], size_hw: tuple[int, int] = (6, 8), palette: bool = False) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.resize(np.array(ids, np.uint8), size_hw)
        image = Image.fromarray(mask)
        if palette:
            image = image.copy()
            image.putpalette([7 * i % 256 for i in range(768)])
            assert image.mode == "P"
        image.save(path)
        return mask

    return write
