"""Pictures for a report: some frames, their truth, and what each network made of them, as PNGs and an index.

Several evaluations add to one folder: the teacher's, the student's and the engine's panels of a frame come to stand
side by side. ``panels.json`` lists them: ``{"kind": "panels", "panels": [{"frame", "role", "png"}]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeseg.data import Dataset
from edgeseg.measure import document
from edgeseg.pixels import colorize, overlay

FRAMES = 4
INDEX = "panels.json"


@contextmanager
def pictures(folder: Path | str | None, role: str, dataset: Dataset) -> Iterator[Callable[[int, np.ndarray], None]]:
    """What to call with each frame's number and labels; it draws nothing where there is no folder."""
    if folder is None:
        yield lambda i, labels: None
        return
    panels = Panels(Path(folder), role, dataset)
    yield panels
    panels.close()


class Panels:
    """Writes the panels of one evaluation: call it with each frame's number and labels, then ``close`` it."""

    def __init__(self, folder: Path, role: str, dataset: Dataset) -> None:
        self.folder, self.role, self.dataset = folder, role, dataset
        self.shown = set(np.linspace(0, len(dataset) - 1, min(FRAMES, len(dataset))).astype(int).tolist())
        self.written: list[dict[str, str]] = []

    def __call__(self, i: int, labels: np.ndarray) -> None:
        """Labels uint8 (H, W) of frame ``i``; kept if it is one of those shown."""
        if i not in self.shown:
            return
        sample, colors = self.dataset[i], self.dataset.colors
        self._write(sample.name, "frame", sample.image)
        if sample.mask is not None:
            self._write(sample.name, "truth", colorize(sample.mask, colors))
        self._write(sample.name, self.role, overlay(sample.image, labels, colors, alpha=0.65))

    def close(self) -> Path:
        """Add what was written to the folder's index, in place of older panels of the same frame and role."""
        index = self.folder / INDEX
        before = document.loads(index.read_text(), "panels")["panels"] if index.is_file() else []
        merged = {(p["frame"], p["role"]): p for p in [*before, *self.written]}
        document.write(index, document.dumps("panels", {"panels": list(merged.values())}))
        return index

    def _write(self, frame: str, role: str, picture: np.ndarray) -> None:
        from PIL import Image

        name = f"{frame.replace('/', '-')}-{role}.png"
        self.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(self.folder / name, optimize=True)
        self.written.append({"frame": frame, "role": role, "png": name})
