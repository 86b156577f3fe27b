"""Fake quantization: where it is put, what it computes, and that the student underneath stays what it was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg import students
from edgeseg.compress import grid, qat
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs


class Small(nn.Module):
    """Every kind of value that quantization tells apart, once."""

    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.AvgPool2d(2)
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        x = self.a(x)
        y = self.relu(self.b(x) + x)
        z = F.interpolate(self.pool(y), size=y.shape[-2:], mode="bilinear", align_corners=False)
        return Outputs(self.head(torch.cat([y, z], 1)), features=(y,))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    net = Small()
    net.train()(torch.randn(8, 3, 16, 24))  # batch statistics other than 0 and 1
    return net


def calibrated(net: nn.Module, images: torch.Tensor, **options) -> nn.Module:
    graph = qat.prepare(net, **options)
    qat.calibrate(graph, [images])
    return graph.eval()


def test_quantizers_stand_where_engines_round(small):
    graph = qat.prepare(small)
    # "relu" is the sum behind its ReLU, which shares the concatenation's scale with the resize; the pool has its own.
    assert sorted(graph.quantizers) == ["a_2", "b_1", "pool", "relu", "x"]
    targets = [str(n.target) for n in graph.graph.nodes if str(n.target).startswith("quantizers.")]
    assert targets.count("quantizers.relu") == 3  # the sum, the resize and the concatenation


class Gated(nn.Module):
    """A map weighed by a gate of its own, and a PReLU."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        x = self.a(x)
        return Outputs(self.head(x * self.gate(x)))


def test_products_are_rounded_as_sums_are(images):
    torch.manual_seed(0)
    graph = calibrated(Gated(), images)
    # Behind the PReLU, the pool, the gate (its convolution computes it as one) and the product.
    assert sorted(graph.quantizers) == ["a_2", "gate_0", "gate_2", "mul", "x"]
    assert 0.5 / 128 <= float(graph.quantizers["gate_2"].scale) <= 1 / 64


def test_folded_numbers_are_exact_in_float32(small, images):
    graph = calibrated(small, images)
    conv, bn = graph.get_submodule("b.0"), graph.get_submodule("b.1")
    assert isinstance(bn, grid.GridBatchNorm2d) and bn.folds
    scale, bias = (t.detach() for t in bn.folded())
    gain = bn.weight.detach() / (bn.running_var + bn.eps).sqrt()
    torch.testing.assert_close(scale, conv.weight_scale().detach() * gain, rtol=2**-grid.MANTISSA, atol=0)
    short = torch.frexp(scale).mantissa * 2**grid.MANTISSA
    assert torch.equal(short, short.round())
    step = graph.quantizers["a_2"].scale * scale.abs()
    assert torch.equal(bias / step, (bias / step).round())
    assert ((bias - (bn.bias.detach() - bn.running_mean * gain)).abs() <= 0.51 * step).all()


def test_the_order_of_summation_does_not_matter(small, images):
    """Not one value differs between memory formats, whose convolutions add up in different orders."""
    graph = calibrated(small, images)
    with torch.no_grad():
        ours, theirs = (
            graph(images.contiguous(memory_format=m)) for m in (torch.contiguous_format, torch.channels_last)
        )
    assert torch.equal(ours.features[0], theirs.features[0])


def test_state_dict_keys_survive(small):
    graph = qat.prepare(small)
    added = set(graph.state_dict()) - set(small.state_dict())
    assert set(small.state_dict()) <= set(graph.state_dict())
    assert added and all(key.startswith("quantizers.") for key in added)


def test_switched_off_it_is_the_float_network(small, images):
    graph = calibrated(small, images)
    with qat.disabled(graph), torch.no_grad():
        torch.testing.assert_close(graph(images).logits, small.eval()(images).logits, rtol=0, atol=0)
    assert (graph(images).logits != small(images).logits).any()


def test_weights_lie_on_a_narrow_symmetric_grid(small):
    conv = qat.prepare(small, weight_bits=7).get_submodule("a.0")
    seen = {}
    conv._conv_forward = lambda x, weight, bias: seen.setdefault("weight", weight.detach())
    conv(torch.zeros(1, 3, 4, 4))
    integers = seen["weight"] / conv.weight_scale().view(-1, 1, 1, 1)
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-4)
    assert integers.abs().amax((1, 2, 3)).round().tolist() == [63.0] * 8


def test_the_input_keeps_a_given_grid(small, images):
    graph = calibrated(small, images, input_scale=1 / 128)
    assert graph.quantizers["x"].scale == pytest.approx(1 / 128)
    pixel_values = (torch.arange(256.0) - 128) / 128
    torch.testing.assert_close(graph.quantizers["x"](pixel_values), pixel_values, rtol=0, atol=1e-7)


def test_calibration_finds_the_scale_of_least_error():
    quantizer = grid.ActivationQuantizer()
    quantizer.mode = "observe"
    values = torch.cat([torch.linspace(-1, 1, 10_000), torch.tensor([2.0])])  # one outlier, not worth the range
    quantizer(values)
    quantizer.calibrate()
    candidates = [2.0**k for k in range(-12, 0)]
    errors = [float((grid.fake_quantize(values, torch.tensor(s)) - values).square().mean()) for s in candidates]
    assert quantizer.scale == candidates[errors.index(min(errors))] < 4 / 64


def test_gradient_passes_inside_the_range_and_stops_outside():
    quantizer = grid.ActivationQuantizer()
    quantizer.scale.fill_(0.1)
    x = torch.tensor([0.33, 100.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_calibrating_on_nothing_is_refused(small):
    with pytest.raises(NetworkError, match="saw no frames"):
        qat.calibrate(qat.prepare(small), [])


def test_what_cannot_be_traced_is_refused():
    class Branching(Small):
        def forward(self, x: torch.Tensor) -> Outputs:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(NetworkError, match="cannot be traced"):
        qat.prepare(Branching())


@pytest.mark.parametrize("name", students.names())
def test_every_student_stays_close_to_itself(name):
    torch.manual_seed(0)
    net = students.get(name)(5, width=0.25)
    images = torch.randn(2, 3, 64, 96)
    for _ in range(3):
        net.train()(images)
    graph = calibrated(net, images)
    with torch.no_grad():
        ours, theirs = graph(images).logits, net.eval()(images).logits
        # Untrained, some networks make much of any disturbance: then rounding the input alone is the measure.
        rounded = grid.fake_quantize(images, next(qat.quantizers(graph)).scale)
        alone = (net(rounded).logits - theirs).abs().mean()
    assert (ours - theirs).abs().mean() < max(0.2 * theirs.abs().mean(), 8 * alone)
    assert ours.shape == theirs.shape


class Late(nn.Module):
    """As published networks have them: a normalisation behind a sum, and a transposed convolution in between."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.Sequential(nn.BatchNorm2d(8), nn.PReLU(8))
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        x = self.norm(self.a(x) + self.b(x))
        return Outputs(self.head(self.up(x)))


def test_a_late_normalisation_multiplies_exactly(images):
    torch.manual_seed(0)
    net = Late()
    net.train()(torch.randn(8, 3, 16, 24))
    graph = calibrated(net, images)
    assert sorted(graph.quantizers) == ["a", "b", "norm_1", "up", "x"]  # the sum only behind its normalisation
    scale, bias = (t.detach() for t in graph.get_submodule("norm.0").folded())
    short = torch.frexp(scale).mantissa * 2**grid.MANTISSA
    assert torch.equal(short, short.round())
    bn, step = net.norm[0], min(graph.quantizers[q].scale for q in "ab") * scale.abs()
    assert torch.equal(bias / step, (bias / step).round())
    assert ((bias - (bn.bias.detach() - bn.running_mean * scale)).abs() <= 0.51 * step).all()


def test_slopes_are_powers_of_two(images):
    torch.manual_seed(0)
    net = Late()
    net.norm[1].weight.data = torch.tensor([0.25, 0.3, 0.4, 1.0, -0.2, 0.0, 3.5, 2.0**-9])
    act = calibrated(net, images).get_submodule("norm.1")
    slopes = -act(-torch.ones(1, 8, 1, 1)).detach().flatten()
    assert slopes.tolist() == [0.25, 0.25, 0.5, 1.0, -0.25, 0.0, 4.0, 2.0**-9]


def test_a_convolution_without_a_bias_adds_one_step(small, images):
    small.head = nn.Conv2d(16, 4, 1, bias=False)
    graph = calibrated(small, images)
    head = graph.get_submodule("head")
    scale, bias = head.folded()
    assert torch.equal(bias, graph.quantizers["relu"].scale * scale)


def test_transposed_convolutions_have_a_scale_for_each_output_channel(images):
    torch.manual_seed(0)
    graph = calibrated(Late(), images)
    up = graph.get_submodule("up")
    assert isinstance(up, grid.QuantConvTranspose2d) and up.weight.shape == (8, 6, 2, 2)
    integers = up.integers().detach()
    assert integers.abs().amax((0, 2, 3)).tolist() == [63.0] * 6
    torch.testing.assert_close(integers * up.along(up.weight_scale()), up.weight.detach(), atol=0.01, rtol=0)
    with qat.disabled(graph):
        torch.testing.assert_close(
            up(images.new_ones(1, 8, 3, 3)), F.conv_transpose2d(images.new_ones(1, 8, 3, 3), up.weight, up.bias, 2)
        )


def test_a_bias_without_normalisation_is_whole_steps_too(images):
    torch.manual_seed(0)
    graph = calibrated(Late(), images)
    conv = graph.get_submodule("b")
    scale, bias = (t.detach() for t in conv.folded())
    steps = bias / (graph.quantizers["x"].scale * scale)
    assert torch.equal(steps, steps.round())
    assert (bias - conv.bias.detach()).abs().max() <= 0.51 * float((graph.quantizers["x"].scale * scale).max())


class Declared(nn.Module):
    """It reads a function that its file names in ``FLOAT``: one operation between float ones, nothing rounded."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.head = nn.Conv2d(3, 8, 1), nn.GELU(), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        return Outputs(self.head(self.act(halved(self.a(x)))))


FLOAT = ("halved",)


@torch.fx.wrap
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


def test_what_a_file_declares_stays_float(images):
    assert sorted(calibrated(Declared(), images).quantizers) == ["a", "act", "x"]
