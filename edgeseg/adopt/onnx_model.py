"""A model from an ONNX file: its shapes fixed, its first and last operations read, and both ends cut off."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeseg import backends
from edgeseg.adopt.ends import Ends, Port, fixed_shape
from edgeseg.adopt.onnx_steps import Links
from edgeseg.adopt.steps import Step
from edgeseg.contract import Contract
from edgeseg.errors import UserError

STANDARD = ("", "ai.onnx")
IR_VERSION = 10  # what engines of a year ago read


class OnnxModel:
    """An ONNX graph with one colour image in, of one fixed size."""

    suffix = ".onnx"
    engine = "onnxruntime"

    def __init__(self, file: Path, size_hw: tuple[int, int] | None) -> None:
        """Raises UserError where the file is no model that ONNX Runtime opens, or its input is no colour image."""
        self.original = _fix(_load(file), file, size_hw)
        self.model = _folded(self.original, file)
        inferred = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        self.types = {
            v.name: (tuple(d.dim_value for d in v.type.tensor_type.shape.dim), _dtype(v.type.tensor_type.elem_type))
            for v in [*inferred.input, *inferred.value_info, *inferred.output]
        }
        opset = max(o.version for o in self.model.opset_import if o.domain in STANDARD)
        self.links = Links(self.model.graph, self.types, opset)

    @property
    def input(self) -> Port:
        return self.tensor(self.model.graph.input[0].name)

    @property
    def outputs(self) -> list[Port]:
        return [self.tensor(o.name) for o in self.model.graph.output]

    def tensor(self, name: str) -> Port:
        return Port(name, *self.types.get(name, ((), np.dtype(np.float32))))

    def head(self) -> list[Step]:
        return self.links.forward(self.input.name)

    def tail(self, output: str) -> list[Step]:
        return self.links.backward(output)

    def write_original(self, output: str, file: Path) -> None:
        """The model as it was, at its fixed size, with one output."""
        model = onnx.ModelProto.FromString(self.original.SerializeToString())
        _replace(model.graph.output, [o for o in model.graph.output if o.name == output])
        onnx.save(model, file)

    def write(self, ends: Ends, contract: Contract, file: Path) -> None:
        """The model between its ends, with a bundle's own head on it, as one file."""
        model = onnx.ModelProto.FromString(self.model.SerializeToString())
        graph = model.graph
        taken = {name: f"{name}.of_model" for name in (contract.input_name, contract.output_name)}
        _rename(graph, taken)
        head, tail = taken.get(ends.head, ends.head), taken.get(ends.tail, ends.tail)
        _put_tail(graph, tail, ends.tail_layout, self.types[ends.tail][1], contract)
        _put_head(graph, head, ends, self.types[ends.head][1], contract)
        _prune(graph)
        del graph.value_info[:]
        used = {n.domain for n in graph.node}
        _replace(model.opset_import, [o for o in model.opset_import if o.domain in {*used, *STANDARD}])
        model.ir_version = min(model.ir_version, IR_VERSION)
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString(deterministic=True))


def _load(file: Path) -> onnx.ModelProto:
    try:
        return onnx.load(file)
    except Exception as e:  # protobuf's own errors, and those about weights kept in other files
        raise UserError(f"{file} cannot be read as ONNX ({_first_line(e)}): export it again") from e


def _fix(model: onnx.ModelProto, file: Path, size_hw: tuple[int, int] | None) -> onnx.ModelProto:
    """The model for one image of one size."""
    weights = {t.name for t in model.graph.initializer}  # old files list them among the inputs
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1:
        raise UserError(f"{file} has the inputs {', '.join(i.name for i in inputs)}; expected one, the image")
    dims = inputs[0].type.tensor_type.shape.dim
    for dim, n in zip(dims, fixed_shape([d.dim_value or None for d in dims], size_hw)):
        dim.dim_value = n
    _replace(model.graph.input, inputs)
    del model.graph.value_info[:]  # of the size it was exported for
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def _folded(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """The model with everything computed that the size of its input decides: Shape, and what follows from it."""
    engine: Any = backends.get("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        fixed, folded = Path(folder) / "fixed.onnx", Path(folder) / "folded.onnx"
        onnx.save(model, fixed)
        try:
            engine.fold(fixed, folded)
        except Exception as e:  # ONNX Runtime has an exception of its own for each kind of fault
            raise UserError(f"{file} cannot be opened by ONNX Runtime: {_first_line(e)}") from e
        return onnx.load(folded)


def _put_head(graph: onnx.GraphProto, tensor: str, ends: Ends, dtype: np.dtype[Any], contract: Contract) -> None:
    """uint8 (1, H, W, 3) -> cast, transpose, subtract -> the tensor that the network proper starts from.

    The factor goes into the weights of the first convolution. That is exact with zero padding too: what is padded
    stays zero. Where something else comes first, it is an operation of its own.
    """
    chain = _Chain(graph, contract.input_name, "head")
    if dtype.kind == "f":
        chain.add("Cast", to=TensorProto.FLOAT)  # first, since TensorRT takes bytes into a Cast and nothing else
    if ends.head_layout == "NCHW":
        chain.add("Transpose", perm=[0, 3, 1, 2])
    if dtype.kind == "f":
        per_channel = (1, 3, 1, 1) if ends.head_layout == "NCHW" else (1, 1, 1, 3)
        if np.any(ends.subtract):
            chain.add("Sub", ends.subtract.astype(np.float32).reshape(per_channel))
        if not (dtype == np.float32 and _fold_into_convolution(graph, tensor, ends.multiply)):
            chain.add("Mul", ends.multiply.astype(np.float32).reshape(per_channel))
    if dtype not in (np.float32, np.uint8):
        chain.add("Cast", to=helper.np_dtype_to_tensor_dtype(dtype))
    rest = [n for n in graph.node if tensor not in n.output]
    for node in rest:
        for i, name in enumerate(node.input):
            if name == tensor:
                node.input[i] = chain.tip
    _replace(graph.node, [*chain.nodes, *rest])
    image = helper.make_tensor_value_info(contract.input_name, TensorProto.UINT8, (1, *contract.size_hw, 3))
    _replace(graph.input, [image])


def _fold_into_convolution(graph: onnx.GraphProto, tensor: str, factor: np.ndarray) -> bool:
    """Whether the factor per channel could go into the weights of the one convolution that reads the tensor."""
    if np.all(factor == 1):
        return True
    readers = [n for n in graph.node if tensor in n.input]
    weights = {t.name: t for t in graph.initializer}
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].input[1] not in weights:
        return False
    (conv,) = readers
    weight = numpy_helper.to_array(weights[conv.input[1]])  # (M, 3, kh, kw); grouped ones have fewer
    if weight.shape[1] != 3:
        return False
    conv.input[1] = f"{conv.input[1]}.of_pixels"
    scaled = (weight * factor[None, :, None, None]).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(scaled, conv.input[1]))
    return True


def _put_tail(graph: onnx.GraphProto, tensor: str, layout: str, dtype: np.dtype[Any], contract: Contract) -> None:
    """The tensor at the cut -> float32 (1, K, h, w), or integers (1, H, W), under the contract's name."""
    chain, element = _Chain(graph, tensor, "tail"), TensorProto.FLOAT
    shape: tuple[int, ...] = contract.output_shape
    if contract.output == "labels":
        if dtype not in (np.int64, np.int32, np.uint8):  # what engines hand over
            chain.add("Cast", to=TensorProto.INT32)
            dtype = np.dtype(np.int32)
        element, shape = helper.np_dtype_to_tensor_dtype(dtype), (1, *contract.size_hw)
        chain.add("Reshape", np.array(shape, np.int64))
    elif dtype != np.float32:
        chain.add("Cast", to=TensorProto.FLOAT)
    if layout == "NHWC":
        chain.add("Transpose", perm=[0, 3, 1, 2])
    graph.node.extend(chain.nodes)
    _rename(graph, {chain.tip: contract.output_name})
    _replace(graph.output, [helper.make_tensor_value_info(contract.output_name, element, shape)])


class _Chain:
    """Nodes one behind the other."""

    def __init__(self, graph: onnx.GraphProto, start: str, scope: str) -> None:
        self.graph, self.tip, self.scope = graph, start, scope
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op: str, constant: np.ndarray | None = None, **attributes: Any) -> None:
        name = f"edgeseg.{self.scope}.{len(self.nodes)}.{op}"
        inputs = [self.tip]
        if constant is not None:
            inputs.append(f"{name}.constant")
            self.graph.initializer.append(numpy_helper.from_array(constant, inputs[1]))
        self.tip = f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [self.tip], name=name, **attributes))


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Other names for tensors, wherever they stand."""
    for node in graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = names.get(name, name)
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.name = names.get(value.name, value.name)


def _prune(graph: onnx.GraphProto) -> None:
    """Drop what does not lead to the output."""
    makers = {name: node for node in graph.node for name in node.output}
    wanted: set[str] = set()
    todo = [o.name for o in graph.output]
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += _read_by(makers[name]) if name in makers else []
    _replace(graph.node, [n for n in graph.node if wanted.intersection(n.output)])
    _replace(graph.initializer, [t for t in graph.initializer if t.name in wanted])


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names a node reads, those that its branches and loops take from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _read_by(inner)


def _replace(field: Any, values: list[Any]) -> None:
    """Other contents for a repeated field of a protobuf message."""
    copies = [type(v).FromString(v.SerializeToString()) for v in values]  # emptying the field would empty them too
    del field[:]
    field.extend(copies)


def _dtype(element: int) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    return dtype


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
