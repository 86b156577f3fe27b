"""What TensorRT asks of operators that it reads, as data. Sources: see :mod:`edgeseg.check.operators`.

Each was asked of TensorRT-RTX 1.7.1 too, which parses and builds without a GPU; where it answered otherwise than the
documents, the entry says for whom it holds.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from edgeseg.check.findings import Severity
from edgeseg.check.network import Network, attribute
from edgeseg.check.readers import Reader

Version = tuple[int, int]
Breaks = Callable[[Network, onnx.NodeProto], bool]

NONE: Version = (0, 0)  # before it there was no TensorRT

RESIZES = {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
REDUCTIONS = (
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)
SUMS = ("ReduceSum", "ReduceLogSum")  # whose axes are an input since opset 13


@dataclass(frozen=True)
class Restriction:
    """``ops`` that break it are refused (or worse) by TensorRTs older than ``until``, by all where that is None."""

    ops: tuple[str, ...]
    breaks: Breaks
    what: str
    remedy: str
    rule: str
    severity: Severity = "refused"
    until: Version | None = None  # NONE where only TensorRT-RTX was seen to do it
    rtx: bool | None = None  # of TensorRT-RTX; None: as for the newest TensorRT

    def applies(self, reader: Reader) -> bool:
        if reader.target == "trt-rtx":
            return self.until is None if self.rtx is None else self.rtx
        return self.until is None or reader.before(*self.until)

    def verb(self, reader: Reader) -> str:
        until = f" before {self.until[0]}.{self.until[1]}" if self.until and reader.target == "trt" else ""
        verbs = {"refused": "is refused by", "wrong": "is misread by", "slow": "is slow in", "note": "is special in"}
        return f"{verbs[self.severity]} {reader.name if not until else 'TensorRT' + until}"


def has(name: str, default: Any, allowed: Callable[[Any], bool]) -> Breaks:
    """Breaks where an attribute is not as allowed."""
    return lambda network, node: not allowed(attribute(node, name, default))


def outputs(count: int) -> Breaks:
    return lambda network, node: sum(map(bool, node.output)) > count


def ones(value: Any) -> bool:
    return all(v == 1 for v in value)


def resizes_outer(network: Network, node: onnx.NodeProto) -> bool:
    """Whether a Resize changes more of the leading dimensions than its interpolation works on."""
    inner = {"linear": 3, "cubic": 2}.get(attribute(node, "mode", "nearest"), 8)
    before, after = network.shape(node.input[0]), network.shape(node.output[0])
    if before is None or after is None:
        return False
    return any(a is not None and b is not None and a != b for a, b in zip(before[:-inner], after[:-inner]))


def names_axes(network: Network, node: onnx.NodeProto) -> bool:
    axes = attribute(node, "axes", [])
    return bool(axes) and list(axes) != list(range(len(network.shape(node.input[0]) or ())))


def computes_scales(network: Network, node: onnx.NodeProto) -> bool:
    scales = node.input[2] if len(node.input) > 2 else ""
    return names_axes(network, node) and not network.constant(scales)


def half(network: Network, node: onnx.NodeProto) -> bool:
    return network.dtype(node.input[0]) in (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def strided_and_dilated(network: Network, node: onnx.NodeProto) -> bool:
    return not ones(attribute(node, "dilations", [1])) and not ones(attribute(node, "strides", [1]))


def rank_above(limit: int) -> Breaks:
    return lambda network, node: len(network.shape(node.input[0]) or ()) > limit


def rank_below(limit: int) -> Breaks:
    return lambda network, node: len(network.shape(node.input[0]) or (1,) * limit) < limit


def many(network: Network, node: onnx.NodeProto) -> bool:
    k = network.value(node.input[1]) if len(node.input) > 1 else None
    return k is not None and int(k.reshape(-1)[0]) > 3840


def in_training(network: Network, node: onnx.NodeProto) -> bool:
    flag = network.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return flag is not None and bool(flag.reshape(-1)[0])


def letters(network: Network, node: onnx.NodeProto) -> bool:
    return bool(set(attribute(node, "equation", "")) - set(string.ascii_lowercase + "->., "))


def diagonal_or_ellipsis(network: Network, node: onnx.NodeProto) -> bool:
    terms = attribute(node, "equation", "").replace(" ", "").partition("->")[0].split(",")
    return any("." in t or len(set(t)) != len(t) for t in terms)


def axes_as_input(network: Network, node: onnx.NodeProto) -> bool:
    return network.opset >= 18 and len(node.input) > 1 and bool(node.input[1])


RESTRICTIONS = (
    Restriction(
        ("Resize",),
        has("coordinate_transformation_mode", "half_pixel", RESIZES.__contains__),
        "with another coordinate_transformation_mode than " + ", ".join(sorted(RESIZES)),
        "upsample with half_pixel (align_corners=False in torch)",
        "resize",
    ),
    Restriction(
        ("Resize",),
        lambda network, n: (
            attribute(n, "coordinate_transformation_mode", "") == "tf_half_pixel_for_nn"
            and attribute(n, "nearest_mode", "round_prefer_floor") != "round_prefer_floor"
        ),
        "with tf_half_pixel_for_nn and another nearest_mode than round_prefer_floor",
        "upsample with half_pixel",
        "resize",
    ),
    Restriction(("Resize",), has("antialias", 0, lambda v: v == 0), "with antialias", "shrink by pooling", "resize"),
    Restriction(
        ("Resize",),
        has("keep_aspect_ratio_policy", "stretch", lambda v: v == "stretch"),
        "with keep_aspect_ratio_policy other than stretch",
        "give both sizes",
        "resize",
    ),
    Restriction(
        ("Resize",),
        resizes_outer,
        "over leading dimensions (linear works on the last 3, cubic on the last 2)",
        "resize height and width only",
        "resize",
    ),
    Restriction(
        ("Resize",),
        names_axes,
        "with the attribute axes, of opset 18,",
        "give scales or sizes for every dimension",
        "resize",
        until=(10, 0),
    ),
    Restriction(
        ("Resize",),
        computes_scales,
        "with axes and scales that depend on the input",
        "give constant scales, or sizes",
        "resize",
    ),
    Restriction(
        ("AveragePool", "MaxPool", "LpPool"),
        has("dilations", [1], ones),
        "with dilations",
        "pool without them, or use a strided convolution",
        "pooling",
    ),
    Restriction(("MaxPool",), outputs(1), "with its indices", "unpool by Resize instead", "pooling"),
    Restriction(
        ("LpPool", "LpNormalization"),
        has("p", 2, lambda p: p in (1, 2)),
        "with p other than 1 or 2",
        "use 2",
        "pooling",
    ),
    Restriction(
        ("ConvTranspose",),
        strided_and_dilated,
        "with strides and dilations at once",
        "upsample by Resize and a convolution",
        "deconvolution",
        until=NONE,
        rtx=True,
    ),
    Restriction(
        ("Conv", "ConvTranspose"), rank_above(5), "over more than 3 dimensions", "use 2 dimensions", "convolution"
    ),
    Restriction(("ArgMax", "ArgMin"), rank_below(2), "of a vector", "unsqueeze it first", "argmax"),
    Restriction(("TopK",), many, "with K above 3840", "take fewer", "topk"),
    Restriction(
        ("TopK",), has("sorted", 1, bool), "with sorted=0", "it comes sorted", "topk", severity="note", rtx=True
    ),
    Restriction(
        ("LayerNormalization",), outputs(1), "with mean and deviation as outputs", "leave them out", "normalization"
    ),
    Restriction(
        ("BatchNormalization",),
        has("training_mode", 0, lambda v: v == 0),
        "in training mode",
        "export after eval()",
        "training-mode",
    ),
    Restriction(("Dropout",), in_training, "in training mode", "export after eval()", "training-mode"),
    Restriction(("Celu",), half, "in half precision", "use Elu", "activation", until=NONE, rtx=True),
    Restriction(("Attention",), outputs(1), "with more than one output", "leave its cache out", "attention"),
    Restriction(
        ("Attention",), has("softcap", 0.0, lambda v: v == 0), "with softcap", "export without it", "attention"
    ),
    Restriction(
        ("GroupNormalization",),
        lambda network, n: network.opset >= 21,
        "of opset 21, with a scale per channel,",
        "export with opset 20",
        "normalization",
        until=(10, 9),
    ),
    Restriction(("GridSample",), rank_above(4), "over volumes", "sample images", "gridsample", rtx=False),
    Restriction(
        ("GridSample",),
        lambda network, n: attribute(n, "mode", "bilinear") in ("linear", "cubic"),
        "with the mode's name of opset 20",
        "export with opset 16, whose names are bilinear and bicubic",
        "gridsample",
        until=(10, 0),
    ),
    Restriction(
        ("Einsum",), letters, "with anything but small letters in its equation", "rename the indices", "einsum"
    ),
    Restriction(
        ("Einsum",),
        diagonal_or_ellipsis,
        "with an ellipsis or a diagonal",
        "write the indices out",
        "einsum",
        until=(10, 12),
    ),
    Restriction(
        ("ScatterND",), has("reduction", "none", lambda v: v == "none"), "with a reduction", "add afterwards", "scatter"
    ),
    Restriction(
        ("ScatterElements",),
        has("reduction", "none", lambda v: v == "none"),
        "with a reduction",
        "add afterwards",
        "scatter",
        until=(10, 0),
        rtx=True,
    ),
    Restriction(
        REDUCTIONS,
        axes_as_input,
        "with axes as an input, as from opset 18 on,",
        "that parser looks for the attribute alone and reduces over everything. Export with opset 17, or use "
        "GlobalAveragePool for a mean over height and width",
        "reduction",
        severity="wrong",
        until=(10, 0),
    ),
)

# Operators, the input that must be a constant, what it is, and the TensorRT from which on it need not be.
CONSTANT_INPUTS: tuple[tuple[tuple[str, ...], int, str, Version | None], ...] = (
    ((*REDUCTIONS, *SUMS), 1, "axes", None),
    (("Squeeze", "Unsqueeze"), 1, "axes", None),
    (("Dropout",), 2, "training_mode", None),
    (("Slice",), 3, "axes", (10, 3)),
    (("Pad",), 3, "axes", (10, 4)),
    (("CumSum",), 1, "axis", (10, 8)),
    (("OneHot",), 1, "depth", None),
)
