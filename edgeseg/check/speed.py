"""What builds and is slow: convolutions that stay in float, numbers that travel in float32, roundings in the way.

How TensorRT fuses: https://docs.nvidia.com/deeplearning/tensorrt, "Explicit Quantization", on the placement of Q/DQ.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgeseg.check.findings import Finding
from edgeseg.check.network import DEQUANTIZE, FLOATS, MOVES, POINTWISE, QUANTIZE, Network, attribute, label
from edgeseg.check.readers import Reader

ARITHMETIC = {"Add", "Sub", "Mul", "Div"}
PACK = 32  # channels that an int8 tensor-core kernel takes at once
TAIL = {"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Softmax", "LogSoftmax", "Sigmoid"}
TAIL |= {"ArgMax", "TopK", "Resize", "Upsample"}


def float_convolutions(network: Network, reader: Reader) -> Iterator[Finding]:
    """In a quantized graph: convolutions whose inputs or results are not rounded."""
    if not network.quantized:
        return
    outputs = {o.name for o in network.outputs}
    total = sum(map(network.macs, network.nodes)) or 1
    for conv in network.of("Conv", "ConvTranspose"):
        share = f"{network.macs(conv) / total:.1%} of the multiply-adds"
        if not network.integer(conv):
            if network.depthwise(conv):
                message = "depthwise and left in float, which costs little where bandwidth decides"
                yield Finding("note", "depthwise-float", (label(conv),), message)
                continue
            side = "input" if network.dequantized(conv.input[0]) is None else "weights"
            message = f"runs in float, {share}: its {side} are not behind a DequantizeLinear. Quantize both"
            yield Finding("slow", "float-convolution", (label(conv),), message)
        elif not network.quantized_next(conv.output[0]) and not _leaves(network, conv.output[0], outputs):
            message = (
                "computes with integers and writes floats, four (or two) bytes for one: something that reads it does "
                "not round first. Put a QuantizeLinear behind the convolution or its activation"
            )
            yield Finding("slow", "float-output", (label(conv),), message)


def _leaves(network: Network, tensor: str, outputs: set[str]) -> bool:
    """Whether a tensor becomes an output without another convolution: logits stay float."""
    if tensor in outputs:
        return True
    readers = network.readers[tensor]
    through = TAIL | POINTWISE | MOVES
    return bool(readers) and all(r.op_type in through and _leaves(network, r.output[0], outputs) for r in readers)


def float32_between(network: Network, reader: Reader) -> Iterator[Finding]:
    """float32 that is computed or stored where the graph's types decide."""
    if not reader.typed:
        return
    if not network.quantized and not any(network.dtype(t) == TensorProto.FLOAT16 for t in network.maker):
        message = (
            f"the graph computes in float32, and {reader.name} takes the types as they are: float16 is about twice as "
            "fast and half as large. Give it the fp16 form"
        )
        yield Finding("slow", "float32", (), message)
        return
    stored = {t: size for t in network.maker if (size := _stored_bytes(network, t))}
    wide = {t: size for t, size in stored.items() if size == 4 * network.elements(t) and _inside(network, t)}
    macs = [n for n in network.nodes if network.macs(n) and network.dtype(n.output[0]) == TensorProto.FLOAT]
    macs = [n for n in macs if not all(network.dequantized(i) for i in n.input[:2])]
    if not wide and not macs:
        return
    work = sum(map(network.macs, macs)) / (sum(map(network.macs, network.nodes)) or 1)
    megabytes = sum(wide.values()) / 2**20
    share = sum(wide.values()) / sum(stored.values()) if stored else 0.0
    message = (
        f"tensors between the operators are float32, {len(wide)} of them: {megabytes:.2f} MiB, {share:.0%} of the "
        f"bytes that are written; {work:.1%} of the multiply-adds are done in it. In the fp16 forms they would be half"
    )
    names = [label(network.maker[t]) for t in wide] + [label(n) for n in macs]
    yield Finding("slow" if work > 0 or share > 0.05 else "note", "float32", tuple(dict.fromkeys(names)), message)


def _stored_bytes(network: Network, tensor: str) -> int:
    """Bytes that an engine writes for a tensor; 0 where it is fused away, constant or no image."""
    node, readers = network.maker[tensor], network.readers[tensor]
    if node.op_type == DEQUANTIZE or network.constant(tensor) or not readers:
        return 0
    if node.op_type != QUANTIZE and network.quantized_next(tensor):
        return 0
    if len(readers) == 1 and readers[0].op_type in POINTWISE | MOVES | ARITHMETIC:
        return 0
    if network.dequantized(tensor) is not None:  # moved about before it is dequantized
        return network.elements(tensor)
    return network.elements(tensor) * FLOATS.get(network.dtype(tensor), 1)


def _inside(network: Network, tensor: str) -> bool:
    """Whether a tensor is neither the first step of the input nor a last step to the output."""
    return network.maker[tensor].input[0] not in {i.name for i in network.inputs} and not _leaves(
        network, tensor, {o.name for o in network.outputs}
    )


def roundings_in_the_way(network: Network, reader: Reader) -> Iterator[Finding]:
    """A rounding between a convolution and what would be fused with it."""
    for node in network.of(QUANTIZE):
        before = network.maker.get(node.input[0])
        while before is not None and before.op_type == "Cast":
            before = network.maker.get(before.input[0])
        if before is None or before.op_type not in ("Conv", "ConvTranspose"):
            continue
        reals = [r for r in network.readers[node.output[0]] if r.op_type == DEQUANTIZE]
        between = [r for real in reals for r in network.readers[real.output[0]] if r.op_type in POINTWISE]
        if between:
            message = (
                f"a rounding stands between a convolution and its {between[0].op_type}, which then is a pass of its "
                "own over the whole map. Round behind it"
            )
            yield Finding("slow", "split-fusion", (label(before),), message)


def sums(network: Network, reader: Reader) -> Iterator[Finding]:
    """Residual sums in a quantized graph: each branch rounded, or one of them straight from its convolution."""
    for node in network.of("Add"):
        if any(network.constant(i) for i in node.input) or not network.quantized_next(node.output[0]):
            continue
        rounded = [network.dequantized(i) is not None for i in node.input]
        fused = [_from_integer_convolution(network, i) for i in node.input]
        if all(rounded) or (any(rounded) and any(fused)):
            continue
        if not any(rounded) and not any(fused):  # all float before it: said of what made it so
            continue
        message = (
            "of the two branches of a sum one is rounded and the other is not: the sum runs in float, and both travel "
            "there in float. Put a QuantizeLinear and a DequantizeLinear on the other branch too"
        )
        yield Finding("slow", "residual", (label(node),), message)


def _from_integer_convolution(network: Network, tensor: str) -> bool:
    node = network.maker.get(tensor)
    return node is not None and node.op_type == "Conv" and network.integer(node) and len(network.readers[tensor]) == 1


def depthwise_on_rtx(network: Network, reader: Reader) -> Iterator[Finding]:
    if reader.target != "trt-rtx":
        return
    for conv in network.of("Conv"):
        if network.depthwise(conv) and network.integer(conv):
            message = (
                "depthwise in int8: TensorRT-RTX 1.7 stores such weights nearly dense (a net of 1.1 M parameters made "
                "a plan of 41.7 MB, and 7.3 MB with them in float). Leave them in float: export with --depthwise float"
            )
            yield Finding("slow", "rtx-depthwise", (label(conv),), message)


def float_results_on_rtx(network: Network, reader: Reader) -> Iterator[Finding]:
    """Integer convolutions with a scale per channel, whose results TensorRT-RTX 1.7.1 writes as float32."""
    if reader.target != "trt-rtx":
        return
    found = [conv for conv in network.of("Conv") if network.integer(conv) and _scales(network, conv) > 1]
    if found:
        message = (
            "integer convolutions with a weight scale per channel: TensorRT-RTX 1.7 writes what they return as float32 "
            "and rounds it in a kernel of its own (its lists of layers say so), so int8 can move more bytes than fp16. "
            "Let 'edgeseg bench' say which is faster"
        )
        yield Finding("note", "rtx-float-results", tuple(map(label, found)), message)


def _scales(network: Network, conv: onnx.NodeProto) -> int:
    """How many scales the weights of an integer convolution have: one, or one per channel."""
    weights = network.dequantized(conv.input[1])
    scale = None if weights is None else network.value(weights.input[1])
    return 0 if scale is None else scale.size


def channels(network: Network, reader: Reader) -> Iterator[Finding]:
    """Channels that fill no whole pack of an int8 kernel."""
    odd: list[onnx.NodeProto] = []
    real = padded = 0
    for conv in network.of("Conv"):
        if not network.integer(conv) or attribute(conv, "group", 1) != 1:
            continue
        out, into = network.weight_shape(conv)[:2]
        factor = (-(-out // PACK) * PACK / out) * (-(-into // PACK) * PACK / into)
        real, padded = real + network.macs(conv), padded + int(network.macs(conv) * factor)
        if factor > 1:
            odd.append(conv)
    if odd and real:
        message = (
            f"{len(odd)} int8 convolutions have channels that are no multiple of {PACK} (some kernels take 16 or 4): "
            f"filled up, they do up to {padded / real:.2f} times the multiply-adds. A width that rounds to "
            f"{PACK} wastes nothing"
        )
        yield Finding("note", "channels", tuple(map(label, odd)), message)


def tail(network: Network, reader: Reader) -> Iterator[Finding]:
    """Upsampling and argmax at the graph's end."""
    seen: list[onnx.NodeProto] = []
    for output in network.outputs:
        node = network.maker.get(output.name)
        while node is not None and node.op_type in TAIL:
            seen.append(node)
            node = network.maker.get(node.input[0])
    heavy = [n for n in seen if n.op_type in ("ArgMax", "TopK", "Resize", "Upsample")]
    if heavy:
        message = (
            f"the graph ends in {' and '.join(dict.fromkeys(n.op_type for n in reversed(heavy)))}: full-size maps of "
            "every class are written and read. Let the engine return coarse logits and label them with edgeseg's "
            "kernels; 'edgeseg adopt' cuts the end off"
        )
        yield Finding("slow", "tail", tuple(map(label, heavy)), message)


RULES = (
    float_convolutions,
    float32_between,
    roundings_in_the_way,
    sums,
    depthwise_on_rtx,
    float_results_on_rtx,
    channels,
    tail,
)
