"""U-Net: what each option changes."""

import pytest
import torch

from edgeseg.blocks import Residual
from edgeseg.errors import NetworkError
from edgeseg.networks import macs, parameters
from edgeseg.teachers.unet import Gate, unet


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("attention", [False, True])
def test_logits_at_the_stride_of_the_stem(stem_stride, attention):
    net = unet(5, width=4, stem_stride=stem_stride, attention=attention).eval()
    with torch.no_grad():
        out = net(torch.randn(1, 3, 50, 70))
    h, w = -(-50 // stem_stride), -(-70 // stem_stride)
    assert out.logits.shape == (1, 5, h, w)
    assert [f.shape[1] for f in out.features] == [4, 8, 16, 32, 64, 4]
    assert out.features[-1].shape[-2:] == (h, w)


@pytest.mark.parametrize(("blocks", "depth"), [(2, 1), (5, 1), (3, 2), (2, 4)])
def test_depth_multiplies_the_blocks_of_each_encoder_stage(blocks, depth):
    net = unet(5, width=4, blocks=blocks, depth=depth)
    assert [sum(isinstance(m, Residual) for m in stage) for stage in net.down] == [blocks * depth] * 5


def test_costs_as_documented():
    assert round(parameters(unet(19)) / 1e6, 1) == 13.9
    assert [round(macs(unet(19, stem_stride=s), (1024, 2048)) / 1e9, 1) for s in (1, 4)] == [608.7, 39.6]


def test_first_convolution_by_hand():
    """Stem, 3 to 4 channels, and its normalisation; the other options must not touch it."""
    assert parameters(unet(5, width=4).stem) == 4 * 27 + 2 * 4
    assert parameters(unet(5, width=4, stem_stride=4).stem) == 4 * 27 + 4 * 36 + 4 * 4


def test_each_stride_of_the_stem_saves_three_quarters():
    costs = [macs(unet(5, width=8, stem_stride=s), (256, 256)) for s in (1, 2, 4)]
    assert costs[0] / costs[1] == pytest.approx(4, rel=0.15)
    assert costs[1] / costs[2] == pytest.approx(4, rel=0.15)


def test_gate_lets_through_between_nothing_and_everything():
    gate = Gate(4, 8).eval()
    skip, coarse = torch.rand(1, 4, 9, 11), torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        for bias, share in ((-50.0, 0.0), (0.0, 0.5), (50.0, 1.0)):
            gate.coefficient.weight.zero_()
            gate.coefficient.bias.fill_(bias)
            torch.testing.assert_close(gate(skip, coarse), skip * share)


def test_attention_gates_are_used():
    net = unet(5, width=4, attention=True, stem_stride=4)
    net(torch.randn(2, 3, 64, 64)).logits.square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "wrong",
    [{"blocks": 1}, {"blocks": 6}, {"depth": 0}, {"depth": 5}, {"stem_stride": 3}, {"width": 0.5}, {"width": 0}],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(NetworkError, match=f"unet: {next(iter(wrong))} .*got"):
        unet(5, **wrong)
