"""What TensorRT's parser and builder refuse: operators, what operators are asked to do, types, and opsets."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgeseg.check import operators
from edgeseg.check.findings import Finding
from edgeseg.check.network import DEQUANTIZE, FLOATS, QUANTIZE, STANDARD, Network, attribute, label
from edgeseg.check.readers import Reader
from edgeseg.check.restrictions import CONSTANT_INPUTS, RESTRICTIONS

# https://docs.nvidia.com/deeplearning/tensorrt: the types of a network's tensors.
TYPES = {"FLOAT", "FLOAT16", "INT8", "INT32", "INT64", "UINT8", "BOOL", "DOUBLE"}
TYPES_10 = {"BFLOAT16", "FLOAT8E4M3FN", "INT4"}
TYPES_10_8 = {"FLOAT4E2M1"}
INTEGERS = {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8}


def unknown_operators(network: Network, reader: Reader) -> Iterator[Finding]:
    """Operators that the parser does not read, also inside branches, loops and functions."""
    for node, name in network.everywhere():
        op = node.op_type
        if (node.domain, op) in network.functions or op in operators.ANY_DOMAIN:
            continue
        if node.domain not in STANDARD:
            message = (
                f"{op} of domain {node.domain!r} is no ONNX operator: {reader.name} looks for a plugin of that name, "
                "which is yours to build and load; without one, export with standard operators only"
            )
            yield Finding("refused", "operator", (name,), message)
        elif not operators.supported(op, reader):
            since = operators.SINCE.get(op) if reader.target == "trt" else None
            when = f", which came with TensorRT {since[0]}.{since[1]}" if since else ""
            message = (
                f"{reader.name} does not read {op}{when}: say the same with other operators "
                "(an older opset in the exporter often does), or move it behind the engine"
            )
            yield Finding("refused", "operator", (name,), message)
        elif op in operators.PLUGINS:
            yield from _plugin(op, name, reader)


def _plugin(op: str, name: str, reader: Reader) -> Iterator[Finding]:
    if reader.target == "trt-rtx":
        message = f"{op} is a plugin that {reader.name} ships without: move it behind the engine"
        yield Finding("refused", "plugin", (name,), message)
    else:
        message = (
            f"{op} may run as a plugin, which needs libnvinfer_plugin beside TensorRT when it is built and when it "
            "runs; moved behind the engine it would not"
        )
        yield Finding("note", "plugin", (name,), message)


def restrictions(network: Network, reader: Reader) -> Iterator[Finding]:
    """Operators that are read, but not with these attributes, shapes or numbers of outputs."""
    for restriction in RESTRICTIONS:
        if not restriction.applies(reader):
            continue
        for node in network.of(*restriction.ops):
            if restriction.breaks(network, node):
                text = f"{node.op_type} {restriction.what} {restriction.verb(reader)}: {restriction.remedy}"
                yield Finding(restriction.severity, restriction.rule, (label(node),), text)


def computed_parameters(network: Network, reader: Reader) -> Iterator[Finding]:
    """Axes and other parameters that must be known when the engine is built."""
    for ops, index, what, since in CONSTANT_INPUTS:
        if since is not None and not reader.before(*since):
            continue
        for node in network.of(*ops):
            if len(node.input) > index and not network.constant(node.input[index]):
                message = (
                    f"{node.op_type} reads its {what} from a tensor that depends on the input, and {reader.name} wants "
                    "a constant: export for a fixed size, or fold constants first"
                )
                yield Finding("refused", "computed-parameter", (label(node),), message)


def types(network: Network, reader: Reader) -> Iterator[Finding]:
    """Types that no tensor of TensorRT has."""
    known = TYPES | (set() if reader.before(10, 0) else TYPES_10) | (set() if reader.before(10, 8) else TYPES_10_8)
    for value in network.inputs:
        if not value.type.HasField("tensor_type"):
            message = f"the input is no tensor, and {reader.name} takes nothing else: export with tensors as inputs"
            yield Finding("refused", "type", (value.name,), message)
    for tensor, where in _typed(network):
        dtype = network.dtype(tensor)
        name = TensorProto.DataType.Name(dtype) if dtype else "UNDEFINED"
        if name == "UNDEFINED":
            continue
        if name not in known:
            message = f"{reader.name} has no type {name}: cast to one of {', '.join(sorted(known - {'DOUBLE'}))}"
            yield Finding("refused", "type", (where,), message)
        elif name == "DOUBLE":
            message = "float64 is computed in float32, whatever the graph says: export in float32"
            yield Finding("note", "type", (where,), message)
    for value in [*network.inputs, *network.outputs] if reader.before(9, 0) else ():
        if network.dtype(value.name) == TensorProto.INT64:
            message = f"{reader.name} makes int32 of int64: programs must hand over and expect int32. Cast in the graph"
            yield Finding("note", "type", (value.name,), message)
    for node in network.of("Resize", "Upsample"):
        if network.dtype(node.input[0]) in INTEGERS:
            message = f"{node.op_type} takes floating-point numbers only: cast before it"
            yield Finding("refused", "type", (label(node),), message)


def _typed(network: Network) -> Iterator[tuple[str, str]]:
    """Tensors, and what to call the place where each comes from."""
    yield from ((i.name, i.name) for i in network.inputs)
    yield from ((name, name) for name in network.initializers)
    yield from ((name, label(node)) for node in network.nodes for name in node.output)


def bytes_between(network: Network, reader: Reader) -> Iterator[Finding]:
    """uint8 anywhere but at the two ends: from an input into a Cast, from a Cast into an output."""
    inputs, outputs = {i.name for i in network.inputs}, {o.name for o in network.outputs}
    for tensor in [*inputs, *network.maker]:
        if network.dtype(tensor) != TensorProto.UINT8 or network.constant(tensor):
            continue
        readers = [r for r in network.readers[tensor] if r.op_type not in (QUANTIZE, DEQUANTIZE)]
        if tensor in inputs:
            wrong = [label(r) for r in readers if r.op_type not in ("Cast", "Equal")]
        elif (tensor in outputs and not readers) or network.maker[tensor].op_type == QUANTIZE:
            continue  # what is rounded to uint8 is said by what knows about rounding
        else:
            wrong = [label(network.maker[tensor])]
        message = (
            f"{reader.name} takes uint8 as an input that is cast at once, and as an output; nothing computes in it. "
            "Cast before anything else, also before a Transpose"
        )
        yield from (Finding("refused", "uint8", (name,), message) for name in wrong)


def mixed_types(network: Network, reader: Reader) -> Iterator[Finding]:
    """A convolution whose input and weights differ in type, which ONNX forbids too."""
    for node in network.of("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Mul", "Sub", "Div"):
        found = {network.dtype(i) for i in node.input if i} & {*FLOATS, TensorProto.INT32, TensorProto.INT64}
        if len(found) > 1:
            names = " and ".join(sorted(TensorProto.DataType.Name(t) for t in found))
            message = f"{node.op_type} has inputs of types {names}, which must be the same: cast one of them"
            yield Finding("refused", "type", (label(node),), message)


def opset(network: Network, reader: Reader) -> Iterator[Finding]:
    newest = operators.newest_opset(reader)
    if operators.MIN_OPSET <= network.opset <= newest:
        return
    message = (
        f"the graph is of opset {network.opset}, and {reader.name} is documented for "
        f"{operators.MIN_OPSET} to {newest}: it reads others, each operator as it knows it. What it would misread is "
        "said separately"
    )
    yield Finding("note", "opset", (), message)


def branches(network: Network, reader: Reader) -> Iterator[Finding]:
    """If and Loop: what they must look like, and what they cost."""
    for node in network.of("If", "Loop", "Scan"):
        decided = node.op_type != "Scan" and all(map(network.constant, node.input[: 1 if node.op_type == "If" else 2]))
        if decided:
            continue
        if node.op_type == "If" and _ranks_differ(node):
            message = "the branches of If give results of different ranks, and TensorRT wants equal ones: reshape one"
            yield Finding("refused", "control-flow", (label(node),), message)
        else:
            message = (
                f"{node.op_type} depends on the input: what is before, inside and behind it is never fused, and the "
                "engine waits for each decision. Export with the decision made, or the loop unrolled"
            )
            yield Finding("slow", "control-flow", (label(node),), message)


def _ranks_differ(node: onnx.NodeProto) -> bool:
    then, other = (attribute(node, f"{name}_branch", None) for name in ("then", "else"))
    pairs = zip(then.output, other.output)
    shapes = [(a.type.tensor_type, b.type.tensor_type) for a, b in pairs]
    return any(a.HasField("shape") and b.HasField("shape") and len(a.shape.dim) != len(b.shape.dim) for a, b in shapes)


RULES = (
    unknown_operators,
    restrictions,
    computed_parameters,
    types,
    bytes_between,
    mixed_types,
    opset,
    branches,
)
