"""A network of any framework in an ONNX file, through ONNX Runtime on the CPU, https://onnxruntime.ai."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeseg import backends
from edgeseg.errors import NetworkError
from edgeseg.foreign import Foreign, triple
from edgeseg.framing import Padded, Windowed
from edgeseg.outputs import Outputs

__all__ = ["onnx"]

MULTIPLE = 32
PROBE_HW = (2 * MULTIPLE, 3 * MULTIPLE)  # sides that tell channels from rows
ANSWERS = ("logits", "probabilities", "labels")
INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
LEAST = 1e-6
SURE = 0.99  # the probability of a label that comes without one


def onnx(
    where: str,
    *,
    mean: str = "",
    std: str = "",
    color: str = "rgb",
    output: str = "",
    answers: str = "",
    num_classes: str = "",
) -> Foreign:
    """A file with one image in, float or uint8, (N, 3, H, W) or (N, H, W, 3), of any size or of one.

    A float input needs ``mean`` and ``std``, of pixels / 255: "0" and "1" where the network normalises them itself.
    ``output`` names the output that is read, by default the first. Whether it holds logits, probabilities or labels is
    recognised, or told by ``answers``; labels need ``num_classes``, which they do not show.
    """
    file = Path(where)
    runtime: Any = backends.get("onnxruntime")
    inputs, outputs = runtime.tensors(file)
    names = [t.name for t in outputs]
    if len(inputs) != 1 or inputs[0].type not in INPUTS or len(inputs[0].shape) != 4:
        found = ", ".join(f"{t.name} {t.type} {t.shape}" for t in inputs)
        raise NetworkError(f"{file} must take one image, float or uint8, of four dimensions; it takes {found}")
    for what, value, allowed in (
        ("output", output or names[0], names),
        ("answers", answers or ANSWERS[0], ANSWERS),
        ("color", color, ("rgb", "bgr")),
    ):
        if value not in allowed:
            raise NetworkError(f"onnx: {what} must be one of {', '.join(allowed)}, got {value!r}")
    bytes_in = inputs[0].type == "tensor(uint8)"
    if not bytes_in and not (mean and std):
        raise NetworkError(
            f"{file} takes {inputs[0].type}: say how pixels / 255 are normalised, {file}?mean=0.485,0.456,0.406&std=… "
            "or, where the network does it itself, ?mean=0&std=1"
        )
    network = OnnxNetwork(
        runtime.plain(file, output or names[0]),
        inputs[0].shape,
        INPUTS[inputs[0].type],
        bgr=color == "bgr",
        faults=runtime.FAULTS,
    )
    network.recognise(str(file), answers, int(num_classes) if num_classes.isdecimal() else 0)
    return Foreign(
        network=Windowed(network, network.size_hw) if network.size_hw else Padded(network, MULTIPLE),
        mean=(0.0, 0.0, 0.0) if bytes_in else triple("mean", mean, (0.0, 0.0, 0.0)),
        std=(1.0, 1.0, 1.0) if bytes_in else triple("std", std, (1.0, 1.0, 1.0)),
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
    )


class OnnxNetwork(nn.Module):
    """The file as a module. ``size_hw`` is the one size of image that it takes, None where it takes any."""

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int | None, ...],
        dtype: type,
        *,
        bgr: bool,
        faults: tuple[type[Exception], ...],
    ) -> None:
        super().__init__()
        self.run, self.dtype, self.bgr, self.faults = run, dtype, bgr, faults
        self.rows_first = shape[3] == 3 and shape[1] != 3  # (N, H, W, 3)
        h, w = shape[1:3] if self.rows_first else shape[2:4]
        self.size_hw = (h, w) if h and w else None
        self.one_by_one = shape[0] is not None
        self.stride, self.answers, self.channels_last, self.num_classes = 1, ANSWERS[0], False, 0

    def recognise(self, file: str, answers: str, num_classes: int) -> None:
        """Run it once, on noise, and see what it answers. Raises NetworkError where that is unclear."""
        h, w = self.size_hw or PROBE_HW
        noise = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(0))
        found = self._answer(noise)
        whole = found.dtype.kind in "iub"
        if found.ndim == 3 or (1 in (found.shape[1], found.shape[-1]) and (whole or answers == "labels")):
            self.answers = "labels"
            maps = found.reshape(1, 1, *(n for n in found.shape[1:] if n != 1))
        else:
            maps = found
            fits = [_stride((h, w), sides) for sides in (found.shape[2:], found.shape[1:3])]
            if not any(fits):
                raise NetworkError(
                    f"{file}: expected (N, K, h, w), (N, h, w, K) or labels, got {found.shape} for {(h, w)}"
                )
            self.channels_last = not fits[0]
            maps = maps.transpose(0, 3, 1, 2) if self.channels_last else maps
            self.answers = answers or _kind(file, maps)
        if answers and answers != self.answers:
            raise NetworkError(f"{file} answers {found.dtype} {found.shape}: these are {self.answers}, not {answers}")
        if self.answers == "labels" and num_classes < 2:
            raise NetworkError(f"{file} answers labels, which do not show how many there are: add ?num_classes=19")
        self.stride = _stride((h, w), maps.shape[2:]) or 0
        self.num_classes = num_classes if self.answers == "labels" else maps.shape[1]
        if not self.stride:
            raise NetworkError(f"{file}: expected labels of an image of {(h, w)}, got {found.shape}")

    def forward(self, images: Tensor) -> Outputs:
        parts = images.split(1) if self.one_by_one else [images]
        found = torch.cat([torch.from_numpy(self._answer(part)) for part in parts]).to(images.device)
        if self.answers == "labels":
            n, h, w = len(found), -(-images.shape[2] // self.stride), -(-images.shape[3] // self.stride)
            return Outputs(self._surely(found.reshape(n, h, w).long()))
        logits = found.float().permute(0, 3, 1, 2) if self.channels_last else found.float()
        return Outputs(logits if self.answers == "logits" else logits.clamp_min(LEAST).log())

    def _answer(self, images: Tensor) -> np.ndarray:
        array = (images.flip(1) if self.bgr else images).detach().float().cpu().numpy()
        array = array.transpose(0, 2, 3, 1) if self.rows_first else array
        array = (array * 255).round().clip(0, 255) if self.dtype is np.uint8 else array
        try:
            return self.run(np.ascontiguousarray(array, self.dtype))
        except self.faults as e:
            raise NetworkError(f"the ONNX teacher does not run on {array.shape}: {str(e).splitlines()[0]}") from e

    def _surely(self, labels: Tensor) -> Tensor:
        """Logits (N, K, h, w) of labels (N, h, w); a label that is no class, such as 255, is for none of them."""
        known = (labels >= 0) & (labels < self.num_classes)
        hot = nn.functional.one_hot(labels.where(known, 0), self.num_classes).movedim(-1, 1) * known[:, None]
        return hot * (math.log(SURE) - math.log((1 - SURE) / (self.num_classes - 1)))


def _stride(size_hw: tuple[int, int], sides: tuple[int, ...]) -> int | None:
    """By how much the image is larger than a map of ``sides``, where it is so by one whole number."""
    if len(sides) != 2 or 0 in sides:
        return None
    stride = max(1, round(size_hw[0] / sides[0]))
    return stride if tuple(-(-n // stride) for n in size_hw) == tuple(sides) else None


def _kind(file: str, maps: np.ndarray) -> str:
    """Whether (1, K, h, w) are logits or probabilities."""
    if maps.min() < 0 or maps.max() > 1:
        return "logits"
    if np.abs(maps.astype(np.float64).sum(1) - 1).max() < 1e-2:
        return "probabilities"
    raise NetworkError(
        f"{file} answers numbers from 0 to 1 that do not sum to 1 over the classes: add ?answers=probabilities "
        "(each class by itself) or ?answers=logits"
    )
