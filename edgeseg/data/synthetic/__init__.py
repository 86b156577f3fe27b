"""Road scenes drawn by a program: a dataset that needs no download, for trying the chain and for tests.

Frame i of a split is a pure function of (seed, split, i, size). The scenes have what makes real ones hard: perspective,
occlusion, classes of similar colour, thin and rare ones, shadows, haze and sensor noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

import numpy as np

from edgeseg.data import Dataset, Sample
from edgeseg.data.synthetic.street import CLASSES, draw
from edgeseg.errors import DataError

__all__ = ["synthetic"]

SPLITS = ("train", "val", "test")
DEFAULTS = {"frames": "400", "size": "192x320", "seed": "0"}


def synthetic(path: str, split: str, *, skip_bad: bool = False) -> Dataset:
    """``street?frames=400&size=192x320&seed=0``: ``frames`` to train on, and a quarter as many in "val" and "test".

    Opened again, it is the same object, so that a chain of commands in one process draws each frame once. Nothing can
    be bad here, so ``skip_bad`` changes nothing. Raises DataError for an unknown scene, split or option.
    """
    return _open(path, split)


@lru_cache(maxsize=4)
def _open(path: str, split: str) -> Dataset:
    scene, _, query = path.partition("?")
    if scene != "street":
        raise DataError(f"no synthetic scene {scene!r}: edgeseg draws synthetic:street")
    if split not in SPLITS:
        raise DataError(f"synthetic:{path} has no split {split!r}, only {', '.join(SPLITS)}")
    options = {**DEFAULTS, **dict(parse_qsl(query, keep_blank_values=True))}
    if unknown := sorted(options.keys() - DEFAULTS.keys()):
        raise DataError(f"synthetic:street has no option {unknown[0]!r}, only {', '.join(DEFAULTS)}")
    frames, seed = _whole("frames", options["frames"], 1), _whole("seed", options["seed"], 0)
    height, _, width = options["size"].partition("x")
    size_hw = _whole("height", height, 32), _whole("width", width, 32)
    if split != "train":
        frames = max(1, frames // 4)
    return Dataset(
        spec=f"synthetic:{path}",
        split=split,
        classes=tuple(CLASSES),
        colors=tuple(CLASSES.values()),
        names=tuple(f"street-{split}-{i:05d}" for i in range(frames)),
        read=_Street(seed, split, size_hw),
    )


@dataclass(frozen=True)
class _Street:
    seed: int
    split: str
    size_hw: tuple[int, int]

    def __call__(self, i: int) -> Sample:
        image, mask = draw(np.random.default_rng((self.seed, SPLITS.index(self.split), i)), self.size_hw)
        return Sample(f"street-{self.split}-{i:05d}", image, mask)


def _whole(option: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise DataError(
            f"synthetic:street needs a whole number of at least {least} for {option}, got {text!r}: "
            "write synthetic:street?frames=200&size=192x320&seed=0"
        )
    return int(text)
