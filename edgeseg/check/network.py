"""An ONNX graph to ask: who makes a tensor, who reads it, of what type and shape it is, and what is constant."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeseg.errors import UserError

STANDARD = ("", "ai.onnx")
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# What moves or picks numbers without computing new ones: rounding before or behind it is the same.
MOVES = {"Cast", "Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "MaxPool", "Expand"}
MOVES |= {"Gather", "DepthToSpace", "SpaceToDepth"}
POINTWISE = {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Elu"}
POINTWISE |= {"Swish", "BatchNormalization"}
FLOATS = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2, TensorProto.DOUBLE: 8}


class Network:
    """A model with its types and shapes inferred."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Raises UserError where a node is of a domain that the file does not declare."""
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except onnx.shape_inference.InferenceError as e:
            raise UserError(f"the graph is no valid ONNX ({str(e).splitlines()[0]}): export it again") from e
        self.model, graph = model, model.graph
        self.nodes = list(graph.node)
        self.initializers = {t.name: t for t in graph.initializer}
        self.inputs = [i for i in graph.input if i.name not in self.initializers]
        self.outputs = list(graph.output)
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self._values = {v.name: v.type.tensor_type for v in [*graph.input, *graph.value_info, *graph.output]}
        self._constant: dict[str, bool] = {}
        self.opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)

    @classmethod
    def read(cls, file: Path) -> Network:
        try:
            return cls(onnx.load(file))
        except (UserError, OSError):
            raise
        except Exception as e:  # protobuf's own errors, and those about weights kept in other files
            reason = str(e).strip().splitlines()
            raise UserError(f"{file} cannot be read as ONNX ({reason[0] if reason else e!r}): export it again") from e

    def of(self, *ops: str) -> Iterator[onnx.NodeProto]:
        """The nodes of these operators, of the standard domain, in the graph itself."""
        return (n for n in self.nodes if n.op_type in ops and n.domain in STANDARD)

    def everywhere(self) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Every node, also of branches, loops and of the functions that are called; with the name it is known by."""
        functions = {(f.domain, f.name): f for f in self.model.functions}
        seen: set[tuple[str, str]] = set()

        def walk(nodes: Iterable[onnx.NodeProto], within: str) -> Iterator[tuple[onnx.NodeProto, str]]:
            for node in nodes:
                name = within or label(node)
                yield node, name
                for a in node.attribute:
                    for graph in [a.g, *a.graphs] if a.type in (a.GRAPH, a.GRAPHS) else ():
                        yield from walk(graph.node, name)
                key = (node.domain, node.op_type)
                if key in functions and key not in seen:
                    seen.add(key)
                    yield from walk(functions[key].node, name)

        return walk(self.nodes, "")

    @property
    def functions(self) -> set[tuple[str, str]]:
        return {(f.domain, f.name) for f in self.model.functions}

    def dtype(self, tensor: str) -> int:
        """A constant of TensorProto; 0 where nobody knows."""
        if tensor in self.initializers:
            return int(self.initializers[tensor].data_type)
        return int(self._values[tensor].elem_type) if tensor in self._values else 0

    def shape(self, tensor: str) -> tuple[int | None, ...] | None:
        """None in place of a dimension that is not fixed; None as a whole where nobody knows."""
        if tensor in self.initializers:
            return tuple(self.initializers[tensor].dims)
        if tensor not in self._values or not self._values[tensor].HasField("shape"):
            return None
        dims = self._values[tensor].shape.dim
        return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)

    def elements(self, tensor: str) -> int:
        """How many numbers a tensor has; a dimension that is not fixed counts as 1."""
        return int(np.prod([n or 1 for n in self.shape(tensor) or (0,)], dtype=np.int64))

    def value(self, tensor: str) -> np.ndarray[Any, Any] | None:
        """A constant's numbers; None where it is none, or is computed."""
        if tensor in self.initializers:
            return np.asarray(numpy_helper.to_array(self.initializers[tensor]))
        node = self.maker.get(tensor)
        if node is None or node.op_type not in ("Constant", "Identity"):
            return None
        if node.op_type == "Identity":
            return self.value(node.input[0])
        (held,) = (helper.get_attribute_value(a) for a in node.attribute)
        return np.asarray(numpy_helper.to_array(held) if isinstance(held, TensorProto) else held)

    def constant(self, tensor: str) -> bool:
        """Whether a tensor is the same for every frame."""
        if tensor not in self._constant:
            self._constant[tensor] = False  # for a cycle, which no valid graph has
            node = self.maker.get(tensor)
            known = tensor in self.initializers or tensor == ""
            if node is not None:
                known = node.op_type in ("Shape", "Size") and None not in (self.shape(node.input[0]) or (None,))
                known = known or (not node.op_type.startswith("Random") and all(map(self.constant, node.input)))
            self._constant[tensor] = known
        return self._constant[tensor]

    def dequantized(self, tensor: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that a tensor comes from, through what only moves numbers."""
        node = self.maker.get(tensor)
        while node is not None and node.op_type in MOVES:
            node = self.maker.get(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def quantized_next(self, tensor: str) -> bool:
        """Whether all that reads a tensor rounds it, at once or behind something that fuses with its maker."""
        readers = self.readers[tensor]
        fuses = MOVES | POINTWISE | {"Add", "Concat"}
        return bool(readers) and all(
            r.op_type == QUANTIZE or (r.op_type in fuses and self.quantized_next(r.output[0])) for r in readers
        )

    def integer(self, conv: onnx.NodeProto) -> bool:
        """Whether a convolution's two inputs come as integers."""
        return all(self.dequantized(i) is not None for i in conv.input[:2])

    @functools.cached_property
    def quantized(self) -> bool:
        return any(self.of(QUANTIZE, DEQUANTIZE))

    def weight_shape(self, conv: onnx.NodeProto) -> tuple[int, ...]:
        return tuple(n or 1 for n in self.shape(conv.input[1]) or (1, 1))

    def depthwise(self, conv: onnx.NodeProto) -> bool:
        return attribute(conv, "group", 1) > 1 and self.weight_shape(conv)[1] == 1

    def macs(self, node: onnx.NodeProto) -> int:
        """Multiply-adds of a convolution or matrix product; 0 for anything else."""
        if node.op_type == "Conv":
            return self.elements(node.output[0]) * int(np.prod(self.weight_shape(node)[1:]))
        if node.op_type == "ConvTranspose":
            return self.elements(node.input[0]) * int(np.prod(self.weight_shape(node)[1:]))
        if node.op_type in ("MatMul", "Gemm"):
            inner = (self.shape(node.input[0]) or (1,))[0 if attribute(node, "transA", 0) else -1]
            return self.elements(node.output[0]) * (inner or 1)
        return 0


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for a in node.attribute:
        if a.name == name:
            value = helper.get_attribute_value(a)
            return value.decode() if isinstance(value, bytes) else value
    return default


def label(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type} -> {next(iter(node.output), '')}"
