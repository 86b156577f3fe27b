"""Where a model is cut at both ends, in words that every format's reader and writer share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from edgeseg.adopt.steps import Shape, Step
from edgeseg.contract import Contract
from edgeseg.errors import BackendMissing, UserError

SUFFIXES = (".onnx", ".xml")


class Port(NamedTuple):
    """A tensor of a model: its name in the reader's own way, shape and type."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Ends:
    """The tensors between which the network proper lies, and what is put before it.

    ``multiply * (pixels - subtract)``, float64 (3,) per channel at the head, is what the tensor ``head`` holds. Both
    layouts are NCHW or NHWC; that of the tail is "" where the model returns labels.
    """

    head: str
    head_layout: str
    subtract: np.ndarray
    multiply: np.ndarray
    tail: str
    tail_layout: str


class Model(Protocol):
    """A model of one format. ``suffix`` is that of the file it writes; ``engine`` the backend that runs it."""

    suffix: str
    engine: str

    @property
    def input(self) -> Port: ...
    @property
    def outputs(self) -> Sequence[Port]: ...
    def tensor(self, name: str) -> Port: ...
    def head(self) -> list[Step]: ...
    def tail(self, output: str) -> list[Step]: ...
    def write_original(self, output: str, file: Path) -> None: ...
    def write(self, ends: Ends, contract: Contract, file: Path) -> None: ...


def open_model(file: Path, size_hw: tuple[int, int] | None) -> Model:
    """Read a model; ``size_hw`` is for one that takes any size. Raises UserError naming what is in the way."""
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file} is neither ONNX (.onnx) nor OpenVINO IR (.xml): export the model to one of these")
    if not file.is_file():
        raise UserError(f"{file} does not exist: give the model's file")
    try:
        if file.suffix == ".onnx":
            from edgeseg.adopt.onnx_model import OnnxModel

            return OnnxModel(file, size_hw)
        from edgeseg.adopt.ir_model import IrModel

        return IrModel(file, size_hw)
    except ModuleNotFoundError as e:
        if (e.name or "").startswith("edgeseg"):
            raise
        raise BackendMissing(
            f"adopting {file.name} needs {e.name!r}, which is not installed: pip install 'edgeseg[adopt]'"
        ) from e


def fixed_shape(dims: Sequence[int | None], size_hw: tuple[int, int] | None) -> Shape:
    """The input's shape with nothing left open: a batch of one, three channels, and the size that was asked for.

    ``dims`` holds None where the model takes any number. Raises UserError where a size is missing or contradicted.
    """
    if len(dims) not in (3, 4):
        raise UserError(f"the model's input has {len(dims)} axes; expected (1, 3, H, W) or (1, H, W, 3)")
    shape, batch = list(dims), len(dims) - 3
    if batch and shape[0] not in (None, 1):
        raise UserError(f"the model takes {shape[0]} images at once: export it for a batch of one")
    shape[:batch] = [1] * batch
    last = shape[-1] == 3 and shape[batch] != 3
    channel, rows = (len(shape) - 1, batch) if last else (batch, batch + 1)
    if shape[channel] is None:
        shape[channel] = 3  # torch's exporter may leave even the channels open
    for axis, side in ((rows, 0), (rows + 1, 1)):
        n = shape[axis]
        if n is None and size_hw is None:
            raise UserError("the model takes images of any size: say which with --size HxW")
        if n is not None and size_hw is not None and n != size_hw[side]:
            raise UserError(
                f"the model is fixed to {shape[rows]}x{shape[rows + 1]}, --size says {size_hw[0]}x{size_hw[1]}: "
                "leave --size out, or export the model for that size"
            )
        shape[axis] = size_hw[side] if n is None and size_hw else n
    return tuple(int(n) for n in shape if n is not None)
