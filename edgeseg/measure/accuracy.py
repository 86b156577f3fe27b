"""How right a label map is: against the truth, and against another network's.

IoU as in the PASCAL VOC segmentation challenge (Everingham et al. 2010): one confusion matrix over all frames, not a
mean of frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgeseg.errors import ContractError, UserError
from edgeseg.measure import document


class Confusion:
    """Pixels counted by true class (rows) and given label (columns)."""

    def __init__(self, num_classes: int, ignore_label: int = 255) -> None:
        self.ignore_label = ignore_label
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def add(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """Count one frame: both uint8 (H, W); pixels whose truth is the ignore label are left out."""
        if labels.shape != truth.shape:
            raise ContractError(
                f"labels are {labels.shape}, the truth is {truth.shape}: give labels at the size of the truth"
            )
        k = len(self.matrix)
        known = truth != self.ignore_label
        given, true = labels[known].astype(np.int64), truth[known].astype(np.int64)
        for what, ids in (("labels", given), ("truth", true)):
            if ids.size and ids.max() >= k:
                raise ContractError(
                    f"{what} hold class {ids.max()}, there are {k} classes (0 to {k - 1}) and {self.ignore_label} for "
                    "unknown: check that the data and the network list the same classes"
                )
        self.matrix += np.bincount(true * k + given, minlength=k * k).reshape(k, k)

    @property
    def pixels(self) -> int:
        return int(self.matrix.sum())

    def iou(self) -> np.ndarray:
        """Float64 (K,): intersection over union, nan for a class that is neither in the truth nor in the labels."""
        hit = np.diag(self.matrix)
        union = self.matrix.sum(0) + self.matrix.sum(1) - hit
        return np.where(union > 0, hit / np.maximum(union, 1), np.nan)

    @property
    def miou(self) -> float:
        """Mean over the classes that occur, 0 to 1; nan before any pixel was counted."""
        return float(np.nanmean(self.iou())) if self.pixels else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        return float(np.trace(self.matrix)) / self.pixels if self.pixels else float("nan")


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pixels to which two label maps of one shape give the same label."""
    if a.shape != b.shape:
        raise ContractError(f"label maps of different shapes, {a.shape} and {b.shape}, cannot be compared")
    return float(np.mean(a == b))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How right one network, or one engine made from it, was on one split of a dataset.

    ``target`` is the backend and precision it ran in ("openvino-int8"; "torch-float" for the network itself).
    ``agreement`` is the share of pixels labelled as the reference network labels them. Shares are 0 to 1; a class
    that never occurred has no IoU.
    """

    name: str
    subject: Literal["network", "engine"]
    target: str
    precision: str
    miou: float
    per_class: Mapping[str, float | None]
    pixel_accuracy: float
    frames: int
    agreement: float | None = None
    bundle_digest: str | None = None
    data: str
    split: str

    def __post_init__(self) -> None:
        if self.subject not in ("network", "engine"):
            raise ContractError(f"subject must be 'network' or 'engine', got {self.subject!r}")
        shares = {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy, "agreement": self.agreement}
        for what, share in shares.items():
            if share is not None and not 0 <= share <= 1:
                raise ContractError(f"{what} is a share between 0 and 1, got {share}: were any pixels labelled?")

    @classmethod
    def of(cls, confusion: Confusion, classes: tuple[str, ...], **conditions: object) -> Evaluation:
        """The evaluation that a confusion matrix adds up to; ``conditions`` are the other fields."""
        per_class = {c: None if np.isnan(iou) else float(iou) for c, iou in zip(classes, confusion.iou(), strict=True)}
        return cls(
            miou=confusion.miou,
            pixel_accuracy=confusion.pixel_accuracy,
            per_class=per_class,
            **conditions,  # type: ignore[arg-type]
        )

    @property
    def backend(self) -> str:
        """Of "openvino-int8", "openvino"."""
        return self.target.rpartition("-")[0] or self.target

    def to_json(self) -> str:
        return document.dumps("evaluation", dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        fields = document.loads(text, "evaluation")
        del fields["kind"]
        try:
            return cls(**fields)
        except TypeError as e:
            raise UserError(f"not an evaluation this version of edgeseg can read: {e}") from e

    def write(self, path: Path) -> None:
        document.write(path, self.to_json())
