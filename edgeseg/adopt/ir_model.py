"""A model from an OpenVINO IR: its shapes fixed, its first and last operations read, and both ends cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager

from edgeseg import backends
from edgeseg.adopt import ir_steps
from edgeseg.adopt.ends import Ends, Port, fixed_shape
from edgeseg.adopt.steps import Step
from edgeseg.contract import Contract
from edgeseg.errors import UserError


class IrModel:
    """An OpenVINO graph with one colour image in, of one fixed size."""

    suffix = ".xml"
    engine = "openvino"

    def __init__(self, file: Path, size_hw: tuple[int, int] | None) -> None:
        """Raises UserError where the file is no IR that OpenVINO opens, or its input is no colour image."""
        self.file = file
        self.model = _read(file, size_hw)
        self.size_hw = size_hw
        folding = Manager()
        folding.register_pass(ConstantFolding())
        folding.run_passes(self.model)
        self.tensors = {ir_steps.name_of(o): o for op in self.model.get_ops() for o in op.outputs()}
        self.results = {_output_name(r): r.input_value(0) for r in self.model.get_results()}

    @property
    def input(self) -> Port:
        return self._port(self.model.input(0), ir_steps.name_of(self.model.input(0)))

    @property
    def outputs(self) -> list[Port]:
        return [self._port(tensor, name) for name, tensor in self.results.items()]

    def tensor(self, name: str) -> Port:
        return self._port(self._find(name), name)

    def _find(self, name: str) -> Any:
        return self.results[name] if name in self.results else self.tensors[name]

    @staticmethod
    def _port(tensor: Any, name: str) -> Port:
        return Port(name, ir_steps.shape_of(tensor), ir_steps.dtype_of(tensor))

    def head(self) -> list[Step]:
        return ir_steps.forward(self.model.input(0))

    def tail(self, output: str) -> list[Step]:
        return ir_steps.backward(self.results[output])

    def write_original(self, output: str, file: Path) -> None:
        """The model as it was, at its fixed size, with one output."""
        model = _read(self.file, self.size_hw)
        kept = [r for r in model.get_results() if _output_name(r) == output]
        save(ov.Model(kept, model.get_parameters(), "model"), file)

    def write(self, ends: Ends, contract: Contract, file: Path) -> None:
        """The model between its ends, with a bundle's own head on it; its weights go into the .bin beside it.

        On a copy, for both ends are cut by rewiring the graph.
        """
        copy = IrModel(self.file, self.size_hw)
        result = _tail(copy._find(ends.tail), ends, contract)
        start = _put_head(copy._find(ends.head), ends, contract)
        made = ov.Model([result], [start], "adopted")
        made.validate_nodes_and_infer_types()
        save(made, file)


def _read(file: Path, size_hw: tuple[int, int] | None) -> Any:
    engine: Any = backends.get("openvino")
    try:
        model = engine.core().read_model(file)
    except RuntimeError as e:
        reason = (str(e).strip().splitlines() or ["no reason given"])[-1][:200]
        raise UserError(f"{file} cannot be opened by OpenVINO ({reason}): is its .bin beside it?") from e
    if len(model.inputs) != 1:
        raise UserError(f"{file} has {len(model.inputs)} inputs; expected one, the image")
    dims = [d.get_length() if d.is_static else None for d in model.input(0).get_partial_shape()]
    shape = fixed_shape(dims, size_hw)
    if None in dims:
        model.reshape({model.input(0): list(shape)})
    return model


def _output_name(result: Any) -> str:
    """What a program calls an output: its tensor's name, or the node's where it has none."""
    names = sorted(result.output(0).get_names() or result.input_value(0).get_names())
    return names[0] if names else str(result.get_friendly_name())


def _put_head(tensor: Any, ends: Ends, contract: Contract) -> Any:
    """uint8 (1, H, W, 3) -> transpose, convert, subtract, in front of all that read ``tensor``; the new parameter.

    As for ONNX, the factor goes into the weights of the first convolution where it can.
    """
    readers = list(tensor.get_target_inputs())
    dtype = ir_steps.dtype_of(tensor)
    start = ops.parameter([1, *contract.size_hw, 3], np.uint8, name=contract.input_name)
    start.output(0).set_names({contract.input_name})
    tip, per_channel = start, (1, 1, 1, 3)
    if ends.head_layout == "NCHW":
        tip, per_channel = ops.transpose(tip, ops.constant(np.array([0, 3, 1, 2], np.int64))), (1, 3, 1, 1)
    if dtype.kind == "f":
        tip = ops.convert(tip, np.float32)
        if np.any(ends.subtract):
            tip = ops.subtract(tip, ops.constant(ends.subtract.astype(np.float32).reshape(per_channel)))
        if not (dtype == np.float32 and _fold_into_convolution(readers, ends.multiply)):
            tip = ops.multiply(tip, ops.constant(ends.multiply.astype(np.float32).reshape(per_channel)))
    if dtype not in (np.float32, np.uint8):
        tip = ops.convert(tip, dtype)
    for reader in readers:
        reader.replace_source_output(tip.output(0))
    return start


def _fold_into_convolution(readers: list[Any], factor: np.ndarray) -> bool:
    """Whether the factor per channel could go into the weights of the one convolution that reads the image."""
    if np.all(factor == 1):
        return True
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Convolution":
        return False
    weights = readers[0].get_node().input(1)
    value = ir_steps.constant(weights.get_source_output())  # (M, 3, kh, kw)
    if value is None:
        return False
    scaled = (value * factor[None, :, None, None]).astype(np.float32)
    weights.replace_source_output(ops.constant(scaled).output(0))
    return True


def _tail(tensor: Any, ends: Ends, contract: Contract) -> Any:
    """The tensor at the cut -> float32 (1, K, h, w), or integers (1, H, W), as a result of the contract's name."""
    tip = tensor.get_node().output(tensor.get_index())
    if contract.output == "labels":
        shape = ops.constant(np.array([1, *contract.size_hw], np.int64))
        tip = ops.reshape(tip, shape, special_zero=False).output(0)
    elif ir_steps.dtype_of(tensor) != np.float32:
        tip = ops.convert(tip, np.float32).output(0)
    if ends.tail_layout == "NHWC":
        tip = ops.transpose(tip, ops.constant(np.array([0, 3, 1, 2], np.int64))).output(0)
    tip.set_names({contract.output_name})
    return ops.result(tip, name=f"{contract.output_name}/result")


def save(model: Any, file: Path) -> None:
    ov.save_model(model, file, compress_to_fp16=False)
