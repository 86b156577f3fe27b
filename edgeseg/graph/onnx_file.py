"""Writing a deployable module as ONNX, with nodes that bear the names of the modules they came from."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from edgeseg.contract import Contract
from edgeseg.graph.deploy import OPSET
from edgeseg.graph.head import take_pixels

SCOPES = "pkg.torch.onnx.name_scopes"


def write(module: nn.Module, contract: Contract, file: Path) -> None:
    """Export a module that takes normalised images (1, 3, H, W) as a file that takes pixels (1, H, W, 3)."""
    save(take_pixels(trace(module, contract), contract), file)


def trace(module: nn.Module, contract: Contract) -> onnx.ModelProto:
    """The module's graph for the contract's static size."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)  # says at each export that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's exporter about torch's own tracing
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                module,
                (torch.zeros(1, 3, *contract.size_hw),),
                dynamo=True,
                input_names=[contract.input_name],
                output_names=[contract.output_name],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    name_after_modules(model)
    return model


def name_after_modules(model: onnx.ModelProto) -> None:
    """Call each node by its module's path, so that whatever an engine says of it can be found in the student; and
    drop the exporter's notes about source files, which would tie the file to the machine that wrote it."""
    taken: set[str] = set()
    for node in model.graph.node:
        path = _module_of(node)
        name = f"{path}.{node.op_type}" if path else node.name
        while name in taken:
            name += "_"
        taken.add(name)
        node.name = name
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def _module_of(node: onnx.NodeProto) -> str:
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes: Sequence[str] = ast.literal_eval(entry.value)
            modules = [s for s in scopes[:-1] if s]
            return modules[-1].removeprefix("student.") if modules else ""
    return ""


def save(model: onnx.ModelProto, file: Path) -> None:
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))
