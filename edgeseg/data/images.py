"""A folder of frames without labels: to distill on, to calibrate with, or to run a network over."""

from __future__ import annotations

from pathlib import Path

from edgeseg.data import Dataset, Frame, from_files, list_images

__all__ = ["images"]


def images(path: str, split: str, *, skip_bad: bool = False) -> Dataset:
    """Every image below ``PATH``, in every split: without labels, nothing has to be held back for scoring.

    Raises DataError where the folder is missing, or holds no image or a bad one.
    """
    root = Path(path)
    frames = [Frame(p.relative_to(root).with_suffix("").as_posix(), p, None) for p in list_images(root)]
    return from_files(f"images:{path}", split, frames, skip_bad=skip_bad)
