"""Rewrites of a quantized ONNX graph: the same network, said as an engine wants to hear it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Operators whose output is nowhere negative when none of their inputs is.
KEEP_SIGN = {"Resize", "AveragePool", "GlobalAveragePool", "ReduceMean", "MaxPool", "Concat", "Add"}
KEEP_SIGN |= {"QuantizeLinear", "DequantizeLinear", "Slice", "Mul", "Reshape", "Transpose"}
SHUFFLES = {"Reshape", "Transpose"}  # what engines do to integers as well as to the floats they stand for


class Links:
    """Who makes a tensor, and who reads it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.maker = {output: node for node in graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.constants = {t.name: t for t in graph.initializer}

    def made_by(self, tensor: str, op: str) -> bool:
        return tensor in self.maker and self.maker[tensor].op_type == op


def to_u8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Activations from s8 with zero-point 0 to u8 on the same grid.

    Zero-point 128 in general: s8 -128..127 becomes 0..255, value for value. Where a tensor cannot be negative the
    zero-point is 0, and the ReLU before it becomes a Clip to 0..127 steps, where the grid of training ends, or to where
    a ReLU6 ends before that. OpenVINO fuses the Clip into the convolution; for ONNX Runtime, which does not, its
    backend moves it behind the rounding.
    What only sums read stays signed: OpenVINO would subtract the 128 in a pass of its own. (ONNX Runtime wants it
    unsigned; its backend sees to that.)

    Where a convolution's rounded output goes into a sum, a 1x1 max-pool, which changes nothing, stands before the sum.
    OpenVINO otherwise fuses convolution and sum, and leaves out the rounding between them (seen in 2026.4: on a small
    network the labels agreed on 98.9 % of the pixels, and on 99.9 % with it). Its backend finds them a cheaper form.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    links = Links(graph)
    zeros = {"zero_u8": np.uint8(0), "middle_u8": np.uint8(128), "zero_s8": np.int8(0), "zero_f32": np.float32(0)}
    clips: dict[str, onnx.NodeProto] = {}
    graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in zeros.items())
    never_negative = _sign(links)
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        signed = "zero_s8" if _only_summed(links, node) else "middle_u8"
        zero = "zero_u8" if never_negative(node.input[0]) else signed
        node.input[2] = zero
        for reader in links.readers[node.output[0]]:
            reader.input[2] = zero
        if zero == "zero_u8":
            clips[node.name] = _clip(graph, links, node)
    nodes = [n for node in graph.node for n in ((clips[node.name], node) if node.name in clips else (node,))]
    del graph.node[:]
    graph.node.extend(nodes)
    hold_roundings(graph)
    del graph.value_info[:]  # the types of the tensors between have changed
    drop_unused(graph)
    return model


def _only_summed(links: Links, rounding: onnx.NodeProto) -> bool:
    readers = [r for real in links.readers[rounding.output[0]] for r in links.readers[real.output[0]]]
    return bool(readers) and all(r.op_type == "Add" for r in readers)


def hold_roundings(graph: onnx.GraphProto) -> None:
    """Put a 1x1 max-pool between each rounded convolution and the sum that reads it."""
    links, nodes = Links(graph), []
    for node in graph.node:
        for i, tensor in enumerate(node.input if node.op_type == "Add" else ()):
            if _rounds_a_convolution(links, tensor):
                held = f"{node.name}.held.{i}"
                nodes.append(helper.make_node("MaxPool", [tensor], [held], name=held, kernel_shape=[1, 1]))
                node.input[i] = held
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _rounds_a_convolution(links: Links, tensor: str) -> bool:
    """Whether a tensor is Conv -> (Clip) -> QuantizeLinear -> DequantizeLinear, also with factors of its own behind and
    another rounding."""
    rounded = False
    while tensor in links.maker and not links.made_by(tensor, "Conv"):
        node = links.maker[tensor]
        constant = [name for name in node.input[1:] if name in links.constants]
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear", "Clip", "Mul") or len(constant) < 1:
            return False
        rounded |= node.op_type == "QuantizeLinear"
        tensor = node.input[0]
    return rounded and links.made_by(tensor, "Conv")


def _clip(graph: onnx.GraphProto, links: Links, node: onnx.NodeProto) -> onnx.NodeProto:
    """A Clip to 0..127 steps for a QuantizeLinear to read, in place of a ReLU or ReLU6 that only it would read."""
    source = node.input[0]
    top = 127 * float(numpy_helper.to_array(links.constants[node.input[1]]))
    if (links.made_by(source, "Relu") or _limits(links, source)) and len(links.readers[source]) == 1:
        top = min((top, *_limits(links, source)[1:]))
        source = links.maker[source].input[0]
    limit = f"{node.name}.top"
    graph.initializer.append(numpy_helper.from_array(np.array(top, np.float32), limit))
    node.input[0] = f"{node.name}.clipped"
    return helper.make_node("Clip", [source, "zero_f32", limit], [node.input[0]], name=f"{node.name}.Clip")


def _limits(links: Links, tensor: str) -> tuple[float, ...]:
    """Lower and upper limit of what a Clip makes; nothing where no Clip makes it, or not between constants."""
    limits = links.maker[tensor].input[1:] if links.made_by(tensor, "Clip") else ()
    if len(limits) != 2 or not all(name in links.constants for name in limits):
        return ()
    return tuple(float(numpy_helper.to_array(links.constants[name])) for name in limits)


def _sign(links: Links):  # type: ignore[no-untyped-def]
    known: dict[str, bool] = {}

    def never_negative(tensor: str) -> bool:
        if tensor not in known:
            node = links.maker.get(tensor)
            if node is None:
                known[tensor] = False
            elif node.op_type in KEEP_SIGN:
                data = node.input if node.op_type in ("Concat", "Add", "Mul") else node.input[:1]
                known[tensor] = all(never_negative(i) for i in data)
            else:
                known[tensor] = node.op_type == "Relu" or (0.0, *_limits(links, tensor)[1:]) == _limits(links, tensor)
        return known[tensor]

    return never_negative


def global_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """Means over a whole map as GlobalAveragePool, the same in every version of the standard.

    From opset 18 on the axes of a ReduceMean are an input. TensorRT 8.6 looks for them among the attributes, finds
    none, and takes the mean over all dimensions without a word.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    links = Links(model.graph)
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in links.constants:
            continue
        axes = numpy_helper.to_array(links.constants[node.input[1]]).tolist()
        kept = {a.name: a.i for a in node.attribute}.get("keepdims", 1)
        if kept and sorted(axis % 4 for axis in axes) == [2, 3]:
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
    drop_unused(model.graph)
    return model


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that lead nowhere."""
    while True:
        used = {i for node in graph.node for i in node.input} | {o.name for o in graph.output}
        dead = [node for node in graph.node if not used.intersection(node.output)]
        for node in dead:
            graph.node.remove(node)
        if not dead:
            break
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def convolutions(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the convolutions that an engine should run in int8, and of those it may run in float.

    One whose output stays float, as logits do, has no int8 kernel in some engines, nor has a transposed one.
    """
    links = Links(model.graph)
    found: dict[str, list[str]] = {"int8": [], "float": []}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            inputs = all(links.made_by(_unshuffled(links, i), "DequantizeLinear") for i in node.input[:2])
            rounded = node.op_type == "Conv" and _rounded(links, node.output[0])
            found["int8" if inputs and rounded else "float"].append(node.name)
    return found


def _unshuffled(links: Links, tensor: str) -> str:
    """The tensor whose values, in another order, this one has."""
    while tensor in links.maker and links.maker[tensor].op_type in SHUFFLES:
        tensor = links.maker[tensor].input[0]
    return tensor


def _rounded(links: Links, tensor: str) -> bool:
    """Whether a tensor goes straight, or through a ReLU or ReLU6, to a QuantizeLinear."""
    readers = links.readers[tensor]
    return bool(readers) and all(
        r.op_type == "QuantizeLinear" or (r.op_type in ("Relu", "Clip") and _rounded(links, r.output[0]))
        for r in readers
    )
