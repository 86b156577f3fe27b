"""Backbones of other libraries as trunks: any network of timm that has maps at several scales, and torchvision's
ShuffleNetV2.

timm: Wightman, https://github.com/huggingface/pytorch-image-models. ShuffleNetV2: Ma et al. 2018,
https://arxiv.org/abs/1807.11164.

What is traced is rewritten into what quantizes, where that changes nothing: a normalisation with an activation inside
becomes two modules, means over a map become pools, layers that do nothing go. Attention whose position biases are of
one size of image gets them resized (:mod:`edgeseg.attention`).

Pretrained weights expect ImageNet's mean and standard deviation, and networks here see ``(pixel - 128) / 128``. The
difference is a factor and a summand for each colour, which go into the first convolution's weights and into what
follows it, bias or mean: once, when weights are loaded, so that checkpoints hold what inference uses. Inside an image
that is exact. At its border a convolution pads with zeros, which were ImageNet's mean (124, 116, 104) and are grey
(128) now. Where anything else reads the image, the factor and the summand stay in front, and what reads it computes in
float.
"""

from __future__ import annotations

import copy
import difflib
import io
import operator
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.attention import Attention, Block
from edgeseg.contract import IMAGENET_MEAN, IMAGENET_STD
from edgeseg.doctor import remedy
from edgeseg.errors import BackendMissing, NetworkError

STRIDES = (4, 8, 16, 32)  # of the maps that decoders read
GREY = 128 / 255  # mean and standard deviation that networks here are trained with

UNDILATED = (
    "take a ResNet, a MobileNet or an EfficientNet, or a decoder that reads maps up to stride 32, such as linknet"
)

# The smallest of each family that was looked at: built, quantized, compared with both engines.
FAMILIES = (
    "resnet18",
    "shufflenet_v2_x0_5",
    "mobilenetv1_100",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_050",
    "efficientnet_lite0",
    "efficientnet_b0",
    "poolformer_s12",
    "efficientformer_l1",
    "efficientformerv2_s0",
)


class Trunk(nn.Module):
    """Images (N, 3, H, W) to maps (N, channels[i], H / strides[i], W / strides[i]), fine to coarse, sizes rounded up.

    Where the library's network rounds sizes down, images are first padded to a multiple of its coarsest stride.
    """

    def __init__(self, body: fx.GraphModule, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.pads = False

    def forward(self, images: Tensor) -> list[Tensor]:
        if not self.pads:
            return list(self.body(images))
        maps = self.body(padded(images, self.strides[-1]))
        return [cropped(x, images, stride) for x, stride in zip(maps, self.strides, strict=True)]


@fx.wrap  # one node for torch.fx, whatever the sizes
def padded(images: Tensor, multiple: int) -> Tensor:
    """Zeros below and to the right, up to a multiple in height and width."""
    h, w = images.shape[-2:]
    return F.pad(images, (0, -w % multiple, 0, -h % multiple)) if h % multiple or w % multiple else images


@fx.wrap
def cropped(x: Tensor, images: Tensor, stride: int) -> Tensor:
    """The part of a map that stands for the images."""
    h, w = (-(-n // stride) for n in images.shape[-2:])
    return x[..., :h, :w]


class Recolor(nn.Module):
    """A factor and a summand for each colour."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(3))
        self.register_buffer("shift", torch.zeros(3))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.gain.view(-1, 1, 1) + self.shift.view(-1, 1, 1)


def build(name: str, *, pretrained: bool | Path | str = False, stride: int = STRIDES[-1]) -> Trunk:
    """The backbone as a trunk with maps at strides 4 to 32, none beyond ``stride``, whose place dilation takes.

    ``pretrained``: the library's own weights, downloaded once, or a file with the ``state_dict`` of its network.
    Raises NetworkError, in one sentence with what to use instead, for a name that does not exist, weights that cannot
    be had, and networks without maps of several scales or that torch.fx cannot trace; BackendMissing, with the pip
    line, where the library is not installed.
    """
    try:
        made = _shufflenet(name, pretrained) if name.startswith("shufflenet_v2") else _timm(name, pretrained, stride)
    except ModuleNotFoundError as e:
        if not (line := remedy(e.name or "")):
            raise
        raise BackendMissing(f"backbone {name!r} needs {e.name!r}, which is not installed: {line}") from e
    kept = [i for i, s in enumerate(made.strides) if s >= STRIDES[0]]
    strides = tuple(made.strides[i] for i in kept)
    if strides != tuple(min(s, stride) for s in STRIDES):
        if strides == STRIDES:
            raise NetworkError(f"backbone {name!r} cannot be dilated to stride {stride}: {UNDILATED}")
        found = ", ".join(map(str, made.strides)) or "none"
        raise NetworkError(
            f"backbone {name!r} has maps at strides {found}, and decoders read {', '.join(map(str, STRIDES))}"
            f"{'' if stride == STRIDES[-1] else f', none beyond {stride}'}: take one such as {FAMILIES[0]}"
        )
    body = traced(made.network, name, kept)
    gain = [GREY / s for s in made.std] if pretrained else None
    shift = [(GREY - m) / s for m, s in zip(made.mean, made.std, strict=True)]
    recolor(body, gain, shift)
    trunk = Trunk(body, [made.channels[i] for i in kept], strides)
    trunk.pads = not rounds_up(trunk, name)
    return trunk


@dataclass(frozen=True)
class Made:
    """What a library made."""

    network: nn.Module  # images to all its maps, in order
    channels: Sequence[int]
    strides: Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]


def _timm(name: str, pretrained: bool | Path | str, stride: int) -> Made:
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*timm.list_models(), *_shufflenets()], n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise NetworkError(
            f"no backbone called {name!r}: {hint}edgeseg takes those of timm.list_models(), such as "
            f"{', '.join(FAMILIES)}"
        )
    options: dict[str, Any] = {} if stride == STRIDES[-1] else {"output_stride": stride}
    if isinstance(pretrained, Path | str) and not Path(pretrained).is_file():
        raise NetworkError(f"{pretrained} does not exist: give the file with the backbone's weights")
    try:
        if isinstance(pretrained, Path | str):
            # Of a network without classifier timm only notes in its log what a file lacks.
            whole = timm.create_model(name)
            timm.models.load_checkpoint(whole, str(pretrained), strict=True)
            options["pretrained_cfg_overlay"] = {"state_dict": whole.state_dict()}
        network = timm.create_model(name, features_only=True, pretrained=bool(pretrained), **options)
    except TypeError as e:
        raise NetworkError(f"backbone {name!r} cannot be dilated to stride {stride}: {UNDILATED}") from e
    except (RuntimeError, OSError, AttributeError, KeyError) as e:
        why = "its weights cannot be had" if pretrained else "it hands out no maps"
        raise NetworkError(f"backbone {name!r}: {why} ({_line(e)}); {_instead(pretrained)}") from e
    if type(network).__name__ == "FeatureDictNet":
        raise NetworkError(f"backbone {name!r} hands out maps by name, not in order: take one such as {FAMILIES[0]}")
    info, given = network.feature_info, timm.get_pretrained_cfg(name)
    _attend_anywhere(network)
    if name.startswith("efficientformer_"):
        network = Stages(nn.Sequential(network.model.stem, network.model.stages[0]), *network.model.stages[1:])
    return Made(network, info.channels(), info.reduction(), given.mean, given.std)


def _attend_anywhere(network: nn.Module) -> None:
    """Put EfficientFormer's attention, which timm makes for one size of image, as that on maps of any."""
    from timm.models import efficientformer as one
    from timm.models import efficientformer_v2 as two

    for name, module in list(network.named_modules()):
        if isinstance(module, one.MetaBlock1d):
            network.set_submodule(name, Block(module))
        elif isinstance(module, one.Flat):
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, two.Attention2d | two.Attention2dDownsample):
            network.set_submodule(name, Attention(module))


def _instead(pretrained: bool | Path | str) -> str:
    if pretrained is True:
        return "connect once so that they are kept, or leave --pretrained out"
    return "give weights of that very network" if pretrained else f"take a network such as {FAMILIES[0]}"


def _line(e: BaseException) -> str:
    return " ".join(str(e).split())[:200]


def _shufflenets() -> list[str]:
    from torchvision import models

    return [name for name in models.list_models(module=models) if name.startswith("shufflenet_v2")]


class Stages(nn.Module):
    """Each reads the one before; images to the maps of all."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def _shufflenet(name: str, pretrained: bool | Path | str) -> Made:
    from urllib.error import URLError

    from torchvision import models

    if name not in _shufflenets():
        close = difflib.get_close_matches(name, _shufflenets(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise NetworkError(f"no backbone called {name!r}: {hint}torchvision has {', '.join(_shufflenets())}")
    try:
        network = models.get_model(name, weights="DEFAULT" if pretrained is True else None)
        if isinstance(pretrained, Path | str):
            network.load_state_dict(torch.load(pretrained, "cpu", weights_only=True))
    except (URLError, OSError, RuntimeError, ValueError) as e:
        raise NetworkError(f"backbone {name!r}: its weights cannot be had ({_line(e)}); {_instead(pretrained)}") from e
    # Without its last convolution, which widens for the classifier.
    stages = Stages(nn.Sequential(network.conv1, network.maxpool), network.stage2, network.stage3, network.stage4)
    channels = [network.conv1[0].out_channels, *(2 * s[0].branch2[5].out_channels for s in stages.stages[1:])]
    return Made(stages, channels, STRIDES, IMAGENET_MEAN, IMAGENET_STD)


# Rewriting.


class _Tracer(fx.Tracer):
    """Keeps whole what is not to be looked into."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return isinstance(m, Recolor) or super().is_leaf_module(m, qualified_name)


NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
MODULES_OF: dict[object, type[nn.Module]] = {
    F.silu: nn.SiLU,
    F.gelu: nn.GELU,
    F.hardswish: nn.Hardswish,
    F.hardsigmoid: nn.Hardsigmoid,
    F.relu6: nn.ReLU6,
    torch.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
}


def traced(network: nn.Module, name: str, kept: Sequence[int]) -> fx.GraphModule:
    """The network as a graph of modules that quantization knows, returning the maps with these indices.

    Raises NetworkError where torch.fx cannot trace it.
    """
    _replace_modules(network.train())
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as e:  # tracing runs the library's own code: whatever it raises, this is the reason
        raise NetworkError(
            f"backbone {name!r} cannot be traced by torch.fx ({_line(e)}), so it could not be quantized: take one such "
            f"as {FAMILIES[0]}"
        ) from e
    body = fx.GraphModule(tracer.root, graph)
    (output,) = [n for n in graph.nodes if n.op == "output"]
    output.args = ([output.args[0][i] for i in kept],)
    for node in list(graph.nodes):
        _simplify(body, node)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    body.delete_all_unused_submodules()
    graph.lint()
    body.recompile()
    return body


def _replace_modules(network: nn.Module) -> None:
    from timm.layers import BatchNormAct2d

    for name, module in list(network.named_modules()):
        if type(module) is BatchNormAct2d:
            network.set_submodule(name, nn.Sequential(_plain(module, nn.BatchNorm2d), module.drop, module.act))
        elif isinstance(module, nn.GroupNorm):
            network.set_submodule(name, _plain(module, nn.GroupNorm))


def _plain(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A library's subclass as torch's own class, sharing its parameters."""
    plain = kind.__new__(kind)
    nn.Module.__init__(plain)
    own = ("_parameters", "_buffers", "_modules")
    plain.__dict__.update({k: v for k, v in module.__dict__.items() if k not in own})
    plain._parameters, plain._buffers = module._parameters, module._buffers
    return plain


def _simplify(body: fx.GraphModule, node: fx.Node) -> None:
    """Take out what does nothing, and say functions as modules."""
    if node.op == "call_module":
        module = body.get_submodule(str(node.target))
        if isinstance(module, NOTHING) and not getattr(module, "p", 0):
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
        elif getattr(module, "inplace", False):
            module.inplace = False
        return
    pool = node.op == "call_method" and node.target == "mean" and _over_the_map(node)
    make: Callable[..., nn.Module] | None = MODULES_OF.get(node.target) if node.op.startswith("call") else None
    if pool or make is not None:
        options = {k: v for k, v in node.kwargs.items() if k == "approximate"}
        name = f"said_{node.name}"
        body.add_submodule(name, nn.AdaptiveAvgPool2d(1) if pool else make(**options))  # type: ignore[misc]
        with body.graph.inserting_after(node):
            call = body.graph.call_module(name, (node.args[0] if node.args else node.kwargs["input"],))
        node.replace_all_uses_with(call)
    elif node.op == "call_function" and node.target is operator.iadd:
        node.target = operator.add
    elif node.op == "call_function" and node.target is operator.imul:
        node.target = operator.mul


def _over_the_map(node: fx.Node) -> bool:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    return bool(keeps) and isinstance(dims, tuple | list) and sorted(d % 4 for d in dims) == [2, 3]


@torch.no_grad()
def recolor(body: fx.GraphModule, gain: Sequence[float] | None, shift: Sequence[float]) -> None:
    """Let the network compute of ``x`` what it did of ``gain x + shift``; with no gain, only make room for it."""
    (images,) = [n for n in body.graph.nodes if n.op == "placeholder"]
    readers = [n for n in images.users if not (n.op == "call_function" and n.target is getattr)]
    modules = [_convolution_and_summand(body, n) for n in readers]
    if not all(modules):
        front = Recolor()
        body.add_submodule("recolor", front)
        with body.graph.inserting_after(images):
            call = body.graph.call_module("recolor", (images,))
        for node in readers:
            node.replace_input_with(images, call)
        body.recompile()
        if gain is not None:
            front.gain.copy_(torch.tensor(gain))
            front.shift.copy_(torch.tensor(shift))
        return
    for conv, norm in modules if gain is not None else ():  # type: ignore[misc]
        constant = (conv.weight.sum((2, 3)) * torch.tensor(shift)).sum(1)
        if norm is None:
            conv.bias += constant
        else:
            norm.running_mean -= constant
        conv.weight *= torch.tensor(gain).view(1, 3, 1, 1)


def _convolution_and_summand(body: fx.GraphModule, node: fx.Node) -> tuple[nn.Conv2d, nn.BatchNorm2d | None] | None:
    """A convolution of images and the normalisation behind it, None where it has a bias; nothing for all else."""
    conv = body.get_submodule(str(node.target)) if node.op == "call_module" else None
    if type(conv) is not nn.Conv2d or conv.groups != 1:
        return None
    (user, *others) = node.users
    norm = body.get_submodule(str(user.target)) if user.op == "call_module" and not others else None
    if type(norm) is nn.BatchNorm2d:
        return conv, norm
    return (conv, None) if conv.bias is not None else None


def rounds_up(trunk: Trunk, name: str) -> bool:
    """Whether maps of any image have its size over their stride, rounded up; run on shapes alone.

    Raises NetworkError where the network takes images of one size only.
    """
    shapes = copy.deepcopy(trunk).to("meta").eval()
    size_hw, odd_hw = (64, 160), (69, 99)  # the latter odd at three of the strides
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):  # torch.fx prints what fails, and where
            maps = shapes(torch.empty(1, 3, *size_hw, device="meta"))
    except (RuntimeError, AssertionError, ValueError, TypeError) as e:
        raise NetworkError(
            f"backbone {name!r} takes images of one size only ({_line(e)}): take one that is convolutional, such as "
            f"{FAMILIES[0]}"
        ) from e
    got = [tuple(x.shape[1:]) for x in maps]
    want = [(c, *(-(-n // s) for n in size_hw)) for c, s in zip(trunk.channels, trunk.strides, strict=True)]
    if got != want:
        raise NetworkError(f"backbone {name!r} has maps {got} of an image of {size_hw}, not {want}")
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):
            maps = shapes(torch.empty(1, 3, *odd_hw, device="meta"))
    except RuntimeError:
        return False
    return all(x.shape[-2:] == tuple(-(-n // s) for n in odd_hw) for x, s in zip(maps, trunk.strides, strict=True))


# What there is.


@dataclass(frozen=True)
class Summary:
    """A backbone as it comes."""

    name: str
    library: str
    parameters: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


def summaries() -> list[Summary]:
    """Every family that was looked at, by its smallest member. No weights are made."""
    found = []
    for name in FAMILIES:
        with torch.device("meta"):
            trunk = build(name)
        library = "torchvision" if name.startswith("shufflenet_v2") else "timm"
        count = sum(p.numel() for p in trunk.parameters())
        found.append(Summary(name, library, count, trunk.channels, trunk.strides))
    return found
