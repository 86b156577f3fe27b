"""The operations at both ends of an OpenVINO graph, as steps that know no format. Duck-typed: no library here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeseg.adopt.steps import Step

Said = tuple[str, dict[str, Any]]  # a step's op and attributes
SHAPED = {"Squeeze", "Unsqueeze", "Reshape"}


def name_of(output: Any) -> str:
    """A tensor's name: that of the layer that makes it, the same each time a file is read, and the output's number."""
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def constant(output: Any) -> np.ndarray | None:
    """The value of a constant, through the conversion that widens weights kept in half floats."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        inner = constant(node.input_value(0))
        return None if inner is None else inner.astype(dtype_of(output))
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def dtype_of(output: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(output.get_element_type().to_dtype())
    return dtype


def shape_of(output: Any) -> tuple[int, ...]:
    return tuple(output.get_shape())


def backward(output: Any) -> list[Step]:
    """The steps that lead to a tensor, from the earliest that is understood."""
    steps: list[Step] = []
    while True:
        node = output.get_node()
        rule = TAIL.get(node.get_type_name())
        said = rule(node, output) if rule else None
        if said is None:
            return steps[::-1]
        source = node.input_value(0)
        steps.append(_step(said, source, output))
        output = source


def forward(output: Any) -> list[Step]:
    """The steps from a tensor on, while one operation alone reads each."""
    steps: list[Step] = []
    while True:
        found = _channels_swapped(output) or _head_node(output)
        if found is None:
            return steps
        said, result = found
        steps.append(_step(said, output, result))
        output = result


def _step(said: Said, source: Any, result: Any) -> Step:
    return Step(said[0], said[1], shape_of(source), shape_of(result), name_of(source), name_of(result))


# The beginning.


def _readers(output: Any) -> list[Any]:
    return [i.get_node() for i in output.get_target_inputs()]


def _head_node(output: Any) -> tuple[Said, Any] | None:
    readers = _readers(output)
    if len(readers) != 1:
        return None
    (node,) = readers
    kind, said = node.get_type_name(), None
    if kind in ("Add", "Subtract", "Multiply", "Divide"):
        said = _arithmetic(node, output)
    elif kind == "BatchNormInference":
        said = _batch_norm(node)
    elif kind in ("Gather", "Slice", "StridedSlice"):
        said = _reversal(node, shape_of(output))
    elif kind in {"Identity", "Convert", "Transpose"} | SHAPED:
        said = TAIL[kind](node, node.output(0))
    return (said, node.output(0)) if said else None


def _arithmetic(node: Any, output: Any) -> Said | None:
    first = name_of(node.input_value(0)) == name_of(output)
    value, kind = constant(node.input_value(1 if first else 0)), node.get_type_name()
    if value is None or value.dtype.kind != "f" or (kind == "Divide" and not first):
        return None
    value, one, zero = value.astype(np.float64), np.ones(1), np.zeros(1)
    scale, shift = {
        "Add": (one, value),
        "Subtract": (one, -value) if first else (-one, value),
        "Multiply": (value, zero),
        "Divide": (1 / value, zero),
    }[kind]
    return "affine", {"scale": scale, "shift": shift}


def _batch_norm(node: Any) -> Said | None:
    values = [constant(node.input_value(i)) for i in range(1, 5)]
    if any(v is None for v in values):
        return None
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in values)
    scale = gamma / np.sqrt(variance + node.get_attributes()["epsilon"])
    shape = (1, -1, 1, 1)
    return "affine", {"scale": scale.reshape(shape), "shift": (beta - mean * scale).reshape(shape)}


def _reversal(node: Any, shape: tuple[int, ...]) -> Said | None:
    values = [constant(node.input_value(i)) for i in range(1, len(node.inputs()))]
    if any(v is None for v in values):
        return None
    if node.get_type_name() == "Gather":
        indices, axis = values[0], int(values[1].reshape(()))  # type: ignore[union-attr]
        picked = indices.reshape(-1).tolist() if indices is not None and indices.ndim == 1 else []
        backwards = [i % shape[axis] for i in picked] == list(range(shape[axis]))[::-1]
        return ("reverse", {"axis": axis}) if backwards else None
    if node.get_type_name() == "Slice" and all(v is not None and v.size == 1 for v in values) and len(values) == 4:
        start, end, step, axis = (int(v.reshape(())) for v in values if v is not None)
        n = shape[axis]
        backwards = step == -1 and (start >= n - 1 or start == -1) and end < -n
        return ("reverse", {"axis": axis}) if backwards else None
    return None


def _channels_swapped(output: Any) -> tuple[Said, Any] | None:
    """Split and Concat in the other order."""
    readers = _readers(output)
    if len(readers) != 1 or readers[0].get_type_name() not in ("Split", "VariadicSplit"):
        return None
    (split,) = readers
    axis = constant(split.input_value(1))
    after = [i for piece in split.outputs() for i in piece.get_target_inputs()]
    concats = {i.get_node().get_name(): i.get_node() for i in after}
    if axis is None or len(concats) != 1 or any(shape_of(p)[int(axis)] != 1 for p in split.outputs()):
        return None
    (concat,) = concats.values()
    given = [name_of(v) for v in concat.input_values()]
    if concat.get_type_name() != "Concat" or given != [name_of(p) for p in split.outputs()][::-1]:
        return None
    rank = len(shape_of(output))
    same = concat.get_attributes()["axis"] % rank == int(axis) % rank
    return (("reverse", {"axis": int(axis)}), concat.output(0)) if same else None


# The end: one reader per operation; None where it is used in a way that steps have no word for.


def _convert(node: Any, output: Any) -> Said | None:
    return "cast", {"to": dtype_of(output).name}


def _transpose(node: Any, output: Any) -> Said | None:
    order = constant(node.input_value(1))
    rank = len(shape_of(output))
    if order is None:
        return None
    return "transpose", {"perm": tuple(order.tolist()) or tuple(range(rank))[::-1]}


def _softmax(node: Any, output: Any) -> Said | None:
    op = {"Softmax": "softmax", "LogSoftmax": "logsoftmax"}[node.get_type_name()]
    return op, {"axis": int(node.get_attributes()["axis"])}


def _topk(node: Any, output: Any) -> Said | None:
    k, a = constant(node.input_value(1)), node.get_attributes()
    if output.get_index() != 1 or k is None or int(k.reshape(())) != 1:
        return None
    return "argmax", {"axis": int(a["axis"]), "smallest": a["mode"] != "max"}


def _interpolate(node: Any, output: Any) -> Said | None:
    given, made, a = shape_of(node.input_value(0)), shape_of(output), node.get_attributes()
    if any(a["pads_begin"]) or any(a["pads_end"]):
        return None
    version = node.get_type_info().version_id
    scales = [m / n for n, m in zip(given, made)]
    said: dict[str, Any] = {"antialias": bool(a["antialias"]), "scales": tuple(scales)}
    if version == "opset1":
        # Where corners are not aligned, what "linear" means depends on the rank: only the nearest is certain.
        if not a["align_corners"] and a["mode"] != "nearest":
            return "resize", {**said, "mode": a["mode"], "coordinates": "unsaid", "rounding": ""}
        coordinates = "align_corners" if a["align_corners"] else "asymmetric"
        return "resize", {**said, "mode": a["mode"], "coordinates": coordinates, "rounding": "simple"}
    if a["shape_calculation_mode"] == "scales":
        slot = 1 if version == "opset11" else 2
        written = constant(node.input_value(slot))
        if written is None:
            return None
        last = len(node.inputs()) - 1
        axes = constant(node.input_value(last)) if last > slot else np.arange(len(given))
        if axes is None:
            return None
        for axis, scale in zip(axes.tolist(), written.tolist()):
            scales[axis] = scale
    mode = {"linear_onnx": "linear"}.get(a["mode"], a["mode"])
    said |= {"mode": mode, "scales": tuple(scales), "rounding": a["nearest_mode"]}
    return "resize", {**said, "coordinates": a["coordinate_transformation_mode"]}


def _same(op: str) -> Callable[[Any, Any], Said | None]:
    return lambda node, output: (op, {})


TAIL: dict[str, Callable[[Any, Any], Said | None]] = {
    "Identity": _same("identity"),
    "Convert": _convert,
    "Transpose": _transpose,
    **dict.fromkeys(SHAPED, _same("reshape")),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Sigmoid": _same("sigmoid"),
    "TopK": _topk,
    "Interpolate": _interpolate,
}
