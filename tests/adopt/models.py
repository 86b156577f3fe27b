"""A small network with any head and any tail, as ONNX; pictures for it; the law that adopting changes no label."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgeseg.adopt import proof  # noqa: E402
from edgeseg.adopt.ends import open_model  # noqa: E402
from edgeseg.adopt.recognise import Recognised, Wishes, recognise  # noqa: E402

K = 5
SIZE_HW = (48, 80)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = tuple(f"class-{i}" for i in range(K))


@dataclass
class Build:
    """An ONNX graph in the making: ``b("Relu", x)`` adds a node and returns the name of its output."""

    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def body(self, x: str, strides: tuple[int, ...] = (2, 2, 2), k: int = K, seed: int = 0) -> str:
        """Convolutions with zero padding from an image NCHW to logits at the product of the strides."""
        rng, planes = np.random.default_rng(seed), 3
        for i, stride in enumerate(strides):
            last = i == len(strides) - 1
            made = k if last else 8
            weight = rng.normal(0, 1.5 / np.sqrt(9 * planes), (made, planes, 3, 3))
            bias = rng.normal(0, 0.1, made)
            x = self("Conv", x, self.constant(weight), self.constant(bias), strides=[stride] * 2, pads=[1] * 4)
            x, planes = (x if last else self("Relu", x)), made
        return x

    def resize(self, x: str, scale: float = 8, **attributes: Any) -> str:
        given = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", **attributes}
        if given["mode"] == "nearest":
            given.setdefault("nearest_mode", "floor")
        return self("Resize", x, "", self.constant([1, 1, scale, scale]), **given)

    def save(
        self, file: Path, inputs: tuple[Any, tuple[Any, ...]], outputs: list[str], types: list[int] | None = None
    ) -> Path:
        kind, shape = inputs
        types = types or [TensorProto.UNDEFINED] * len(outputs)
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)],
            [_output(name, t) for name, t in zip(outputs, types)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 8
        inferred = onnx.shape_inference.infer_shapes(model)
        for given, found in zip(model.graph.output, inferred.graph.output):
            given.type.CopyFrom(found.type)
        onnx.save(model, file)
        return file


def _output(name: str, kind: int) -> Any:
    value = onnx.ValueInfoProto()
    value.name = name
    if kind:
        value.type.tensor_type.elem_type = kind
    return value


def pictures(count: int = 3, size_hw: tuple[int, int] = SIZE_HW, seed: int = 7) -> list[np.ndarray]:
    """Smooth random frames uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        coarse = rng.uniform(0, 255, (size_hw[0] // 8 + 2, size_hw[1] // 8 + 2, 3))
        rows, cols = (np.linspace(0, n - 1.001, m) for n, m in zip(coarse.shape, size_hw))
        y, x = rows.astype(int), cols.astype(int)
        fy, fx = (rows - y)[:, None, None], (cols - x)[None, :, None]
        top = coarse[y][:, x] * (1 - fx) + coarse[y][:, x + 1] * fx
        low = coarse[y + 1][:, x] * (1 - fx) + coarse[y + 1][:, x + 1] * fx
        frames.append(np.ascontiguousarray(top * (1 - fy) + low * fy, np.uint8))
    return frames


def wishes(**changes: Any) -> Wishes:
    return Wishes(**{"classes": CLASSES, "mean": MEAN, "std": STD, **changes})


def law(
    file: Path,
    folder: Path,
    given: Wishes | None = None,
    *,
    size: tuple[int, int] | None = None,
    least: float = 0.9999,
) -> Recognised:
    """Adopt a model without the rest of a bundle, and hold its labels against the original's, pixel by pixel."""
    model = open_model(file, size)
    found = recognise(model, given or wishes())
    graph, untouched = folder / f"adopted{model.suffix}", folder / f"untouched{model.suffix}"
    model.write(found.ends, found.contract, graph)
    model.write_original(found.output.name, untouched)
    run = proof.engine(model.engine, graph)
    ours = proof.adopted(run, found.contract)
    theirs = proof.original(proof.untouched(model.engine, untouched), found)
    seen = set()
    for frame in pictures(size_hw=found.contract.size_hw):
        labels = ours(frame)
        assert np.mean(labels == theirs(frame)) >= least
        seen |= set(np.unique(labels))
    assert len(seen) > 1, "a network of one answer shows nothing"
    output = np.asarray(run(pictures(1, found.contract.size_hw)[0][None]))
    if found.contract.output == "logits":
        assert (output.shape, output.dtype) == (found.contract.output_shape, np.float32)
    else:
        assert output.shape == (1, *found.contract.size_hw)
    return found
