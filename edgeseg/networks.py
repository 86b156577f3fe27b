"""Any network by its name, and what it costs: parameters and multiply-adds."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeseg import backbones, students, teachers
from edgeseg.blocks import reparameterised
from edgeseg.catalogue import pick
from edgeseg.errors import NetworkError


def names() -> list[str]:
    """Every student, then every teacher."""
    return [*students.names(), *teachers.names()]


def build(name: str, num_classes: int, *, pretrained: bool | Path | str = False, **options: Any) -> nn.Module:
    """The untrained network ``name``, with its own options (``width``, ``attention``, ...).

    ``DECODER:BACKBONE`` (``linknet:mobilenetv2_100``) is a network on another trunk than its own, whose weights come
    with ``pretrained`` from its library or from a file, as :func:`edgeseg.backbones.build` says; they are for a fresh
    network alone: one that is built to be filled from a checkpoint needs none.

    Raises NetworkError for a name, an option or a value that does not exist, with those that do.
    """
    decoder, colon, backbone = name.partition(":")
    makers = {n: folder.get(n) for folder in (teachers, students) for n in folder.names()}
    in_order = {n: makers[n] for n in names()}
    make = _decoder(decoder, makers) if colon else pick(in_order, name, "network", NetworkError)
    known = [k for k, p in inspect.signature(make).parameters.items() if p.kind is p.KEYWORD_ONLY and k != "trunk"]
    unknown = [k for k in options if k not in known]
    if unknown:
        raise NetworkError(f"{name} has no option {', '.join(map(repr, unknown))}; it takes: {', '.join(known)}")
    if not 1 <= num_classes <= 255:
        raise NetworkError(f"expected 1 to 255 classes (labels are uint8), got {num_classes}")
    if colon:
        options["trunk"] = backbones.build(backbone, pretrained=pretrained, stride=_coarsest(make))
    elif pretrained:
        raise NetworkError(f"{name} has no pretrained weights; a backbone has: {sorted(decoders())[0]}:resnet18")
    return make(num_classes, **options)


def decoders() -> dict[str, Callable[..., nn.Module]]:
    """What can stand on another trunk, by the name before the colon: the network's, without that of its own trunk."""
    found: dict[str, Callable[..., nn.Module]] = {}
    for folder in (students, teachers):
        for name in folder.names():
            if "trunk" in inspect.signature(folder.get(name)).parameters:
                found[_without_trunk(name)] = folder.get(name)
    return found


def is_student(name: str) -> bool:
    """Whether a network, on whichever trunk, is of those that are quantized and deployed."""
    decoder, colon, _ = name.partition(":")
    named = [_without_trunk(n) for n in students.names()] if colon else students.names()
    return (_without_trunk(decoder) if colon else name) in named


def _without_trunk(name: str) -> str:
    return re.sub(r"-(rn)?\d+$", "", name)  # swiftnet-rn18, fanet-18


def _decoder(name: str, makers: Mapping[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    known = decoders()
    if name in makers and _without_trunk(name) not in known:
        raise NetworkError(f"{name} stands on a trunk of its own only; decoders for any backbone: {', '.join(known)}")
    return pick(known, _without_trunk(name), "decoder", NetworkError)


def _coarsest(make: Callable[..., nn.Module]) -> int:
    """The stride that a decoder wants its trunk's maps to end at: what its file says under ``DILATED``, or 32."""
    dilated: Mapping[str, int] = getattr(inspect.getmodule(make), "DILATED", {})
    return dilated.get(make.__name__, backbones.STRIDES[-1])


@dataclass(frozen=True)
class Summary:
    """One network as it comes, and what an image costs it."""

    name: str
    role: Literal["student", "teacher"]
    parameters: int
    macs: int
    stride: int  # of its logits
    paper: str  # link to where its idea is from


def summaries(num_classes: int = 19, size_hw: tuple[int, int] = (512, 1024)) -> Iterator[Summary]:
    """Every network in the order of ``names``. No weights are made: shapes are all that counts."""
    for name in names():
        with torch.device("meta"):
            net = build(name, num_classes)
        role: Literal["student", "teacher"] = "student" if name in students.names() else "teacher"
        yield Summary(name, role, parameters(net), macs(net, size_hw), net.stride, paper(name))


def paper(name: str) -> str:
    """The first arXiv link in the docstring of the network's function, or else of its family's file.

    Raises NetworkError where there is none.
    """
    make = students.get(name) if name in students.names() else teachers.get(name)
    family = inspect.getmodule(make)
    found = re.search(r"https://arxiv\.org/abs/[\w./-]*\w", f"{inspect.getdoc(make)}\n{inspect.getdoc(family)}")
    if found is None:
        raise NetworkError(
            f"{family.__name__ if family else name} links no paper: give https://arxiv.org/abs/… in its docstring"
        )
    return found[0]


def parameters(net: nn.Module) -> int:
    """Parameters that inference uses: none of the heads under ``auxiliary``, and branches as what they fold into."""
    deployed = reparameterised(net)
    return sum(p.numel() for name, p in deployed.named_parameters() if not name.startswith("auxiliary."))


def macs(net: nn.Module, size_hw: tuple[int, int]) -> int:
    """Multiply-adds of all convolutions, transposed ones too, and matrix products, for one image at inference.

    Papers often print this number as "FLOPs". Nothing is computed: a copy runs on shapes alone.
    """
    shapes = copy.deepcopy(reparameterised(net)).to("meta").eval()
    for parent in list(shapes.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:  # not counted, and half of the time
                setattr(parent, name, nn.Identity())
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        shapes(torch.empty(1, 3, *size_hw, device="meta"))
    return counted.get_total_flops() // 2
