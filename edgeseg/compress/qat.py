"""Fake quantization by torch.fx: the student keeps its modules and state-dict keys, and learns on the deployed grid.

Weights: symmetric, per output channel, quantized before batch normalisation, so that folding it is exact (see fold.py).
Activations: symmetric s8, zero-point 0, one scale a tensor, fixed after an MSE-optimal calibration. Both inputs of a
residual add are quantized, as are both of a product, gates (sigmoids) among them; max-pools and nearest resizes keep
the scale of their input, inputs of a concatenation share one, and a bilinear resize has its own; logits stay float.
This is what TensorRT requires, and it is exactly re-expressible in u8 for CPUs.

What has no integer kernel worth having is computed in float from rounded values, and rounded again where an integer
operation reads it: layer and group normalisation, GELU, SiLU, Hardswish, and the functions that a family's file names
in its ``FLOAT``.

Every number is chosen so that all engines compute the same: see grid.py.

Jacob et al. 2018, https://arxiv.org/abs/1712.05877; Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.backbones import cropped, padded
from edgeseg.blocks import crop, reparameterised, shuffle
from edgeseg.compress.grid import (
    ActivationQuantizer,
    GridBatchNorm2d,
    GridHardsigmoid,
    GridHardswish,
    GridPReLU,
    LoneBatchNorm2d,
    QuantConv2d,
    QuantConvTranspose2d,
)
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs

Kind = Literal["input", "conv", "bn", "relu", "gate", "add", "mul", "pool", "maxpool", "resize", "concat", "float"]
MODULES: dict[type[nn.Module], Kind] = {
    nn.Conv2d: "conv",
    nn.ConvTranspose2d: "conv",
    nn.BatchNorm2d: "bn",
    nn.ReLU: "relu",
    nn.ReLU6: "relu",
    nn.PReLU: "relu",
    nn.Sigmoid: "gate",
    nn.Hardsigmoid: "gate",
    nn.AvgPool2d: "pool",
    nn.AdaptiveAvgPool2d: "pool",
    nn.MaxPool2d: "maxpool",
    nn.Upsample: "resize",
    nn.LayerNorm: "float",
    nn.GroupNorm: "float",
    nn.GELU: "float",
    nn.SiLU: "float",
    nn.Hardswish: "float",
}
FUNCTIONS: dict[object, Kind] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    operator.sub: "add",
    torch.sub: "add",
    operator.mul: "mul",
    torch.mul: "mul",
    torch.sigmoid: "gate",
    F.relu: "relu",
    torch.relu: "relu",
    F.interpolate: "resize",
    torch.cat: "concat",
    F.avg_pool2d: "pool",
    F.adaptive_avg_pool2d: "pool",
    F.max_pool2d: "maxpool",
}
# What only moves values: a rounded one stays rounded.
MOVES = (
    crop,
    shuffle,
    cropped,
    padded,
    operator.getitem,
    torch.chunk,
    torch.split,
    torch.flatten,
    torch.permute,
    torch.transpose,
    torch.reshape,
)
MOVING_METHODS = ("chunk", "split", "flatten", "permute", "transpose", "reshape", "view", "contiguous")


HARD = {nn.Hardswish: GridHardswish, nn.Hardsigmoid: GridHardsigmoid}


def prepare(student: nn.Module, *, weight_bits: int = 7, input_scale: float | None = None) -> fx.GraphModule:
    """A copy of the student's graph, sharing its parameters, with fake quantization in it; not yet calibrated.

    Where blocks have branches that only training needs, their parameters are not shared: one convolution takes the
    place of each.

    ``weight_bits`` 7 keeps every sum of two products within 16 bits, so that CPUs without VNNI compute exactly what the
    others do; 8 is finer, and for TensorRT and CPUs with VNNI. ``input_scale`` fixes the grid of the input instead of
    calibrating it: when a pixel's step is the scale, the input is not rounded at all.

    Raises NetworkError where torch.fx cannot trace the student.
    """
    if not 2 <= weight_bits <= 8:
        raise NetworkError(f"weight_bits must lie between 2 and 8, got {weight_bits}")
    try:
        # In training: with the auxiliary heads, whose weights stay.
        graph = fx.symbolic_trace(reparameterised(student).train())
    except Exception as e:  # tracing runs the user's own code: whatever it raises, this is the reason
        raise NetworkError(
            f"{type(student).__name__} cannot be traced by torch.fx ({e}): its forward must not branch on tensors"
        ) from e
    for name, module in list(graph.named_modules()):
        if type(module) is nn.Conv2d:
            graph.set_submodule(name, QuantConv2d.of(module, weight_bits))
        elif type(module) is nn.ConvTranspose2d and module.groups == 1:
            graph.set_submodule(name, QuantConvTranspose2d.of(module, weight_bits))
        elif type(module) is nn.PReLU:
            graph.set_submodule(name, GridPReLU.of(module))
        elif type(module) in HARD:
            graph.set_submodule(name, HARD[type(module)]())
    _insert_quantizers(graph, input_scale)
    graph.stride = student.stride
    return graph


def _insert_quantizers(graph: fx.GraphModule, input_scale: float | None) -> None:
    logits = _logits(graph)
    values = [
        node
        for node in graph.graph.nodes
        if kind(graph, node) is not None
        and node not in logits
        and not _fused_into_next(graph, node)
        and not (kind(graph, node) == "float" and _read_in_float(graph, node))
    ]
    leaders = _shared_scales(graph, values)
    graph.quantizers = nn.ModuleDict({node.name: ActivationQuantizer() for node in values if leaders[node] is node})
    for node in values:
        with graph.graph.inserting_after(node):
            call = graph.graph.call_module(f"quantizers.{leaders[node].name}", (node,))
        node.replace_all_uses_with(
            call, delete_user_cb=lambda user, call=call: user is not call and not _reads_shape(user)
        )
        if node.op == "placeholder" and input_scale is not None:
            graph.quantizers[leaders[node].name].fix(input_scale)
    for node in graph.graph.nodes:
        if kind(graph, node) == "conv":
            _put_on_grid(graph, node)
    for node in graph.graph.nodes:
        if kind(graph, node) == "bn" and kind(graph, node.args[0]) != "conv":
            bn = str(node.target)
            graph.set_submodule(bn, LoneBatchNorm2d.of(graph.get_submodule(bn), _rounding(graph, node.args[0])))  # type: ignore[arg-type]
    graph.graph.lint()
    graph.recompile()


def _put_on_grid(graph: fx.GraphModule, conv: fx.Node) -> None:
    """Let a convolution of rounded values, or the normalisation behind it, add its bias in whole steps."""
    module, reads = graph.get_submodule(str(conv.target)), _rounding(graph, conv.args[0])  # type: ignore[arg-type]
    if len(reads) != 1:
        return
    users = list(conv.users)
    if len(users) == 1 and kind(graph, users[0]) == "bn":
        bn = str(users[0].target)
        graph.set_submodule(bn, GridBatchNorm2d.of(graph.get_submodule(bn), module, reads[0]))  # type: ignore[arg-type]
    else:
        module.reads = reads  # type: ignore[assignment]


def _rounding(graph: fx.GraphModule, value: fx.Node) -> tuple[ActivationQuantizer, ...]:
    """What rounds a value, or both sides of a sum; none where anything else makes it."""
    if kind(graph, value) == "add":
        parts = [_rounding(graph, part) for part in value.args]  # type: ignore[arg-type]
        return sum(parts, ()) if all(parts) else ()
    source = _unmoved(value)
    module = graph.get_submodule(str(source.target)) if source.op == "call_module" else None
    return (module,) if isinstance(module, ActivationQuantizer) else ()


def _moves(node: fx.Node) -> bool:
    return (node.op == "call_function" and node.target in MOVES) or (
        node.op == "call_method" and node.target in MOVING_METHODS
    )


def _unmoved(node: object) -> fx.Node:
    """The node that a crop, a split or a transposition, which change no value, takes its values from."""
    while isinstance(node, fx.Node) and _moves(node):
        node = node.args[0]
    assert isinstance(node, fx.Node)
    return node


def kind(graph: fx.GraphModule, node: fx.Node) -> Kind | None:
    """What a node is to quantization; None where it passes through untouched."""
    if node.op == "placeholder":
        return "input"
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, nn.Upsample) and module.mode == "nearest":
            return "maxpool"
        return next((k for cls, k in MODULES.items() if isinstance(module, cls)), None)
    if node.op == "call_function":
        if node.target is F.interpolate and node.kwargs.get("mode", "nearest") == "nearest":
            return "maxpool"  # it picks values too, and keeps their scale
        return FUNCTIONS.get(node.target, "float" if _declared_float(node.target) else None)
    return None


def _declared_float(function: object) -> bool:
    """Whether a family's file has a function of its own, one node for torch.fx, that it wants in float."""
    family = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(function, "__name__", None) in getattr(family, "FLOAT", ())


def _logits(graph: fx.GraphModule) -> set[fx.Node]:
    """Nodes returned as logits or auxiliary logits: they stay float."""
    outputs = returned(graph)
    found: set[fx.Node] = set()
    fx.node.map_arg((outputs.logits, outputs.auxiliary), found.add)
    return found


def returned(graph: fx.GraphModule) -> Outputs:
    """The nodes that a traced student returns, as the Outputs that it makes of them."""
    (output,) = [n for n in graph.graph.nodes if n.op == "output"]
    made = output.args[0]
    if isinstance(made, fx.Node) and made.target is Outputs:  # fx records a named tuple's constructor as a call
        return Outputs(*made.args, **made.kwargs)  # type: ignore[arg-type]
    raise NetworkError(f"the network must return edgeseg.outputs.Outputs, it returns {made}")


def _fused_into_next(graph: fx.GraphModule, node: fx.Node) -> bool:
    """An engine computes conv -> bn -> relu as one, add -> relu and mul -> relu too, also with a normalisation of their
    own between, and a gate behind a convolution: only what comes out at the end is rounded."""
    users = [u for u in node.users if not _reads_shape(u)]
    if len(users) != 1:
        return False
    here, after = kind(graph, node), kind(graph, users[0])
    if here == "conv":
        return after in ("bn", "relu", "gate")
    if here == "bn":
        return after in ("relu", "gate")
    return here in ("add", "mul", "float") and after in ("bn", "relu")


def _read_in_float(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing computed in integers reads what a float operation says."""
    readers = [u for u in node.users if not _reads_shape(u)]
    return all(_read_in_float(graph, u) if _moves(u) else kind(graph, u) in (None, "float") for u in readers)


def _reads_shape(node: fx.Node) -> bool:
    return (node.op == "call_function" and node.target is getattr) or (
        node.op == "call_method" and node.target == "size"
    )


def _shared_scales(graph: fx.GraphModule, values: list[fx.Node]) -> dict[fx.Node, fx.Node]:
    """For each value, the first value of the group that shares its scale."""
    leader = {node: node for node in values}

    def find(node: fx.Node) -> fx.Node:
        while leader[node] is not node:
            node = leader[node]
        return node

    for node in values:
        sources: list[fx.Node] = []
        if kind(graph, node) == "maxpool":
            sources = [node.args[0]]  # type: ignore[list-item]
        elif kind(graph, node) == "concat":
            sources = list(node.args[0])  # type: ignore[arg-type]
        for source in sources:
            source = _unmoved(source)
            if source in leader:
                first, second = sorted((find(source), find(node)))  # fx orders nodes as they run
                leader[second] = first
    return {node: find(node) for node in values}


def quantizers(graph: nn.Module) -> Iterator[ActivationQuantizer]:
    return (m for m in graph.modules() if isinstance(m, ActivationQuantizer))


@contextmanager
def disabled(graph: nn.Module) -> Iterator[None]:
    """Inside, the network computes in float: its own weights, no rounding."""
    _switch(graph, "float", weights=False)
    try:
        yield
    finally:
        _switch(graph, "quantize", weights=True)


@torch.no_grad()
def calibrate(graph: nn.Module, images: Iterable[Tensor]) -> None:
    """Set every activation scale from batches of images (N, 3, H, W), seen by the float network."""
    graph.eval()
    _switch(graph, "observe", weights=False)
    for batch in images:
        graph(batch)
    for quantizer in quantizers(graph):
        if not quantizer.fixed:
            quantizer.calibrate()
    _switch(graph, "quantize", weights=True)


def _switch(graph: nn.Module, mode: Literal["quantize", "observe", "float"], *, weights: bool) -> None:
    for module in graph.modules():
        if isinstance(module, ActivationQuantizer):
            module.mode = mode if not (module.fixed and mode == "observe") else "float"
        elif isinstance(module, QuantConv2d | LoneBatchNorm2d | GridPReLU | GridHardsigmoid | GridHardswish):
            module.quantize = weights
