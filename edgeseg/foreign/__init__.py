"""Teachers that other libraries made, one file per library. The folder is the registry.

``KIND:WHERE?option=value`` names one: ``hf:./segformer``, ``onnx:model.onnx?mean=0&std=1``. A kind is a function under
the name one types, ``hf(where, *, option="") -> Foreign``. It imports its library when it is called.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeseg import catalogue
from edgeseg.doctor import remedy
from edgeseg.errors import BackendMissing, NetworkError
from edgeseg.framing import stride_of
from edgeseg.outputs import Outputs

RGB = tuple[float, float, float]
# Of the images that nearly every encoder was first trained on, as torchvision states them.
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
ENVELOPES = ("state_dict", "model_state_dict", "model")  # what trainers file a network's weights under
PREFIXES = ("module.", "model.", "_orig_mod.")  # and what they put before each name


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A network from elsewhere, as a teacher."""

    network: nn.Module  # images (N, 3, H, W), RGB, of any size, (pixel / 255 - mean) / std -> Outputs; has a stride
    classes: tuple[str, ...] = ()  # in its order; empty where its files do not say
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    digest: str = ""  # SHA-256 of its weights; where empty, that of the network's state


class Reading(nn.Module):
    """Another library's network, whose answer ``read`` turns into logits (N, K, H/s, W/s).

    It is run once on an image of ``probe_hw`` to see the stride.
    """

    def __init__(self, network: nn.Module, read: Callable[[Any], Tensor], probe_hw: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.read = read
        self.stride = stride_of(self, probe_hw)

    def forward(self, images: Tensor) -> Outputs:
        return Outputs(self.read(self.network(images)))


def kinds() -> list[str]:
    """Every kind, as one types it: ``hf``."""
    return list(catalogue.entries(sys.modules[__name__]))


def is_foreign(spec: str) -> bool:
    """Whether ``spec`` names a network from elsewhere rather than a run's folder."""
    return spec.partition(":")[0] in kinds() and ":" in spec


def open_foreign(spec: str) -> tuple[Foreign, dict[str, str]]:
    """The network, in eval mode, and what provenance keeps of it.

    Raises NetworkError for what is not there, not readable or not trained; BackendMissing, with the pip line, where its
    library is not installed.
    """
    kind, _, rest = spec.partition(":")
    where, _, query = rest.partition("?")
    loader = catalogue.pick(catalogue.entries(sys.modules[__name__]), kind, "kind of teacher", NetworkError)
    known = [k for k, p in inspect.signature(loader).parameters.items() if p.kind is p.KEYWORD_ONLY]
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := [k for k in options if k not in known]:
        raise NetworkError(f"{kind}: has no option {unknown[0]!r} in {spec!r}; it takes: {', '.join(known)}")
    if not where:
        raise NetworkError(f"expected a teacher as {kind}:WHERE, got {spec!r}")
    try:
        found: Foreign = loader(where, **options)
    except ModuleNotFoundError as e:
        if isinstance(e, BackendMissing) or not (line := remedy(e.name or "")):
            raise
        raise BackendMissing(f"teacher {spec!r} needs {e.name!r}, which is not installed: {line}") from e
    found.network.eval()
    return found, {"path": spec, "weights_sha256": found.digest or _digest(found.network)}


def triple(what: str, text: str, otherwise: RGB) -> RGB:
    """``0.485,0.456,0.406`` -> three numbers; one number stands for three, nothing for ``otherwise``."""
    if not text:
        return otherwise
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise NetworkError(f"{what} expects three numbers separated by commas, such as 0.485,0.456,0.406, got {text!r}")
    first, second, third = values * (3 // len(values))
    return first, second, third


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """Weights by name, out of safetensors or what ``torch.save`` made of a ``state_dict``; no code in it is run."""
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except FileNotFoundError as e:
        raise NetworkError(f"{file} does not exist: give the file with the trained weights") from e
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, IsADirectoryError) as e:
        raise NetworkError(
            f"{file} holds no weights alone ({str(e).splitlines()[0]}): save the network's state_dict() by itself"
        ) from e
    for key in ENVELOPES:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise NetworkError(f"{file} holds no weights by name: save the network's state_dict()")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def num_classes_of(weights: Mapping[str, Tensor], classifiers: tuple[str, ...], file: Path) -> int:
    """Classes of the network that ``weights`` are of: outputs of the first of ``classifiers`` that is among them."""
    for name in classifiers:
        if name in weights:
            return len(weights[name])
    raise NetworkError(f"{file} has no {' or '.join(classifiers)}: it is of another network")


def fill(network: nn.Module, weights: Mapping[str, Tensor], file: Path) -> nn.Module:
    """The network with these weights, which must fit exactly: one left untrained would teach noise."""
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as e:
        first = " ".join(str(e).split())[:300]
        raise NetworkError(f"{file} does not fit the network that was named: {first}") from e
    return network


def _digest(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
