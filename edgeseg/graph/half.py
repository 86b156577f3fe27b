"""The graphs that strongly typed TensorRT takes: fp16 written into them, where it changes nothing that was trained.

TensorRT 11 and TensorRT-RTX compute in the types of the graph and have no switch for fp16. Casting everything costs
labels: a convolution of integers has a sum of some twenty bits, and rounding it to the eleven of fp16 before it is
rounded to eight moves it over the edge of a step now and then (0.5 to 0.8 % of the labels of DDRNet-23-slim and
Fast-SCNN). So what is computed from rounded values stays fp32 until it is rounded again; an engine does both in one
kernel, and no fp32 reaches memory. Sums of rounded values, of eight bits and powers of two for their steps, are exact
in fp16. There, and wherever nothing is rounded, as in the float graph, everything is fp16.

The head stays fp32 as well: it takes the mean from pixels, and 123.675 is not an fp16 number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeseg.errors import NetworkError
from edgeseg.graph.passes import Links, drop_unused

CONVOLUTIONS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
HEAD = {"Cast", "Transpose", "Sub", "Mul", "Pad"}
AVERAGES = {"Resize", "AveragePool", "GlobalAveragePool", "ReduceMean"}
MOVES = {"Slice", "Concat", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "Split"}
# One value in, one value out: what a kernel does to a result before it writes it.
POINTWISE = {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu"}
SUMS = {"Add", "Sub", "Mul"}
REAL = {"Resize": 1, "Upsample": 1, "QuantizeLinear": 2, "DequantizeLinear": 2}  # inputs that have the data's type
HALF_MAX = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float graph, or a quantized one in its signed form, with fp16 inside; bytes in and fp32 out, as before.

    Raises NetworkError where a constant is too large for fp16.
    """
    model = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model.SerializeToString()), strict_mode=True)
    writer = Writer(model.graph)
    for node in model.graph.node:
        writer.add(node)
    writer.finish()
    del model.graph.value_info[:]  # the types of the tensors between have changed
    drop_unused(model.graph)
    return model


class Writer:
    """Writes a graph's nodes anew, each in fp32 or fp16, and what converts between them where it is needed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph, self.links = graph, Links(graph)
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {name: numpy_helper.to_array(t) for name, t in self.links.constants.items()}
        values = [*graph.value_info, *graph.input, *graph.output]
        self.real = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.real |= {name for name, value in self.constants.items() if value.dtype == np.float32}
        self.wide = self.real & {v.name for v in graph.input}  # fp32 tensors written so far
        self.exact: set[str] = set()  # computed from rounded values, and not rounded yet
        self.converted: dict[tuple[str, bool], str] = {}
        self.head = {v.name for v in graph.input} | set(self.constants)  # what is made of pixels and constants alone

    def add(self, node: onnx.NodeProto) -> None:
        if node.op_type == "DequantizeLinear":  # written for each reader, in the type it wants
            return
        wide = self._stays_wide(node)
        for i, name in self._data_inputs(node):
            node.input[i] = self._as(name, wide)
        if node.op_type == "QuantizeLinear":
            node.input[1] = self._scale(node.input[1], wide)
        self.nodes.append(node)
        if wide:
            self.wide.update(name for name in node.output if name in self.real)

    def finish(self) -> None:
        for output in self.graph.output:
            source = self._as(output.name, True)
            if source != output.name:
                self._rename(output.name)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _stays_wide(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "QuantizeLinear":
            return node.input[0] in self.wide or not self._is_half(node.input[1])
        if node.op_type in HEAD and all(name in self.head for name in node.input):
            self.head.update(node.output)
            return True
        data = [name for _, name in self._data_inputs(node)]
        if node.op_type in CONVOLUTIONS | AVERAGES | MOVES:
            exact = all(self._is_rounded(name) or self._is_depthwise(node, name) for name in data[:2])
        else:
            exact = node.op_type in POINTWISE | SUMS and any(name in self.exact for name in data)
        if exact:
            self.exact.update(node.output)
        return exact

    def _is_rounded(self, name: str) -> bool:
        return name in self.exact or self.links.made_by(name, "DequantizeLinear")

    def _is_depthwise(self, node: onnx.NodeProto, weights: str) -> bool:
        """Whether these are the float weights of a depthwise convolution, which reads and returns rounded values."""
        return weights in self.constants and is_depthwise(node, self.constants[weights])

    def _data_inputs(self, node: onnx.NodeProto) -> Iterator[tuple[int, str]]:
        """The inputs that have the node's own type: not the scales of a Resize, nor those of a rounding."""
        first = 1 if node.op_type in REAL else len(node.input)
        return ((i, name) for i, name in enumerate(node.input[:first]) if name in self.real)

    def _as(self, name: str, wide: bool) -> str:
        """The tensor in fp32 (``wide``) or fp16; made the first time that somebody wants it so."""
        key = (name, wide)
        if key not in self.converted:
            self.converted[key] = self._make(name, wide)
        return self.converted[key]

    def _make(self, name: str, wide: bool) -> str:
        if name in self.constants:
            return name if wide else self._half_constant(name)
        if self.links.made_by(name, "DequantizeLinear"):
            return self._dequantize(name, wide)
        if (name in self.wide) == wide:
            return name
        return self._cast(name, wide)

    def _dequantize(self, name: str, wide: bool) -> str:
        node = onnx.NodeProto()
        node.CopyFrom(self.links.maker[name])
        if not wide and not self._is_half(node.input[1]):
            self._as(name, True)
            return self._cast(name, False)
        if not wide:
            node.name, node.output[0] = f"{node.name}.half", f"{name}.half"
            node.input[1] = self._scale(node.input[1], False)
        self.nodes.append(node)
        return node.output[0]

    def _cast(self, name: str, wide: bool) -> str:
        made = f"{name}.{'float' if wide else 'half'}"
        to = TensorProto.FLOAT if wide else TensorProto.FLOAT16
        self.nodes.append(helper.make_node("Cast", [name], [made], name=f"{made}.Cast", to=to))
        return made

    def _rename(self, output: str) -> None:
        """The fp16 tensor that has an output's name gives it up to its cast."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [f"{output}.half" if name == output else name for name in names]
            if node.name == f"{output}.float.Cast":
                node.output[0] = output

    def _scale(self, name: str, wide: bool) -> str:
        return name if wide else self._half_constant(name)

    def _is_half(self, name: str) -> bool:
        """Whether a scale is an fp16 number, to the bit."""
        value = self.constants.get(name)
        return value is not None and bool((value.astype(np.float16).astype(np.float32) == value).all())

    def _half_constant(self, name: str) -> str:
        made = f"{name}.half"
        if made not in self.constants:
            value = self.constants[name]
            if np.abs(value).max(initial=0) > HALF_MAX:
                raise NetworkError(f"constant {name} reaches {np.abs(value).max():g}, fp16 ends at {HALF_MAX:g}")
            self.constants[made] = value.astype(np.float16)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[made], made))
        return made


def leave_depthwise_float(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The quantized graph with its depthwise convolutions in float, and their names; every rounding stays where it is.

    TensorRT-RTX 1.7 has no depthwise kernel for integers: it spreads the weights, and the map before them, over four
    times the channels (Fast-SCNN's plan is 18 MB instead of 7).
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    links, left = Links(model.graph), []
    for node in model.graph.node:
        if node.op_type != "Conv" or not links.made_by(node.input[1], "DequantizeLinear"):
            continue
        weights = links.maker[node.input[1]]
        integers, scale = (numpy_helper.to_array(links.constants[name]) for name in weights.input[:2])
        if is_depthwise(node, integers):
            real = integers.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
            node.input[1] = f"{node.name}.weights"
            model.graph.initializer.append(numpy_helper.from_array(real, node.input[1]))
            left.append(node.name)
    drop_unused(model.graph)
    return model, left


def is_depthwise(node: onnx.NodeProto, weights: np.ndarray) -> bool:
    """Whether a convolution's weights (out, in / groups, kh, kw) look at one channel each, of several."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return node.op_type == "Conv" and groups > 1 and weights.shape[1] == 1
