"""Tiny ONNX graphs made by hand, one fault each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STEP, ZERO = np.float32(0.1), np.int8(0)


class Sketch:
    """A graph under the pen: each call adds a node and returns the name of what it makes."""

    def __init__(
        self, shape: Sequence[int | str] = (1, 8, 8, 8), dtype: int = TensorProto.FLOAT, *, opset: int = 20
    ) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("x", dtype, shape)]

    def constant(self, value: Any, name: str | None = None) -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, *inputs: str, name: str | None = None, outputs: int = 1, **attributes: Any) -> str:
        name = name or f"{op}_{len(self.nodes)}"
        made = [f"{name}.out", *(f"{name}.out{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), made, name=name, **attributes))
        return made[0]

    def quantize(self, x: str, scale: Any = STEP, zero: Any = ZERO, **attributes: Any) -> str:
        return self.node("QuantizeLinear", x, self.constant(scale), self.constant(zero), **attributes)

    def dequantize(self, x: str, scale: Any = STEP, zero: Any = ZERO, **attributes: Any) -> str:
        return self.node("DequantizeLinear", x, self.constant(scale), self.constant(zero), **attributes)

    def rounded(self, x: str, scale: Any = STEP, zero: Any = ZERO, **attributes: Any) -> str:
        """Quantized and back."""
        return self.dequantize(self.quantize(x, scale, zero, **attributes), scale, zero, **attributes)

    def weight(self, shape: Sequence[int] = (8, 8, 3, 3), dtype: Any = np.float32) -> str:
        values = np.random.default_rng(len(self.constants)).normal(size=shape)
        return self.constant(values.astype(dtype))

    def integer_weight(self, shape: Sequence[int] = (8, 8, 3, 3), *, per_channel: bool = True) -> str:
        values = np.random.default_rng(len(self.constants)).integers(-127, 128, shape).astype(np.int8)
        if per_channel:
            scale, zero = np.full(shape[0], 0.01, np.float32), np.zeros(shape[0], np.int8)
            return self.dequantize(self.constant(values), scale, zero, axis=0)
        return self.dequantize(self.constant(values), np.float32(0.01))

    def conv(self, x: str, weight: str | None = None, *, bias: str = "", **attributes: Any) -> str:
        attributes = {"pads": [1, 1, 1, 1], **attributes}
        return self.node("Conv", x, weight or self.weight(), *([bias] if bias else []), **attributes)

    def model(
        self, *outputs: str, dtype: int = TensorProto.FLOAT, opsets: dict[str, int] | None = None
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            self.inputs,
            [helper.make_tensor_value_info(o, dtype, None) for o in outputs],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid(*pair) for pair in {"": self.opset, **(opsets or {})}.items()]
        )
        model.ir_version = 10
        return onnx.shape_inference.infer_shapes(model)
