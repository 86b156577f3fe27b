"""How well a network labels whole frames, as a robot would see it: at the frame's own size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.batches import normalize
from edgeseg.data import Dataset
from edgeseg.errors import DataError
from edgeseg.measure.accuracy import Confusion
from edgeseg.pixels import resize

Triple = tuple[float, float, float]


def network_labels(
    network: nn.Module,
    dataset: Dataset,
    *,
    size_hw: tuple[int, int],
    mean: Triple,
    std: Triple,
    indices: Iterable[int] | None = None,
    device: str = "cpu",
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Labels uint8 (H, W) of each frame at its own size, and its truth: frame -> size_hw -> logits -> frame's size.

    The same path as Segmenter's, in torch.
    """
    network = network.to(device).eval()
    for i in range(len(dataset)) if indices is None else indices:
        sample = dataset[i]
        frame = sample.image if sample.image.shape[:2] == size_hw else resize(sample.image, size_hw)
        with torch.inference_mode():
            logits = network(normalize(frame[None], mean, std).to(device)).logits.float()
            logits = F.interpolate(logits, sample.image.shape[:2], mode="bilinear", align_corners=False)
            labels = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        yield labels, sample.mask


def confusion_of(
    network: nn.Module,
    dataset: Dataset,
    *,
    size_hw: tuple[int, int],
    mean: Triple,
    std: Triple,
    device: str = "cpu",
    each: Callable[[int, np.ndarray], None] = lambda i, labels: None,
) -> Confusion:
    """The confusion of a network over a labelled dataset; ``each`` is told every frame's number and labels.

    Raises DataError where a frame has no labels.
    """
    confusion = Confusion(len(dataset.classes))
    pairs = network_labels(network, dataset, size_hw=size_hw, mean=mean, std=std, device=device)
    for i, (labels, truth) in enumerate(pairs):
        if truth is None:
            raise DataError(f"{dataset.spec} has no labels for {dataset.names[i]}: mIoU needs a labelled split")
        confusion.add(labels, truth)
        each(i, labels)
    return confusion
