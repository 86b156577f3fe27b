"""The segmentation networks of torchvision: FCN, DeepLabV3, LR-ASPP.

https://docs.pytorch.org/vision/stable/models.html#semantic-segmentation.
"""

from __future__ import annotations

import operator
from pathlib import Path
from urllib.error import URLError

from edgeseg.errors import NetworkError
from edgeseg.foreign import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Foreign,
    Reading,
    fill,
    num_classes_of,
    read_weights,
    triple,
)

__all__ = ["torchvision"]

CLASSIFIERS = ("classifier.4.weight", "classifier.low_classifier.weight")
PROBE_HW = (64, 64)


def torchvision(where: str, *, mean: str = "", std: str = "") -> Foreign:
    """``NAME``, with torchvision's own weights (21 classes of Pascal VOC, downloaded), or ``NAME:WEIGHTS``, where
    WEIGHTS is a ``state_dict`` in a file or the name of one of its sets of weights.

    Class names come with torchvision's own weights alone. ``mean`` and ``std`` are ImageNet's unless given.
    """
    from torchvision import models

    name, _, wanted = where.partition(":")
    found = models.list_models(module=models.segmentation)
    if name not in found:
        raise NetworkError(f"torchvision has no segmentation network {name!r}, only {', '.join(found)}")
    published = models.get_model_weights(name)
    classes: tuple[str, ...] = ()
    if not wanted or wanted in ("DEFAULT", *published.__members__):
        weights = published[wanted or "DEFAULT"]
        classes = tuple(weights.meta["categories"])
        try:
            network = models.get_model(name, weights=weights)
        except URLError as e:
            raise NetworkError(f"torchvision: the weights of {name} cannot be downloaded: {e.reason}") from e
    else:
        file = Path(wanted)
        state = read_weights(file)
        options = {"num_classes": num_classes_of(state, CLASSIFIERS, file), "weights": None, "weights_backbone": None}
        if any(key.startswith("aux_classifier.") for key in state):
            options["aux_loss"] = True
        network = fill(models.get_model(name, **options), state, file)
    return Foreign(
        network=Reading(network, operator.itemgetter("out"), PROBE_HW),
        classes=classes,
        mean=triple("mean", mean, IMAGENET_MEAN),
        std=triple("std", std, IMAGENET_STD),
    )
