"""The network as a robot runs it: images in, logits out, integers where training only pretended."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from edgeseg.blocks import reparameterised
from edgeseg.compress.fold import gain_and_bias
from edgeseg.compress.grid import (
    ActivationQuantizer,
    GridBatchNorm2d,
    GridPReLU,
    LoneBatchNorm2d,
    QuantConv2d,
)
from edgeseg.compress.qat import kind, returned

OPSET = 20


class Logits(nn.Module):
    """A student without its features and auxiliary logits."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.student(images).logits
        return logits


class Rounding(nn.Module):
    """QuantizeLinear and DequantizeLinear in place of an activation quantizer: only for export."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.register_buffer("scale", quantizer.scale.detach().cpu().float().clone())
        self.register_buffer("zero", torch.zeros((), dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return dequantize(quantize(x, self.scale, self.zero), self.scale, self.zero)


class IntegerConv2d(nn.Module):
    """A convolution, transposed or not, with int8 weights and the batch normalisation that followed it folded in."""

    def __init__(self, conv: QuantConv2d, bn: nn.BatchNorm2d | None) -> None:
        super().__init__()
        if bn is None or isinstance(bn, GridBatchNorm2d):
            folded, bias = (t.detach() for t in (conv if bn is None else bn).folded())
        else:
            gain, bias = (t.detach() for t in gain_and_bias(conv, bn))
            folded = conv.weight_scale().detach() * gain
        signs = torch.where(folded < 0, -1.0, 1.0)  # a scale cannot be negative
        integers = conv.integers().detach() * conv.along(signs)
        self.register_buffer("integers", integers.to(torch.int8))
        self.register_buffer("scale", folded.abs().clamp_min(1e-12))
        self.register_buffer("zero", torch.zeros(len(folded), dtype=torch.int8))
        self.register_buffer("bias", bias)
        self.convolve, self.where, self.axis = conv.convolve, conv.where, conv.axis

    def forward(self, x: Tensor) -> Tensor:
        weight = dequantize(self.integers, self.scale, self.zero, axis=self.axis)
        result: Tensor = self.convolve(x, weight, self.bias, *self.where)
        return result


class ScaleShift(nn.Module):
    """A batch normalisation that has no convolution to be folded into."""

    def __init__(self, bn: LoneBatchNorm2d) -> None:
        super().__init__()
        scale, bias = (t.detach().view(-1, 1, 1) for t in bn.folded())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.bias


def quantize(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return torch.onnx.ops.symbolic("QuantizeLinear", (x, scale, zero), dtype=zero.dtype, shape=x.shape, version=OPSET)


def dequantize(x: Tensor, scale: Tensor, zero: Tensor, *, axis: int | None = None) -> Tensor:
    attributes = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear", (x, scale, zero), attributes, dtype=torch.float32, shape=x.shape, version=OPSET
    )


def deploy(
    network: nn.Module, *, rounding: type[Rounding] = Rounding, convolution: type[IntegerConv2d] = IntegerConv2d
) -> nn.Module:
    """A module (N, 3, H, W) -> logits, ready for export: integers inside if the network has fake quantization.

    ``rounding`` and ``convolution`` say them in operators of ONNX, or of whatever else is exported to.
    """
    network = copy.deepcopy(network).cpu().eval()
    if not isinstance(network, fx.GraphModule):
        return Logits(reparameterised(network)).eval()
    graph, logits = network.graph, returned(network).logits
    (output,) = [n for n in graph.nodes if n.op == "output"]
    output.args = (logits,)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if kind(network, node) != "conv":
            continue
        users = list(node.users)
        bn = users[0] if len(users) == 1 and kind(network, users[0]) == "bn" else None
        folded = convolution(network.get_submodule(node.target), bn and network.get_submodule(bn.target))
        network.set_submodule(node.target, folded)
        if bn:
            bn.replace_all_uses_with(node)
            graph.erase_node(bn)
    for name, module in list(network.named_modules()):
        if isinstance(module, LoneBatchNorm2d):
            network.set_submodule(name, ScaleShift(module))
        elif isinstance(module, GridPReLU):
            slopes = nn.PReLU(module.num_parameters)
            slopes.weight.data = module.slopes().detach()
            network.set_submodule(name, slopes)
    for name, quantizer in list(network.quantizers.items()):
        network.quantizers[name] = rounding(quantizer)
    network.delete_all_unused_submodules()
    network.recompile()
    return network.eval()
