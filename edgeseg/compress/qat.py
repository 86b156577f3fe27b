"""Fake quantization by torch.fx: the student keeps its modules and state-dict keys, and learns on the deployed grid.

Weights: symmetric, per output channel, quantized before batch normalisation, so that folding it is exact (see fold.py).
Activations: symmetric s8, zero-point 0, one scale a tensor, fixed after an MSE-optimal calibration. Both inputs of a
residual add are quantized, as are both of a product, gates (sigmoids) among them; max-pools keep the scale of their
input, inputs of a concatenation share one, and a resize has its own; logits stay float. This is what TensorRT requires,
and it is exactly re-expressible in u8 for CPUs.

What has no integer kernel worth having is computed in float from rounded values, and rounded again where an integer
operation reads it: transposed convolutions, layer normalisation, GELU, and the functions that a family's file names in
its ``FLOAT``.

Every number is chosen so that float32 holds it exactly, in whatever order an engine computes: scales of activations are
powers of two, folded scales of weights have 6 bits of mantissa, and biases are whole steps of the integer sums that
they are added to. Otherwise engines would differ in last bits, one of which now and then tips a rounding; and since
each layer spreads such a step over its neighbourhood, a fifth of the last values, and 0.2 % of the labels, would differ
(DDRNet-23-slim at half width, torch against itself in another memory format).

Jacob et al. 2018, https://arxiv.org/abs/1712.05877; Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342; powers of
two: Jain et al. 2020, "Trained Quantization Thresholds", https://arxiv.org/abs/1903.08066.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeseg.blocks import crop
from edgeseg.compress.fold import gain_and_bias
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs

Kind = Literal["input", "conv", "bn", "relu", "gate", "add", "mul", "pool", "maxpool", "resize", "concat", "float"]
MODULES: dict[type[nn.Module], Kind] = {
    nn.Conv2d: "conv",
    nn.BatchNorm2d: "bn",
    nn.ReLU: "relu",
    nn.PReLU: "relu",
    nn.Sigmoid: "gate",
    nn.Hardsigmoid: "gate",
    nn.AvgPool2d: "pool",
    nn.AdaptiveAvgPool2d: "pool",
    nn.MaxPool2d: "maxpool",
    nn.Upsample: "resize",
    nn.ConvTranspose2d: "float",
    nn.LayerNorm: "float",
    nn.GELU: "float",
}
FUNCTIONS: dict[object, Kind] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
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
MOVES = (crop, operator.getitem, torch.chunk, torch.split, torch.flatten, torch.permute, torch.transpose, torch.reshape)
MOVING_METHODS = ("chunk", "split", "flatten", "permute", "transpose", "reshape", "view", "contiguous")
SAMPLES = 20_000  # activations kept per tensor and calibration batch
MANTISSA = 6  # bits of a folded weight scale: times any sum that stays in range, up to 18 bits, exact in float32


class ActivationQuantizer(nn.Module):
    """Rounds activations to s8 with one scale, a power of two; straight-through gradient, zero where clipped."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.mode: Literal["quantize", "observe", "float"] = "quantize"
        self.fixed = False  # given rather than calibrated
        self.samples: list[Tensor] = []
        self.largest = 0.0

    def fix(self, scale: float) -> None:
        """Give the scale instead of calibrating it."""
        self.scale.fill_(scale)
        self.fixed = True

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "quantize":
            return fake_quantize(x.float(), self.scale)
        if self.mode == "observe":
            self.observe(x.detach().float().flatten())
        return x

    def observe(self, values: Tensor) -> None:
        self.largest = max(self.largest, float(values.abs().max()))
        # Evenly spaced rather than random: calibrating twice gives the same scale.
        self.samples.append(values[:: max(1, len(values) // SAMPLES)].clone())

    def calibrate(self) -> None:
        """Choose the power of two with the least mean square error on what was observed."""
        if not self.samples:
            raise NetworkError("calibration saw no frames: give at least one batch")
        values = torch.cat(self.samples)
        whole = math.ceil(math.log2(max(self.largest, 1e-8) / 127))  # nothing is clipped
        candidates = 2.0 ** torch.arange(whole - 4, whole + 1, device=values.device)
        errors = torch.stack([(fake_quantize(values, s) - values).square().mean() for s in candidates])
        self.scale.copy_(candidates[errors.argmin()])
        self.samples, self.largest = [], 0.0


def fake_quantize(x: Tensor, scale: Tensor) -> Tensor:
    zero = torch.zeros((), dtype=torch.int32, device=x.device)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127)


class QuantConv2d(nn.Conv2d):
    """A convolution whose weights are rounded to ``bits`` bits, symmetric and narrow, per output channel."""

    bits: int
    quantize: bool
    normalised_by: tuple[()] | tuple[GridBatchNorm2d]  # a tuple: not a submodule
    reads: tuple[()] | tuple[ActivationQuantizer]  # where nothing normalises it: what rounds its input

    @classmethod
    def of(cls, conv: nn.Conv2d, bits: int) -> QuantConv2d:
        """The same convolution, sharing its parameters, so that state-dict keys and optimisers do not notice."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in conv.__dict__.items() if k not in ("_parameters", "_buffers")})
        self._parameters, self._buffers = conv._parameters, conv._buffers
        self.bits, self.quantize, self.normalised_by, self.reads = bits, True, (), ()
        return self

    @property
    def limit(self) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def weight_scale(self) -> Tensor:
        """(C,): the largest weight of each output channel falls on the grid's end."""
        return self.weight.detach().float().abs().amax((1, 2, 3)).clamp_min(1e-8) / self.limit

    def rounded(self) -> Tensor:
        """The weights on their grid; gradient straight through."""
        scale = self.weight_scale()
        zeros = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zeros, 0, -self.limit, self.limit)

    def integers(self) -> Tensor:
        """The weights in steps of their grid, as whole numbers in float32; gradient straight through."""
        steps = self.rounded() / self.weight_scale().detach().view(-1, 1, 1, 1)
        return steps + (steps.round() - steps).detach()

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantize:
            return super().forward(x)
        if self.normalised_by and self.normalised_by[0].folds:
            return self._conv_forward(x, self.integers(), None)
        if self.reads and not self.training and self.reads[0].mode == "quantize":
            scale, bias = self.folded()
            return self._conv_forward(x, self.integers(), None) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
        return self._conv_forward(x, self.rounded(), self.bias)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Per output channel (C,), where nothing normalises it: the scale of the integer weights, and the bias."""
        scale = with_short_mantissa(self.weight_scale().detach())
        bias = torch.zeros_like(scale) if self.bias is None else self.bias
        return scale, on_grid(bias, self.reads[0].scale * scale) if self.reads else bias


class GridBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that, where its statistics are fixed, computes what its convolution will with it folded in.

    The convolution then hands over sums of integer weights, and this multiplies them by the folded scale and adds the
    folded bias, both as engines can express them. Gradients pass straight through the roundings.
    """

    @classmethod
    def of(cls, bn: nn.BatchNorm2d, conv: QuantConv2d, rounded: ActivationQuantizer) -> GridBatchNorm2d:
        """The same normalisation, sharing its parameters and statistics, behind ``conv`` of what ``rounded`` rounds."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in bn.__dict__.items() if k not in ("_parameters", "_buffers")})
        self._parameters, self._buffers = bn._parameters, bn._buffers
        self.neighbours = (conv, rounded)  # a tuple: not submodules, so no second name for their tensors
        conv.normalised_by = (self,)
        return self

    @property
    def folds(self) -> bool:
        conv, rounded = self.neighbours
        return not self.training and conv.quantize and rounded.mode == "quantize"

    def forward(self, x: Tensor) -> Tensor:
        if not self.folds:
            return super().forward(x)
        scale, bias = self.folded()
        return x * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Per output channel (C,): the scale of the integer weights, of the gain's sign, and the bias."""
        conv, rounded = self.neighbours
        gain, bias = gain_and_bias(conv, self)
        scale = with_short_mantissa(conv.weight_scale().detach() * gain)
        return scale, on_grid(bias, rounded.scale * scale.abs())


class LoneBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation behind a sum or a concatenation, as published networks have it: a product and a sum.

    Its scale is one that makes the product exact, so that engines differ in nothing, fused or not.
    """

    quantize: bool

    @classmethod
    def of(cls, bn: nn.BatchNorm2d) -> LoneBatchNorm2d:
        """The same normalisation, sharing its parameters and statistics."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in bn.__dict__.items() if k not in ("_parameters", "_buffers")})
        self._parameters, self._buffers = bn._parameters, bn._buffers
        self.quantize = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.quantize:
            return super().forward(x)
        scale, bias = self.folded()
        return x * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Per channel (C,): what it multiplies by, and what it adds."""
        assert self.running_var is not None and self.running_mean is not None
        gain = with_short_mantissa(self.weight / torch.sqrt(self.running_var + self.eps))
        return gain, self.bias - self.running_mean * gain


def with_short_mantissa(x: Tensor) -> Tensor:
    """The nearest numbers with MANTISSA bits; the gradient passes straight through."""
    mantissa, exponent = torch.frexp(x.detach())
    return x + (torch.ldexp((mantissa * 2**MANTISSA).round() / 2**MANTISSA, exponent) - x.detach())


def on_grid(bias: Tensor, step: Tensor) -> Tensor:
    """The bias in whole steps, at most those of int32; as it is where the step is too small to matter."""
    steps = (bias.detach() / step.detach().clamp_min(1e-12)).round()
    inside = steps.abs() < 2**31
    return bias + torch.where(inside, steps * step.detach() - bias.detach(), 0.0)


def prepare(student: nn.Module, *, weight_bits: int = 7, input_scale: float | None = None) -> fx.GraphModule:
    """A copy of the student's graph, sharing its parameters, with fake quantization in it; not yet calibrated.

    ``weight_bits`` 7 keeps every sum of two products within 16 bits, so that CPUs without VNNI compute exactly what the
    others do; 8 is finer, and for TensorRT and CPUs with VNNI. ``input_scale`` fixes the grid of the input instead of
    calibrating it: when a pixel's step is the scale, the input is not rounded at all.

    Raises NetworkError where torch.fx cannot trace the student.
    """
    if not 2 <= weight_bits <= 8:
        raise NetworkError(f"weight_bits must lie between 2 and 8, got {weight_bits}")
    try:
        graph = fx.symbolic_trace(student.train())  # in training: with the auxiliary heads, whose weights stay
    except Exception as e:  # tracing runs the user's own code: whatever it raises, this is the reason
        raise NetworkError(
            f"{type(student).__name__} cannot be traced by torch.fx ({e}): its forward must not branch on tensors"
        ) from e
    for name, module in list(graph.named_modules()):
        if type(module) is nn.Conv2d:
            graph.set_submodule(name, QuantConv2d.of(module, weight_bits))
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
            graph.set_submodule(bn, LoneBatchNorm2d.of(graph.get_submodule(bn)))  # type: ignore[arg-type]
    graph.graph.lint()
    graph.recompile()


def _put_on_grid(graph: fx.GraphModule, conv: fx.Node) -> None:
    """Let a convolution of rounded values, or the normalisation behind it, add its bias in whole steps."""
    source = _unmoved(conv.args[0])
    if source.op != "call_module" or not str(source.target).startswith("quantizers."):
        return
    module, rounded = (graph.get_submodule(str(n.target)) for n in (conv, source))
    users = list(conv.users)
    if len(users) == 1 and kind(graph, users[0]) == "bn":
        bn = str(users[0].target)
        graph.set_submodule(bn, GridBatchNorm2d.of(graph.get_submodule(bn), module, rounded))  # type: ignore[arg-type]
    else:
        module.reads = (rounded,)  # type: ignore[assignment]


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
        return next((k for cls, k in MODULES.items() if isinstance(module, cls)), None)
    if node.op == "call_function":
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
        elif isinstance(module, QuantConv2d | LoneBatchNorm2d):
            module.quantize = weights
