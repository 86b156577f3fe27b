"""A factory of ONNX models, and frames on disk for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from models import CLASSES, SIZE_HW, Build, pictures  # noqa: E402

Tail = Callable[[Build, str], str]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """``make(tail)``: a float NCHW model, stride 8, ending in what ``tail(build, logits)`` adds."""

    def build(
        tail: Tail = lambda b, x: x,
        *,
        strides: tuple[int, ...] = (2, 2, 2),
        opset: int = 17,
        size_hw: tuple[int, int] = SIZE_HW,
        name: str = "model.onnx",
    ) -> Path:
        b = Build(opset)
        out = tail(b, b.body("x", strides))
        return b.save(tmp_path / name, (np.float32, (1, 3, *size_hw)), [out] if isinstance(out, str) else list(out))

    return build


@pytest.fixture
def frames(tmp_path: Path) -> str:
    """The spec of a folder of frames."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(pictures(8)):
        image.fromarray(frame).save(folder / f"{i}.png")
    return f"images:{folder}"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A file of class names."""
    file = tmp_path / "classes.txt"
    file.write_text("".join(f"{name}\n" for name in CLASSES))
    return file
