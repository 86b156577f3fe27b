"""Who will read a graph: an engine and its version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeseg.errors import UserError

DEFAULT_VERSION = "10"  # of TensorRT: what JetPack 6.1 and later carry, and most servers
RTX_VERSION = (1, 7)  # the one that the table was compared with
TARGETS = ("trt", "trt-rtx", "openvino", "onnxruntime")
NAMES = {"trt": "TensorRT", "trt-rtx": "TensorRT-RTX", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


@dataclass(frozen=True)
class Reader:
    """An engine before a graph. ``10`` stands for 10.0: what it reads, every later 10 reads."""

    target: str
    version: tuple[int, int] = (0, 0)
    dla: bool = False

    @property
    def name(self) -> str:
        version = f" {self.version[0]}.{self.version[1]}" if any(self.version) else ""
        return f"{NAMES[self.target]}{version}{' with DLA' if self.dla else ''}"

    @property
    def tensorrt(self) -> bool:
        return self.target in ("trt", "trt-rtx")

    @property
    def typed(self) -> bool:
        """Whether the types in the graph decide what is computed in; TensorRT 8.6 is told by builder flags."""
        return self.target == "trt-rtx" or (self.target == "trt" and self.version >= (10, 0))

    def before(self, *version: int) -> bool:
        """Whether this is a TensorRT older than ``version``; TensorRT-RTX counts as newer than all of them."""
        return self.target == "trt" and self.version < version


def readers(target: str, versions: Sequence[str] = (), dla: bool = False) -> list[Reader]:
    """The readers that a target and its ``--trt-version`` stand for. Raises UserError for what does not go together."""
    if target not in TARGETS:
        raise UserError(f"no checks for target {target!r}; there are: {', '.join(TARGETS)}")
    if target != "trt":
        if versions or dla:
            flag = "--trt-version" if versions else "--dla"
            raise UserError(f"{flag} belongs to --target trt, not to {target}: leave it out")
        return [Reader(target, RTX_VERSION if target == "trt-rtx" else (0, 0))]
    return [Reader(target, _version(text), dla) for text in versions or (DEFAULT_VERSION,)]


def _version(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?(?:\.\d+)*", text)
    version = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if version < (8, 6):
        raise UserError(f"--trt-version expects a TensorRT from 8.6 on, such as 8.6, 10, 10.3 or 11, got {text!r}")
    return version
