"""The kernels between camera, network and label map: compiled where there was a compiler, in numpy elsewhere.

They are C++ headers (``include/edgeseg/``, for C++ programs too) with a Python module over them, ``_kernels``, built by
pip or by ``make native``. :mod:`edgeseg.native.twin` says the same in numpy: tests compare the two, and where nothing
was built it runs. Neither says much about wrong arrays; :mod:`edgeseg.pixels` checks them first.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np

REMEDY = "install a C++ compiler, then: pip install --force-reinstall --no-deps edgeseg (in a clone: make native)"
Window = tuple[float, float, float, float]  # top, left, height, width in logits pixels; height and width 0: all


class NumpyKernels(UserWarning):
    """edgeseg's kernels run in numpy, many times slower than compiled."""


class Kernels(Protocol):
    """What ``_kernels`` and ``twin`` both are."""

    def upsample_argmax(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        *,
        channels_last: bool,
        coordinates: str,
        interpolation: str,
        softmax: bool,
        window: Window,
        scale: float,
        confidence: np.ndarray | None = None,
        frame: np.ndarray | None = None,
        palette: np.ndarray | None = None,
        alpha: float = 0.5,
        picture: np.ndarray | None = None,
    ) -> None:
        """Logits (K, h, w) or (h, w, K) -> labels uint8 (H, W); fills confidence and picture where they are given."""

    def frame_to_input(
        self, frame: np.ndarray, out: np.ndarray, *, swap_channels: bool, letterbox: bool, border: int
    ) -> None:
        """uint8 (H, W, 3), any strides -> uint8 (1, h, w, 3)."""

    def overlay(
        self, labels: np.ndarray, frame: np.ndarray, palette: np.ndarray, alpha: float, picture: np.ndarray
    ) -> None:
        """Labels (H, W) over a frame (H, W, 3), into picture (H, W, 3)."""


@functools.cache
def kernels() -> Kernels:
    """The compiled kernels, or their twin, of which a warning is given once."""
    from edgeseg.native import twin

    missing = why_not()
    if missing is None:
        from edgeseg.native import _kernels

        return _kernels
    warnings.warn(f"edgeseg's kernels run in numpy, many times slower: {missing}", NumpyKernels, stacklevel=3)
    return twin


@functools.cache
def why_not() -> str | None:
    """Why the kernels are not compiled, and what to do; None where they are."""
    try:
        importlib.import_module("edgeseg.native._kernels")
    except ModuleNotFoundError:
        return f"no compiled module was installed; {REMEDY}"
    except ImportError as e:  # built for another machine or Python
        return f"the compiled module does not load ({e}); {REMEDY}"
    return None


def include_dir() -> Path:
    """The folder of the headers: ``g++ -O3 -I$(edgeseg --include-dir)``, ``#include <edgeseg/upsample_argmax.hpp>``."""
    return Path(__file__).parent / "include"
