"""What goes into a segmentation network and what comes out, readable without torch and from C++."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from edgeseg.errors import ContractError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ColorOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The promise a bundle makes to the program that embeds it.

    The network takes pixels as they are, uint8 (1, H, W, 3), channels in ``color`` order, and
    returns float32 logits (1, K, H / stride, W / stride); inside it normalises them to
    ``(pixels / 255 - mean) / std``, as it was trained. The label of a
    pixel is the argmax after ``activation`` and then upsampling to (H, W) by ``interpolation``,
    with pixel centres as ``coordinates`` says. Where ``output`` is "labels" the network does all
    that itself and returns integers (1, H, W).

    A frame of another size is resized to (H, W); where ``fit`` is "letterbox" it keeps its
    shape, is centred, and ``border`` fills the rest.
    """

    size_hw: tuple[int, int]
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]  # RGB, one per class, for overlays
    stride: int = 8
    color: ColorOrder = "rgb"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    ignore_label: int = 255
    input_name: str = "image"
    output_name: str = "logits"
    fit: Literal["stretch", "letterbox"] = "stretch"
    border: int = 114
    output: Literal["logits", "labels"] = "logits"
    activation: Literal["none", "softmax"] = "none"
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    coordinates: Literal["half_pixel", "align_corners", "asymmetric"] = "half_pixel"

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ContractError(f"expected 1 to 255 classes (labels are uint8), got {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ContractError(f"class names must be unique, got {list(self.classes)}")
        if len(self.colors) != len(self.classes):
            raise ContractError(f"expected {len(self.classes)} colours, one per class, got {len(self.colors)}")
        if not len(self.classes) <= self.ignore_label <= 255:
            raise ContractError(
                f"ignore_label={self.ignore_label} must not be a class and must fit in uint8: "
                f"pick a value from {len(self.classes)} to 255"
            )
        for field, choices in CHOICES.items():
            if (value := getattr(self, field)) not in choices:
                raise ContractError(f"{field} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        if not 0 <= self.border <= 255:
            raise ContractError(f"border is a grey value from 0 to 255, got {self.border}")
        if self.output == "labels" and self.stride != 1:
            raise ContractError(f"a network that returns labels returns one per pixel, got stride {self.stride}")
        if min(self.size_hw) < self.stride:
            raise ContractError(f"size {self.size_hw} is smaller than the network's stride {self.stride}")

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (1, *self.size_hw, 3)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Shape of the logits: strided convolutions round up."""
        h, w = (-(-n // self.stride) for n in self.size_hw)
        return (1, len(self.classes), h, w)

    def check_frame(self, frame: np.ndarray) -> None:
        """A camera frame: uint8 (H, W, 3) of any size, contiguous or not."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise ContractError(
                f"expected a uint8 frame (H, W, 3) in {self.color.upper()} order, got {frame.dtype} {frame.shape}: "
                "convert grey or alpha frames before the call"
            )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Contract:
        try:
            raw: dict[str, Any] = json.loads(text)
            fields = {k: _tuples(v) for k, v in raw.items()}
            return cls(**fields)
        except (json.JSONDecodeError, TypeError, AttributeError) as e:
            raise ContractError(f"not a contract this version of edgeseg can read: {e}") from e


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(hint) for name, hint in get_type_hints(Contract).items() if get_origin(hint) is Literal
}
