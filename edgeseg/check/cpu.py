"""OpenVINO and ONNX Runtime on CPUs: the form of the rounding, and what was seen to come out wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from edgeseg.check.findings import Finding
from edgeseg.check.network import QUANTIZE, STANDARD, Network, attribute, label
from edgeseg.check.readers import Reader
from edgeseg.check.speed import tail

THEIRS = (*STANDARD, "com.microsoft", "ai.onnx.ml")
LARGEST_SAFE = 64  # of an int8 weight: 2 * 255 * 64 is the last sum of two products that 16 bits hold


def domains(network: Network, reader: Reader) -> Iterator[Finding]:
    for node, name in network.everywhere():
        if node.domain not in THEIRS and (node.domain, node.op_type) not in network.functions:
            message = f"{node.op_type} of domain {node.domain!r} is an extension of yours: register it, or do without"
            yield Finding("refused", "operator", (name,), message)


def signed_activations(network: Network, reader: Reader) -> Iterator[Finding]:
    """s8 where u8 is fast."""
    for node in network.of(QUANTIZE):
        before = network.maker.get(node.input[0])
        zero = network.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if before is None or zero is None or zero.dtype != np.int8 or before.op_type not in ("Relu", "Clip"):
            continue
        if reader.target == "onnxruntime":
            message = (
                f"a {before.op_type} before signed rounding does not fuse in ONNX Runtime, and the quantized network "
                "can be slower than the float one (1.06 to 2 times). Use the unsigned form, int8-cpu.onnx of a bundle"
            )
            yield Finding("slow", "signed-activations", (label(node),), message)
        else:
            message = "rounds to signed integers what is never negative, and wastes a bit: int8-cpu.onnx does not"
            yield Finding("note", "signed-activations", (label(node),), message)


def padded_average(network: Network, reader: Reader) -> Iterator[Finding]:
    if reader.target != "openvino":
        return
    for node in network.of("AveragePool"):
        padded = any(attribute(node, "pads", [0])) or attribute(node, "auto_pad", "NOTSET").startswith("SAME")
        if padded and attribute(node, "count_include_pad", 0) and network.dequantized(node.input[0]) is not None:
            message = (
                "an int8 average pool that counts its padding comes out wrong in OpenVINO, by 1 to 2.7 times the value "
                "(seen in 2026.4). Train with count_include_pad=False, or leave the pool's input in float"
            )
            yield Finding("wrong", "average-pool", (label(node),), message)


def rounded_sums(network: Network, reader: Reader) -> Iterator[Finding]:
    """OpenVINO fuses a convolution with the sum behind it and leaves out the rounding between them."""
    if reader.target != "openvino":
        return
    for node in network.of("Add"):
        for tensor in node.input:
            real = network.maker.get(tensor)
            rounded = network.maker.get(real.input[0]) if real and real.op_type == "DequantizeLinear" else None
            source = network.maker.get(rounded.input[0]) if rounded and rounded.op_type == QUANTIZE else None
            if source is not None and source.op_type in ("Clip", "Relu"):
                source = network.maker.get(source.input[0])
            if source is not None and source.op_type == "Conv":
                message = (
                    "OpenVINO leaves out the rounding between a convolution and this sum, and labels move a little "
                    "(98.9 % stayed, seen in 2026.4). A 1x1 MaxPool between holds it, as in int8-cpu.onnx"
                )
                yield Finding("note", "rounded-sum", (label(node),), message)


def saturation(network: Network, reader: Reader) -> Iterator[Finding]:
    """8-bit weights, where two products no longer fit 16 bits."""
    found = []
    for conv in network.of("Conv", "ConvTranspose"):
        node = network.dequantized(conv.input[1])
        values = network.value(node.input[0]) if node is not None else None
        if values is not None and values.dtype == np.int8 and np.abs(values.astype(np.int16)).max() > LARGEST_SAFE:
            found.append(label(conv))
    if found:
        message = (
            "weights of 8 bits saturate on CPUs without VNNI (98.9 to 99.6 % of the labels stayed); "
            "'edgeseg qat --weight-bits 7' keeps clear of it"
        )
        yield Finding("note", "saturation", tuple(found), message)


def whole_types(network: Network, reader: Reader) -> Iterator[Finding]:
    for value in network.inputs:
        if network.dtype(value.name) == TensorProto.FLOAT16:
            message = "a float16 graph is widened to float32 on most CPUs, at the price of casts: use float.onnx"
            yield Finding("slow", "fp16", (value.name,), message)


RULES = (domains, signed_activations, padded_average, rounded_sums, saturation, whole_types, tail)
