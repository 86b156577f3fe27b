"""Layers that compute on the deployed grid: what qat.py puts into a student's graph in place of its own.

Every number is chosen so that float32 holds it exactly, in whatever order an engine computes: scales of activations are
powers of two, folded scales of weights have 6 bits of mantissa, and biases are whole steps of the integer sums that
they are added to. Otherwise engines would differ in last bits, one of which now and then tips a rounding; and since
each layer spreads such a step over its neighbourhood, a fifth of the last values, and 0.2 % of the labels, would differ
(DDRNet-23-slim at half width, torch against itself in another memory format).

Powers of two: Jain et al. 2020, "Trained Quantization Thresholds", https://arxiv.org/abs/1903.08066.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.compress.fold import gain_and_bias
from edgeseg.errors import NetworkError

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

    axis = 0  # of the weights' output channels
    convolve = staticmethod(torch.conv2d)
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
    def where(self) -> tuple[object, ...]:
        """What ``convolve`` takes behind input, weights and bias."""
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def limit(self) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def weight_scale(self) -> Tensor:
        """(C,): the largest weight of each output channel falls on the grid's end."""
        others = [d for d in range(4) if d != self.axis]
        return self.weight.detach().float().abs().amax(others).clamp_min(1e-8) / self.limit

    def along(self, channels: Tensor) -> Tensor:
        """Numbers of the output channels (C,), to go with the weights."""
        return channels.view([-1 if d == self.axis else 1 for d in range(4)])

    def rounded(self) -> Tensor:
        """The weights on their grid; gradient straight through."""
        scale = self.weight_scale()
        zeros = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zeros, self.axis, -self.limit, self.limit)

    def integers(self) -> Tensor:
        """The weights in steps of their grid, as whole numbers in float32; gradient straight through."""
        steps = self.rounded() / self.along(self.weight_scale().detach())
        return steps + (steps.round() - steps).detach()

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantize:
            return self._conv_forward(x, self.weight, self.bias)
        if self.normalised_by and self.normalised_by[0].folds:
            return self._conv_forward(x, self.integers(), None)
        if self.reads and not self.training and self.reads[0].mode == "quantize":
            scale, bias = self.folded()
            return self._conv_forward(x, self.integers(), None) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
        return self._conv_forward(x, self.rounded(), self.bias)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Per output channel (C,), where nothing normalises it: the scale of the integer weights, and the bias.

        Where that is nothing, one step of its sums, the least there is: without any bias OpenVINO folds the scale into
        the limits of the rounding behind, which moves ties (seen in 2026.4: 3 to 20 % of the labels of untrained
        networks differed, and with it none).
        """
        scale = with_short_mantissa(self.weight_scale().detach())
        if not self.reads:
            return scale, torch.zeros_like(scale) if self.bias is None else self.bias
        step = self.reads[0].scale * scale
        bias = torch.zeros_like(scale) if self.bias is None else on_grid(self.bias, step)
        return scale, torch.where(bias.any(), bias, step)


class QuantConvTranspose2d(QuantConv2d, nn.ConvTranspose2d):
    """The same of a transposed convolution of one group. Left in float, ONNX Runtime rounds its weights unasked."""

    axis = 1
    convolve = staticmethod(torch.conv_transpose2d)

    @property
    def where(self) -> tuple[object, ...]:
        return self.stride, self.padding, self.output_padding, self.groups, self.dilation

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.convolve(x, weight, bias, *self.where)


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
        """Per output channel (C,): the scale of the integer weights, of the gain's sign, and the bias: never nothing,
        for the reason that a convolution without a normalisation gives. Before training it can be."""
        conv, rounded = self.neighbours
        gain, bias = gain_and_bias(conv, self)
        scale = with_short_mantissa(conv.weight_scale().detach() * gain)
        step = rounded.scale * scale.detach().abs()
        bias = on_grid(bias, step)
        return scale, bias + torch.where(bias.any(), 0.0, step)


class LoneBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation behind a sum or a concatenation, as published networks have it: a product and a sum.

    Both are exact, so that engines differ in nothing, whatever they fold into what.
    """

    quantize: bool
    reads: tuple[ActivationQuantizer, ...]  # a tuple: not submodules; what rounds its input, or the parts of its input

    @classmethod
    def of(cls, bn: nn.BatchNorm2d, reads: tuple[ActivationQuantizer, ...]) -> LoneBatchNorm2d:
        """The same normalisation, sharing its parameters and statistics."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in bn.__dict__.items() if k not in ("_parameters", "_buffers")})
        self._parameters, self._buffers = bn._parameters, bn._buffers
        self.quantize, self.reads = True, reads
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
        bias = self.bias - self.running_mean * gain
        if not self.reads:
            return gain, bias
        return gain, on_grid(bias, torch.stack([q.scale for q in self.reads]).amin() * gain.abs())


class GridPReLU(nn.PReLU):
    """PReLU whose slopes are powers of two, so that what it says is exact too.

    Slopes of 6 bits were not enough: OpenVINO adds the zero-point of 128 before it rounds, which leaves a value 17 bits
    behind the point; a few in a million then fell on the other side of a tie.
    """

    quantize: bool

    @classmethod
    def of(cls, act: nn.PReLU) -> GridPReLU:
        """The same, sharing its slopes."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in act.__dict__.items() if k != "_parameters"})
        self._parameters, self.quantize = act._parameters, True
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.quantize:
            return super().forward(x)
        return F.prelu(x, self.slopes())

    def slopes(self) -> Tensor:
        """(C,) or (1,): the nearest powers of two."""
        return with_short_mantissa(self.weight, bits=1)


SIXTH = 171 / 1024  # of hard gates: 8 bits, 0.2 % more than a sixth


class GridHardsigmoid(nn.Hardsigmoid):
    """``clip(x / 6 + 1/2, 0, 1)`` with a sixth of 8 bits: that of a rounded number is exact."""

    quantize = True

    def forward(self, x: Tensor) -> Tensor:
        return (x * SIXTH + 0.5).clamp(0, 1) if self.quantize and not self.training else super().forward(x)


class GridHardswish(nn.Hardswish):
    """A rounded number times its hard sigmoid of that kind. Otherwise engines, which multiply and divide in another
    order, round ties differently, and of small products with a sixth many are ties."""

    quantize = True

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.quantize:
            return super().forward(x)
        return x * (x * SIXTH + 0.5).clamp(0, 1)


def with_short_mantissa(x: Tensor, bits: int = MANTISSA) -> Tensor:
    """The nearest numbers with so many bits; the gradient passes straight through."""
    mantissa, exponent = torch.frexp(x.detach())
    return x + (torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent) - x.detach())


def on_grid(bias: Tensor, step: Tensor) -> Tensor:
    """The bias in whole steps, at most those of int32; as it is where the step is too small to matter."""
    steps = (bias.detach() / step.detach().clamp_min(1e-12)).round()
    inside = steps.abs() < 2**31
    return bias + torch.where(inside, steps * step.detach() - bias.detach(), 0.0)
