"""The operations at both ends of an ONNX graph, as steps that know no format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeseg.adopt.steps import Shape, Step

Types = Mapping[str, tuple[Shape, "np.dtype[Any]"]]
Said = tuple[str, dict[str, Any]]  # a step's op and attributes
SHAPED = {"Squeeze", "Unsqueeze", "Reshape", "Flatten"}


class Links:
    """Who makes a tensor, who reads it, and what is constant."""

    def __init__(self, graph: onnx.GraphProto, types: Types, opset: int) -> None:
        self.types, self.opset = types, opset
        self.maker = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {o.name for o in graph.output}
        self.constants = {t.name: t for t in graph.initializer}

    def constant(self, name: str) -> np.ndarray | None:
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def known(self, *names: str) -> bool:
        """Whether the shapes of these tensors are known in full."""
        return all(name in self.types and 0 not in self.types[name][0] for name in names)

    def backward(self, output: str) -> list[Step]:
        """The steps that lead to ``output``, from the earliest that is understood."""
        steps: list[Step] = []
        while output in self.maker:
            node = self.maker[output]
            said = self.tail_step(node, output)
            if said is None:
                break
            steps.append(self._step(said, node.input[0], output))
            output = node.input[0]
        return steps[::-1]

    def forward(self, name: str) -> list[Step]:
        """The steps from ``name`` on, while one operation alone reads each tensor."""
        steps: list[Step] = []
        while name not in self.outputs:
            found = self._channels_swapped(name) or self._head_node(name)
            if found is None or not self.known(name, found[1]):
                break
            said, result = found
            steps.append(self._step(said, name, result))
            name = result
        return steps

    def _step(self, said: Said, source: str, result: str) -> Step:
        return Step(said[0], said[1], self.types[source][0], self.types[result][0], source, result)

    # The end.

    def tail_step(self, node: onnx.NodeProto, output: str) -> Said | None:
        if not self.known(node.input[0], output) or node.domain not in ("", "ai.onnx"):
            return None
        rule = TAIL.get(node.op_type)
        return rule(self, node, output) if rule else None

    # The beginning.

    def _head_node(self, name: str) -> tuple[Said, str] | None:
        if len(self.readers[name]) != 1:
            return None
        (node,) = self.readers[name]
        said = None
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            said = self._arithmetic(node, name)
        elif node.op_type == "BatchNormalization" and len(node.output) == 1 and len(self.types[name][0]) == 4:
            said = self._batch_norm(node)
        elif node.op_type in ("Gather", "Slice"):
            said = self._reversal(node, self.types[name][0])
        elif node.op_type in {"Cast", "Transpose", "Identity"} | SHAPED:
            said = self.tail_step(node, node.output[0])
        return (said, node.output[0]) if said else None

    def _arithmetic(self, node: onnx.NodeProto, name: str) -> Said | None:
        first = node.input[0] == name
        constant = self.constant(node.input[1 if first else 0])
        if constant is None or constant.dtype.kind != "f":
            return None
        value = constant.astype(np.float64)
        one, zero = np.ones(1), np.zeros(1)
        if node.op_type == "Div" and not first:
            return None
        scale, shift = {
            "Add": (one, value),
            "Sub": (one, -value) if first else (-one, value),
            "Mul": (value, zero),
            "Div": (1 / value, zero),
        }[node.op_type]
        return "affine", {"scale": scale, "shift": shift}

    def _batch_norm(self, node: onnx.NodeProto) -> Said | None:
        values = [self.constant(name) for name in node.input[1:5]]
        if any(v is None for v in values):
            return None
        gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in values)
        scale = gamma / np.sqrt(variance + _attributes(node).get("epsilon", 1e-5))
        shape = (1, -1, 1, 1)
        return "affine", {"scale": scale.reshape(shape), "shift": (beta - mean * scale).reshape(shape)}

    def _reversal(self, node: onnx.NodeProto, shape: Shape) -> Said | None:
        if node.op_type == "Gather":
            indices, axis = self.constant(node.input[1]), int(_attributes(node).get("axis", 0))
            picked = indices.tolist() if indices is not None and indices.ndim == 1 else []
            backwards = [i % shape[axis] for i in picked] == list(range(shape[axis]))[::-1]
        else:
            values = [self.constant(name) for name in node.input[1:]]
            if len(values) < 4 or any(v is None or v.size != 1 for v in values):
                return None
            start, end, axis, step = (int(v.reshape(())) for v in values if v is not None)
            n = shape[axis]
            backwards = step == -1 and (start >= n - 1 or start == -1) and end < -n
        return ("reverse", {"axis": axis}) if backwards else None

    def _channels_swapped(self, name: str) -> tuple[Said, str] | None:
        """Split and Concat in the other order; or as many slices of one channel each."""
        parts = self.readers[name]
        if len(parts) == 1 and parts[0].op_type == "Split":
            pieces = list(parts[0].output)
            axis = int(_attributes(parts[0]).get("axis", 0))
        elif len(parts) == 3 and all(p.op_type in ("Slice", "Gather") for p in parts):
            found = [self._one_channel(p) for p in parts]
            if None in found or len({f[1] for f in found if f}) != 1:
                return None
            pieces = [p.output[0] for _, p in sorted(zip((f[0] for f in found if f), parts), key=lambda x: x[0])]
            axis = found[0][1] if found[0] else 0
        else:
            return None
        readers = {id(r): r for piece in pieces for r in self.readers[piece]}
        if len(readers) != 1 or any(len(self.readers[p]) != 1 for p in pieces):
            return None
        (concat,) = readers.values()
        if concat.op_type != "Concat" or list(concat.input) != pieces[::-1] or not self.known(*pieces):
            return None
        if any(self.types[p][0][axis] != 1 for p in pieces):
            return None
        rank = len(self.types[name][0])
        same = int(_attributes(concat)["axis"]) % rank == axis % rank
        return (("reverse", {"axis": axis}), concat.output[0]) if same else None

    def _one_channel(self, node: onnx.NodeProto) -> tuple[int, int] | None:
        """(index, axis) of a slice of one channel."""
        if node.op_type == "Gather":
            index = self.constant(node.input[1])
            return (int(index.reshape(())), int(_attributes(node).get("axis", 0))) if _single(index) else None  # type: ignore[union-attr]
        values = [self.constant(name) for name in node.input[1:4]]
        if len(values) < 3 or not all(map(_single, values)):
            return None
        start, end, axis = (int(v.reshape(())) for v in values if v is not None)
        return (start, axis) if end == start + 1 else None


def _single(value: np.ndarray | None) -> bool:
    return value is not None and value.size == 1


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# One reader per operation of the end: what it says, or None where it is used in a way that steps have no word for.


def _cast(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    return "cast", {"to": links.types[output][1].name}


def _transpose(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    rank = len(links.types[node.input[0]][0])
    return "transpose", {"perm": tuple(_attributes(node).get("perm", range(rank)[::-1]))}


def _softmax(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    rank = len(links.types[output][0])
    axis = int(_attributes(node).get("axis", -1 if links.opset >= 13 else 1)) % rank
    if links.opset < 13 and axis != rank - 1:
        return None  # then it is over all axes from this one on
    return node.op_type.lower(), {"axis": axis}


def _argmax(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    a = _attributes(node)
    return "argmax", {"axis": int(a.get("axis", 0)), "last": bool(a.get("select_last_index", 0))}


def _topk(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    a = _attributes(node)
    k = links.constant(node.input[1]) if len(node.input) > 1 else np.array(a.get("k", 0))
    if output != node.output[1] or k is None or int(k.reshape(())) != 1:
        return None
    return "argmax", {"axis": int(a.get("axis", -1)), "smallest": not a.get("largest", 1)}


def _resize(links: Links, node: onnx.NodeProto, output: str) -> Said | None:
    given, made, a = links.types[node.input[0]][0], links.types[output][0], _attributes(node)
    mode = _text(a.get("mode", "nearest"))
    if node.op_type == "Upsample" or links.opset < 11:
        coordinates, rounding, slot = "asymmetric", "simple", 1
    else:
        coordinates = _text(a.get("coordinate_transformation_mode", "half_pixel"))
        rounding, slot = _text(a.get("nearest_mode", "round_prefer_floor")), 2
    if _text(a.get("keep_aspect_ratio_policy", "stretch")) != "stretch" or coordinates == "tf_crop_and_resize":
        return None
    scales = [m / n for n, m in zip(given, made)]
    if node.op_type == "Upsample" and len(node.input) < 2:
        written: np.ndarray | None = np.array(a.get("scales", ()), np.float64)
    else:
        written = links.constant(node.input[slot]) if len(node.input) > slot and node.input[slot] else np.array(())
    if written is None:
        return None
    for axis, scale in zip(a.get("axes", range(len(given))), written.tolist()):
        scales[axis] = scale
    said = {"mode": "linear" if mode == "bilinear" else mode, "coordinates": coordinates, "rounding": rounding}
    return "resize", {**said, "scales": tuple(scales), "antialias": bool(a.get("antialias", 0))}


def _same(op: str) -> Callable[[Links, onnx.NodeProto, str], Said | None]:
    return lambda links, node, output: (op, {})


TAIL: dict[str, Callable[[Links, onnx.NodeProto, str], Said | None]] = {
    "Identity": _same("identity"),
    "Dropout": _same("identity"),
    "Cast": _cast,
    "Transpose": _transpose,
    **dict.fromkeys(SHAPED, _same("reshape")),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Sigmoid": _same("sigmoid"),
    "ArgMax": _argmax,
    "TopK": _topk,
    "Resize": _resize,
    "Upsample": _resize,
}
