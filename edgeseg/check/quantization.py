"""Rounding as TensorRT reads it: zero-points, types, scales, axes, and what belongs together.

TensorRT rounds symmetrically, to signed integers: https://docs.nvidia.com/deeplearning/tensorrt, "Working with
Quantized Types". What its parser does with anything else was read in ``QuantDequantLinearHelper`` of onnx-tensorrt
(branches 8.6-GA and 10.1-GA) and seen in TensorRT-RTX 1.7.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from edgeseg.check.findings import Finding
from edgeseg.check.network import DEQUANTIZE, MOVES, QUANTIZE, Network, attribute, label
from edgeseg.check.readers import Reader

FP16_TINY = float(np.finfo(np.float16).tiny)  # the least with full precision
FP32_TINY = float(np.finfo(np.float32).tiny)
MAY_STAY_INTEGER = MOVES | {"Concat", "Resize", "Split"}  # between QuantizeLinear and DequantizeLinear
SMALL = {TensorProto.INT4: (10, 0), TensorProto.FLOAT8E4M3FN: (9, 0), TensorProto.FLOAT4E2M1: (10, 8)}


def zero_points(network: Network, reader: Reader) -> Iterator[Finding]:
    for node in network.of(QUANTIZE, DEQUANTIZE):
        zero = _input(node, 2)
        if not zero:
            if reader.before(10, 0):
                message = f"{reader.name} wants the zero-point written out: give each rounding one of int8 zeros"
                yield Finding("refused", "zero-point", (label(node),), message)
            continue
        values = network.value(zero)
        if values is None:
            message = "the zero-point is computed, and must be a constant of zeros: TensorRT rounds symmetrically"
            yield Finding("refused", "zero-point", (label(node),), message)
        elif np.any(values.astype(np.float32) != 0):
            found = ", ".join(map(str, np.unique(values.astype(np.float32)).astype(int)[:3]))
            message = (
                f"the zero-point is {found}, and TensorRT rounds symmetrically: its parser stops. Use the signed form "
                "with zero-point 0 (int8.onnx of a bundle), or train and calibrate symmetrically"
            )
            yield Finding("refused", "zero-point", (label(node),), message)


def integer_types(network: Network, reader: Reader) -> Iterator[Finding]:
    """The types of what comes out of a QuantizeLinear, and of what goes into a DequantizeLinear."""
    for node in network.of(QUANTIZE, DEQUANTIZE):
        dtype = _quantized_type(network, node)
        if dtype in (TensorProto.INT8, 0):
            continue
        name = TensorProto.DataType.Name(dtype)
        if dtype == TensorProto.UINT8:
            yield from _unsigned(network, node)
        elif dtype == TensorProto.INT32:
            message = (
                "a DequantizeLinear of int32, as for biases: TensorRT takes 8-bit and smaller integers only. Leave "
                "biases in float; it rounds nothing that matters"
            )
            yield Finding("refused", "int32-bias", (label(node),), message)
        elif dtype not in SMALL or reader.before(*SMALL[dtype]):
            yield Finding("refused", "quantized-type", (label(node),), f"{reader.name} does not round to {name}: int8")
        else:
            message = f"{name} runs on some GPUs only, not on Orin's or older ones: int8 runs on all"
            yield Finding("note", "quantized-type", (label(node),), message)


def _quantized_type(network: Network, node: onnx.NodeProto) -> int:
    if node.op_type == DEQUANTIZE:
        return network.dtype(node.input[0])
    zero = _input(node, 2)
    if zero:
        return network.dtype(zero)
    return int(attribute(node, "output_dtype", 0)) or TensorProto.INT8  # what TensorRT takes it for; ONNX: uint8


def _unsigned(network: Network, node: onnx.NodeProto) -> Iterator[Finding]:
    source = node.input[0]
    if node.op_type == DEQUANTIZE and (network.constant(source) or source not in network.maker):
        message = "unsigned integers go into a DequantizeLinear, and TensorRT takes signed ones: use s8, zero-point 0"
        yield Finding("refused", "uint8-quantization", (label(node),), message)
    elif not _input(node, 2) and node.op_type == QUANTIZE:
        message = "rounds to uint8, and TensorRT rounds to int8: use s8, zero-point 0"
        yield Finding("refused", "uint8-quantization", (label(node),), message)
    elif _symmetric(network, node):  # otherwise the zero-point is said to be refused
        message = (
            "activations are rounded to uint8 with zero-point 0: TensorRT's parser warns, takes int8 instead, and all "
            "above 127 is cut off. Use the signed form (int8.onnx of a bundle)"
        )
        yield Finding("wrong", "uint8-quantization", (label(node),), message)


def _symmetric(network: Network, node: onnx.NodeProto) -> bool:
    values = network.value(_input(node, 2))
    return values is not None and not np.any(values)


def scales(network: Network, reader: Reader) -> Iterator[Finding]:
    for node in network.of(QUANTIZE, DEQUANTIZE):
        values = network.value(node.input[1])
        if values is None:
            if not network.constant(node.input[1]):
                yield _computed_scale(network, node, reader)
            continue
        numbers = values.astype(np.float32).reshape(-1)
        half = values.dtype == np.float16
        if not np.all(numbers > 0):
            why = "; it became zero in float16: keep scales in float32" if half else ""
            message = f"a scale is {numbers[~(numbers > 0)][0]:g}, and TensorRT wants positive ones{why}"
            yield Finding("refused", "scale", (label(node),), message)
        elif np.any(numbers < FP32_TINY) or not np.all(np.isfinite(numbers)):
            message = (
                f"a scale is {numbers[np.argmin(numbers)]:g}, which a GPU takes for 0 or cannot invert: the channel "
                "carries nothing; use a scale such as 1e-12"
            )
            yield Finding("wrong", "scale", (label(node),), message)
        elif half and np.any(numbers < FP16_TINY):
            message = f"a float16 scale below {FP16_TINY:.2g} has lost digits: keep scales in float32"
            yield Finding("note", "scale", (label(node),), message)
        if half and reader.before(10, 0):
            message = f"{reader.name} reads every scale as float32, so float16 ones come out as others: cast them"
            yield Finding("wrong", "scale", (label(node),), message)
        yield from _sizes(network, node, values.size)


def _computed_scale(network: Network, node: onnx.NodeProto, reader: Reader) -> Finding:
    """TensorRT-RTX 1.7.1 builds with a scale that is an input of the graph, and ends the process at computed ones."""
    if reader.target == "trt-rtx" and node.input[1] not in network.maker:
        message = "the scale is an input, and no integer kernel takes such: it is a pass of its own. Calibrate instead"
        return Finding("slow", "scale", (label(node),), message)
    message = "the scale depends on the input (dynamic quantization): TensorRT wants a constant; calibrate"
    return Finding("refused", "scale", (label(node),), message)


def _sizes(network: Network, node: onnx.NodeProto, count: int) -> Iterator[Finding]:
    zero = network.value(_input(node, 2))
    shape = network.shape(node.input[0])
    if zero is not None and zero.size != count:
        message = f"{count} scales and {zero.size} zero-points, of which there must be as many"
        yield Finding("refused", "axis", (label(node),), message)
    if count == 1 or shape is None or attribute(node, "block_size", 0):
        return
    axis = attribute(node, "axis", 1)
    if shape[axis] not in (count, None):
        message = f"{count} scales for {shape[axis]} channels on axis {axis}"
        yield Finding("refused", "axis", (label(node),), message)


def axes(network: Network, reader: Reader) -> Iterator[Finding]:
    """Per channel for weights, per tensor for activations."""
    for node in network.of(QUANTIZE, DEQUANTIZE):
        many = network.elements(node.input[1]) > 1
        weights = network.constant(node.input[0])
        if many and not weights:
            message = (
                "activations are rounded per channel, and TensorRT has kernels for per-tensor scales only: what reads "
                "them runs in float. Use one scale per tensor"
            )
            yield Finding("slow", "axis", (label(node),), message)
    for conv in network.of("Conv", "ConvTranspose"):
        node = network.dequantized(conv.input[1])
        if node is None or not network.integer(conv):
            continue
        wanted = 0 if conv.op_type == "Conv" else 1
        rank = len(network.weight_shape(conv))
        if network.elements(node.input[1]) == 1:
            message = "weights share one scale per tensor, which costs accuracy and gains nothing: use one per channel"
            yield Finding("note", "weights-per-tensor", (label(conv),), message)
        elif attribute(node, "axis", 1) % rank != wanted:
            message = (
                f"weights have a scale per index of axis {attribute(node, 'axis', 1)}, and integer kernels want one "
                f"per output channel, axis {wanted}: this convolution runs in float"
            )
            yield Finding("slow", "axis", (label(conv),), message)


def pairs(network: Network, reader: Reader) -> Iterator[Finding]:
    """A QuantizeLinear with a DequantizeLinear behind it, and the other way round."""
    for node in network.of(QUANTIZE):
        if not _leads_to_dequantize(network, node.output[0]):
            message = (
                "rounded numbers go where no DequantizeLinear is: TensorRT fuses pairs, and what stands alone is a "
                "pass of its own. Put a DequantizeLinear of the same scale behind it, or take the rounding out"
            )
            yield Finding("slow", "unpaired", (label(node),), message)
    for node in network.of(DEQUANTIZE):
        if not network.constant(node.input[0]) and not _comes_from_quantize(network, node.input[0]):
            message = (
                "a DequantizeLinear of what no QuantizeLinear made and no constant is: nothing fuses with it. Round "
                "in the graph"
            )
            yield Finding("slow", "unpaired", (label(node),), message)


def _leads_to_dequantize(network: Network, tensor: str) -> bool:
    readers = network.readers[tensor]
    return bool(readers) and all(
        r.op_type == DEQUANTIZE or (r.op_type in MAY_STAY_INTEGER - {"Cast"} and _leads_to_dequantize(network, o))
        for r in readers
        for o in r.output[:1]
    )


def _comes_from_quantize(network: Network, tensor: str) -> bool:
    node = network.maker.get(tensor)
    while node is not None and node.op_type in MAY_STAY_INTEGER - {"Cast"}:
        node = network.maker.get(node.input[0])
    return node is not None and node.op_type == QUANTIZE


def opsets(network: Network, reader: Reader) -> Iterator[Finding]:
    if network.opset >= 19:
        return
    for node in network.of(QUANTIZE):
        if network.dtype(node.input[0]) in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            message = (
                f"QuantizeLinear takes float16 from opset 19 on, and the graph is of {network.opset}: TensorRT 10 "
                "looks away, ONNX Runtime refuses. Export with opset 19 or later"
            )
            yield Finding("note", "fp16-opset", (label(node),), message)


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if len(node.input) > index else ""


RULES = (zero_points, integer_types, scales, axes, pairs, opsets)
