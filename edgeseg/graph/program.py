"""The network as an exported program of torch.export, for Torch-TensorRT: pixels in, logits out, one static size.

https://docs.pytorch.org/docs/stable/export.html. A quantized network says its roundings in torch's own operators,
``quantized_decomposed``, which any torch opens and computes; its weights are stored as the integers that they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers torch.ops.quantized_decomposed

from edgeseg.compress.grid import ActivationQuantizer
from edgeseg.contract import Contract
from edgeseg.graph.deploy import IntegerConv2d, Rounding, deploy
from edgeseg.graph.head import whole

S8 = (-128, 127, torch.int8)  # the range and type of every rounding


class ProgramRounding(Rounding):
    """To s8 and back. The scale is written into the graph as a number: no tensor to follow."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__(quantizer)
        self.step = float(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        integers = ops.quantize_per_tensor.default(x, self.step, 0, *S8)
        rounded: Tensor = ops.dequantize_per_tensor.default(integers, self.step, 0, *S8)
        return rounded


class ProgramConv2d(IntegerConv2d):
    """A convolution with int8 weights."""

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        weight = ops.dequantize_per_channel.default(self.integers, self.scale, self.zero, self.axis, *S8)
        result: Tensor = self.convolve(x, weight, self.bias, *self.where)
        return result


class OfPixels(nn.Module):
    """A module of normalised images (1, 3, H, W) as one of pixels, uint8 (1, H, W, 3)."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([whole(255 * m) for m in contract.mean]).view(1, 3, 1, 1).float())
        self.register_buffer("gain", torch.tensor([1 / (255 * s) for s in contract.std]).view(1, 3, 1, 1).float())

    def forward(self, image: Tensor) -> Tensor:
        planes = image.to(torch.float32).permute(0, 3, 1, 2)  # TensorRT takes bytes into a cast and nothing else
        logits: Tensor = self.network((planes - self.mean) * self.gain)
        return logits


def write(network: nn.Module, contract: Contract, file: Path) -> None:
    """Export a network, with fake quantization or without, as a program in float32."""
    with torch.no_grad():
        program = trace(network, contract)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of the machine that wrote it
    program.example_inputs = None  # a frame of zeros
    torch.export.save(program, file)


def trace(network: nn.Module, contract: Contract) -> torch.export.ExportedProgram:
    """The program for the contract's static size; nodes know the module they came from."""
    module = OfPixels(deploy(network, rounding=ProgramRounding, convolution=ProgramConv2d), contract).eval()
    return torch.export.export(module, (torch.zeros(contract.input_shape, dtype=torch.uint8),))
