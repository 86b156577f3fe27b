"""Inputs and outputs: of fixed size, and what a bundle's contract promises."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgeseg.check.findings import Finding
from edgeseg.check.network import Network
from edgeseg.check.readers import Reader
from edgeseg.contract import Contract

LABELS = {TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}


def dynamic(network: Network, reader: Reader) -> Iterator[Finding]:
    """Dimensions that nobody fixed."""
    for value in network.inputs:
        if None in (network.shape(value.name) or (None,)):
            message = (
                f"the input has the shape {_text(network.shape(value.name))}: TensorRT then builds for a range of "
                "shapes that one must give it (an optimization profile), and is slower for it. Export for one size"
            )
            if reader.tensorrt:
                yield Finding("slow", "dynamic-shape", (value.name,), message)
            else:
                message = "the input has no fixed size: every new size prepares the network again. Export for one size"
                yield Finding("note", "dynamic-shape", (value.name,), message)


def promises(network: Network, contract: Contract) -> Iterator[Finding]:
    """What the contract says of the two tensors, against what the graph has."""
    output = (TensorProto.FLOAT, contract.output_shape)
    for values, name, dtype, shape in (
        (network.inputs, contract.input_name, TensorProto.UINT8, contract.input_shape),
        (network.outputs, contract.output_name, *output),
    ):
        yield from _one(
            network, values, name, dtype, shape, contract.output == "labels" and name != contract.input_name
        )


def _one(
    network: Network,
    values: list[onnx.ValueInfoProto],
    name: str,
    dtype: int,
    shape: tuple[int, ...],
    labels: bool,
) -> Iterator[Finding]:
    found = [v.name for v in values]
    if found != [name]:
        message = f"the contract promises the one tensor {name!r}, and the graph has {found}: export the bundle again"
        yield Finding("refused", "contract", tuple(found), message)
        return
    types, wanted = (LABELS, (1, *shape[2:])) if labels else ({dtype}, shape)
    seen_type, seen = network.dtype(name), network.shape(name)
    if seen_type not in types or seen != wanted:
        message = (
            f"the contract promises {_name(min(types))} {_text(wanted)}, and the graph has {_name(seen_type)} "
            f"{_text(seen)}: programs that embed it would feed it wrongly. Export the bundle again"
        )
        yield Finding("refused", "contract", (name,), message)


def _name(dtype: int) -> str:
    return str(TensorProto.DataType.Name(dtype)).lower()


def _text(shape: tuple[int | None, ...] | None) -> str:
    return "of unknown rank" if shape is None else "(" + ", ".join("?" if n is None else str(n) for n in shape) + ")"
