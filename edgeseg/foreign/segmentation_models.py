"""Networks of segmentation-models-pytorch: any of its decoders on any of its encoders.

Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

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
from edgeseg.framing import Padded

__all__ = ["smp"]

MULTIPLE = 32  # its encoders halve an image five times at most
CLASSIFIERS = ("segmentation_head.0.weight",)


def smp(where: str, *, mean: str = "", std: str = "") -> Foreign:
    """``ARCH/ENCODER:WEIGHTS``, a ``state_dict`` in a file; or a folder or hub name that its ``save_pretrained`` wrote.

    Class names are not kept with such networks. ``mean`` and ``std`` are ImageNet's unless given.
    """
    name, _, weights = where.partition(":")
    import segmentation_models_pytorch as models

    network = _built(models, name, Path(weights)) if weights else _saved(models, name)
    return Foreign(
        network=Padded(Reading(network, _masks, (2 * MULTIPLE, 2 * MULTIPLE)), MULTIPLE),
        mean=triple("mean", mean, IMAGENET_MEAN),
        std=triple("std", std, IMAGENET_STD),
    )


def _built(models: Any, name: str, file: Path) -> nn.Module:
    arch, _, encoder = name.partition("/")
    weights = read_weights(file)
    classes = num_classes_of(weights, CLASSIFIERS, file)
    try:
        network: nn.Module = models.create_model(arch, encoder_name=encoder, encoder_weights=None, classes=classes)
    except (KeyError, ValueError) as e:
        raise NetworkError(f"smp: cannot build {name!r}, ARCH/ENCODER such as unet/resnet34: {e.args[0]}") from e
    return fill(network, weights, file)


def _saved(models: Any, name: str) -> nn.Module:
    try:
        network: nn.Module = models.from_pretrained(name, strict=True)
    except (OSError, ValueError, KeyError) as e:
        raise NetworkError(
            f"smp: {name!r} is no folder or hub name of a saved network ({str(e).splitlines()[0]}); weights in a file "
            "are given as smp:ARCH/ENCODER:WEIGHTS, and without trained weights there is nothing to teach"
        ) from e
    return network


def _masks(answer: Any) -> Tensor:
    """A network with a classification head besides answers with two tensors, the masks first."""
    masks: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return masks
