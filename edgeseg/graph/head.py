"""The camera's pixels as a graph's input: uint8 (1, H, W, 3), with the normalisation inside the graph.

A program that embeds the network hands over its frame as it is, and the engine does in its first layer what would
otherwise be a pass over a float image four times as large. Nothing is approximated:

* float: ``(p / 255 - mean) / std`` is ``p - 255 mean`` with the weights of the first convolution divided by
  ``255 std``. The subtraction stays, so that what the convolution pads with is still zero.
* int8: where ``mean = std = 128 / 255`` the first rounding is to steps of 1 / 128, and a pixel *is* its own rounded
  value plus 128. See :func:`pixels_are_integers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeseg.contract import Contract
from edgeseg.graph.passes import Links, drop_unused

TO_PLANES = [0, 3, 1, 2]  # NHWC -> NCHW


def take_pixels(model: onnx.ModelProto, contract: Contract, *, fold: bool = True) -> onnx.ModelProto:
    """A float graph, or a quantized one in its signed form, from normalised images (1, 3, H, W) to pixels.

    The division by ``255 std`` goes into the first convolution's weights, or with ``fold=False`` stays before it.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    (given,) = graph.input
    images, planes, real, shifted = (f"pixels.{name}" for name in ("images", "planes", "real", "shifted"))
    for node in graph.node:
        node.input[:] = [images if name == given.name else name for name in node.input]
    mean = np.array([whole(255 * m) for m in contract.mean])
    gain = 1 / (255 * np.asarray(contract.std))
    head = [
        # TensorRT takes bytes into a Cast and nothing else.
        helper.make_node("Cast", [given.name], [real], name="pixels.Cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", [real], [planes], name="pixels.Transpose", perm=TO_PLANES),
        helper.make_node(
            "Sub", [planes, _constant(graph, "pixels.mean", mean.reshape(1, 3, 1, 1))], [shifted], name="pixels.Sub"
        ),
    ]
    readers = Links(graph).readers[images]
    if fold and all(reader.op_type == "Conv" for reader in readers):
        for reader in readers:
            weights = numpy_helper.to_array(Links(graph).constants[reader.input[1]])  # (out, 3, kh, kw)
            reader.input[1] = _constant(graph, f"{reader.input[1]}.of_pixels", weights * gain.reshape(1, 3, 1, 1))
            reader.input[0] = shifted
    else:
        gains = _constant(graph, "pixels.gain", gain.reshape(1, 3, 1, 1))
        head.append(helper.make_node("Mul", [shifted, gains], [images], name="pixels.Mul"))
    _replace_nodes(graph, [*head, *graph.node])
    given.type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.UINT8, contract.input_shape))
    drop_unused(graph)
    return model


def pixels_are_integers(model: onnx.ModelProto) -> None:
    """In an unsigned graph, let the first convolutions read the pixels themselves, padded and never made floats.

    With pixel p and step s the rounded input is ``s (p - 128)``, so the convolution of it is that of ``s p`` less
    ``128 s`` times the sum of the weights, which its bias takes over; at the border too, where the frame is padded with
    128 beforehand. The zero-point becomes 0: with another one OpenVINO falls back to float (seen in 2026.4). What else
    reads the images, such as a pool that halves them, goes on doing so. Where the head computes anything else, or the
    convolutions that read it pad differently, it stays as it is.
    """
    graph = model.graph
    links = Links(graph)
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in links.constants.items()}
    rounding = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "pixels.images"), None)
    if rounding is None:
        return
    _, step, zero = rounding.input
    same = [(constants[f"pixels.{name}"] == constants[other]).all() for name, other in (("gain", step), ("mean", zero))]
    readers = links.readers[links.readers[rounding.output[0]][0].output[0]]
    convolutions = [reader for reader in readers if reader.op_type == "Conv"]
    paddings = {tuple(a.ints) for reader in convolutions for a in reader.attribute if a.name == "pads"}
    if not all(same) or len(paddings) != 1:
        return
    for conv in convolutions:
        weights = links.maker[conv.input[1]]
        integers, scale = (constants[name].astype(np.float64) for name in weights.input[:2])
        own = constants[conv.input[2]] if len(conv.input) > 2 else 0.0  # exporters leave out a bias of zeros
        bias = own - constants[zero] * constants[step] * scale * integers.sum((1, 2, 3))
        conv.input[:] = [
            "pixels.planes_of_steps",
            conv.input[1],
            _constant(graph, f"pixels.bias_of.{conv.name}", bias),
        ]
        (pads,) = (a for a in conv.attribute if a.name == "pads")
        pads.ints[:] = [0, 0, 0, 0]
    ((top, left, bottom, right),) = paddings
    graph.initializer.append(numpy_helper.from_array(np.array([0, top, left, 0, 0, bottom, right, 0]), "pixels.pads"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), "pixels.zero"))
    head = [
        helper.make_node("Pad", [graph.input[0].name, "pixels.pads", zero], ["pixels.padded"], name="pixels.Pad"),
        helper.make_node(
            "DequantizeLinear", ["pixels.padded", step, "pixels.zero"], ["pixels.steps"], name="pixels.Steps"
        ),
        helper.make_node(
            "Transpose", ["pixels.steps"], ["pixels.planes_of_steps"], name="pixels.Planes", perm=TO_PLANES
        ),
    ]
    _replace_nodes(graph, [*head, *graph.node])
    drop_unused(graph)


def whole(value: float) -> float:
    """255 times a mean of n / 255 is n."""
    return round(value) if abs(value - round(value)) < 1e-6 else value


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
    return name


def _replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
