"""What an Orin's DLA does not run, and the GPU runs in its place: each change of device is a copy and a wait.

Source: "DLA Supported Layers and Restrictions" and "Working with DLA" of TensorRT's documentation (8.6 to 11.4,
https://docs.nvidia.com/deeplearning/tensorrt), ``IResizeLayer`` in its API, and NVIDIA/TensorRT#2222 and
NVIDIA/Model-Optimizer#1661 on quantization. Nothing here was run on a DLA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import TensorProto

from edgeseg.check.findings import Finding
from edgeseg.check.network import Network, attribute, label
from edgeseg.check.readers import Reader

RUNS = {"Conv", "ConvTranspose", "Gemm", "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "BatchNormalization"}
RUNS |= {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Add", "Sub", "Mul", "Max", "Min", "Div"}
RUNS |= {"Pow", "Sum", "Concat", "Resize", "Softmax", "LRN", "Slice", "Reshape", "Flatten", "Transpose", "ReduceMax"}
RUNS |= {"Equal", "Greater", "Less", "Abs", "Sqrt", "Reciprocal", "Identity", "Constant", "Dropout"}
QUANTIZATION = {"QuantizeLinear", "DequantizeLinear"}
LARGEST = 8192
GONE, BACK = (10, 8), (11, 4)  # the TensorRTs from one to before the other have no DLA


def availability(network: Network, reader: Reader) -> Iterator[Finding]:
    if GONE <= reader.version < BACK:
        message = (
            f"{reader.name.removesuffix(' with DLA')} has no DLA: 10.7 was the last before it, and "
            "11.4.1 with JetPack 7.2.2 is the next that runs on Orin's"
        )
        yield Finding("refused", "dla", (), message)


def rounding(network: Network, reader: Reader) -> Iterator[Finding]:
    if network.quantized:
        message = (
            "QuantizeLinear and DequantizeLinear do not run on DLA, which takes its scales from a calibration cache: "
            "with them in the graph nearly everything runs on the GPU. Give DLA the float graph, with the scales "
            "beside it (NVIDIA's qdq-translator makes them), or in fp16"
        )
        yield Finding("slow", "dla-quantization", (), message)


def shapes(network: Network, reader: Reader) -> Iterator[Finding]:
    for node in network.nodes:
        for tensor in node.output:
            shape = network.shape(tensor) or ()
            if None in shape:
                message = "DLA takes fixed sizes only: export for one size"
                yield Finding("slow", "dla-shape", (label(node),), message)
            elif any((n or 0) > LARGEST for n in shape[1:]):
                yield Finding("slow", "dla-shape", (label(node),), f"a dimension above {LARGEST} runs on the GPU")


def layers(network: Network, reader: Reader) -> Iterator[Finding]:
    for node in network.nodes:
        if all(map(network.constant, node.output)) or node.op_type in QUANTIZATION:
            continue
        if node.op_type not in RUNS:
            message = f"{node.op_type} does not run on DLA: the GPU takes over there, and DLA behind it"
            yield Finding("slow", "dla-operator", (label(node),), message)
        elif broken := LIMITS[node.op_type](network, node) if node.op_type in LIMITS else "":
            message = f"{node.op_type} {broken}: runs on the GPU, with a change of device before and behind it"
            yield Finding("slow", "dla-limit", (label(node),), message)


def _within(values: list[int], low: int, high: int) -> bool:
    return all(low <= v <= high for v in values)


def _convolution(network: Network, node: onnx.NodeProto) -> str:
    weights = network.weight_shape(node)
    if len(weights) != 4:
        return "over other than 2 dimensions"
    if not _within(list(weights[2:]), 1, 32):
        return "with a kernel above 32"
    if not _within(attribute(node, "strides", [1, 1]), 1, 8):
        return "with strides above 8"
    if not _within(attribute(node, "pads", [0] * 4), 0, 31):
        return "with padding above 31"
    if not _within(attribute(node, "dilations", [1, 1]), 1, 32):
        return "with dilations above 32"
    return "" if weights[0] <= LARGEST else f"with more than {LARGEST} channels"


def _deconvolution(network: Network, node: onnx.NodeProto) -> str:
    if attribute(node, "group", 1) != 1:
        return "in groups"
    if any(d != 1 for d in attribute(node, "dilations", [1])):
        return "with dilations"
    if any(attribute(node, "pads", [0])) or any(attribute(node, "output_padding", [0])):
        return "with padding"
    return "" if _within(list(network.weight_shape(node)[2:]), 1, 32) else "with a kernel above 32"


def _pooling(network: Network, node: onnx.NodeProto) -> str:
    if not _within(attribute(node, "kernel_shape", []), 1, 8):
        return "with a window above 8"
    if not _within(attribute(node, "strides", [1]), 1, 16):
        return "with strides above 16"
    return "" if _within(attribute(node, "pads", [0]), 0, 7) else "with padding above 7"


def _global_pooling(network: Network, node: onnx.NodeProto) -> str:
    window = (network.shape(node.input[0]) or ())[2:]
    return "" if window and _within([n or 9 for n in window], 1, 8) else "over a window above 8"


def _resize(network: Network, node: onnx.NodeProto) -> str:
    before, after = network.shape(node.input[0]), network.shape(node.output[0])
    if before is None or after is None or None in (*before, *after) or len(before) != 4:
        return "to a size that is not fixed"
    factors = np.array(after, float) / np.array(before, float)
    mode = attribute(node, "mode", "nearest")
    most = {"nearest": 32, "linear": 4}.get(mode, 0)
    if not most:
        return f"with mode {mode}"
    if np.any(factors[:2] != 1) or np.any(factors != np.round(factors)) or factors.max() > most:
        return f"({mode}) by other than whole factors of height and width up to {most}"
    if mode == "linear" and attribute(node, "coordinate_transformation_mode", "half_pixel") not in (
        "half_pixel",
        "pytorch_half_pixel",
    ):
        return "(linear) with other coordinates than half_pixel"
    return ""


def _concat(network: Network, node: onnx.NodeProto) -> str:
    rank = len(network.shape(node.output[0]) or ()) or 4
    return "" if attribute(node, "axis", 1) % rank == 1 else "along another axis than the channels'"


def _floats(network: Network, node: onnx.NodeProto) -> str:
    whole = (TensorProto.INT32, TensorProto.INT64)
    return "of integers" if any(network.dtype(i) in whole for i in node.input) else ""


LIMITS: dict[str, Callable[[Network, onnx.NodeProto], str]] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "GlobalAveragePool": _global_pooling,
    "GlobalMaxPool": _global_pooling,
    "Resize": _resize,
    "Concat": _concat,
    **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min", "Div", "Pow", "Sum"), _floats),
}
RULES = (availability, rounding, shapes, layers)
