"""Channel shuffle and the unit around it: where each channel goes, and how quantization follows it."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import ShuffleUnit, conv_bn, shuffle
from edgeseg.compress import qat
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs


def test_a_shuffle_deals_the_channels_of_each_group_out():
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 5)
    assert shuffle(x, 2)[0, :, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(shuffle(shuffle(x, 2), 3), x)  # two groups of three, then three of two: back again
    assert torch.equal(shuffle(x, 2), nn.ChannelShuffle(2)(x))


@pytest.mark.parametrize(("inputs", "outputs", "stride", "size"), [(24, 24, 1, (9, 6)), (24, 48, 2, (5, 3))])
def test_units_keep_their_size_or_halve_it(inputs, outputs, stride, size):
    x = torch.rand(2, inputs, 9, 6)
    unit = ShuffleUnit(inputs, outputs, 4, stride).eval()
    out = unit(x)
    assert out.shape == (2, outputs, *size) and out.min() >= 0
    if stride == 2:
        torch.testing.assert_close(out[:, :inputs], unit.pool(x))


def test_every_channel_hears_of_every_group():
    """Without the shuffle a quarter of the inputs is all that one sees."""
    unit = ShuffleUnit(64, 64, 4).eval()
    x = torch.rand(1, 64, 1, 1, requires_grad=True)
    unit.expand[0].weight.data.abs_()
    unit.reduce[0].weight.data.abs_()
    unit.depthwise[0].weight.data.abs_()
    (grad,) = torch.autograd.grad(unit.expand(unit.depthwise(shuffle(unit.reduce(x), 4)))[0, 0].sum(), x)
    assert grad.flatten().count_nonzero() == 64


@pytest.mark.parametrize("wrong", [(24, 32, 4, 1), (24, 24, 4, 2), (24, 24, 5, 1), (22, 44, 4, 2)])
def test_channels_that_cannot_be_grouped_are_refused(wrong):
    with pytest.raises(NetworkError, match=r"a shuffle unit of . groups cannot make"):
        ShuffleUnit(*wrong)


class Shuffled(nn.Module):
    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.a, self.unit = conv_bn(3, 16, 3, 2), ShuffleUnit(16, 16, 2)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        return Outputs(self.head(self.unit(self.a(x))))


def test_what_is_rounded_stays_so_through_a_shuffle():
    torch.manual_seed(0)
    graph = qat.prepare(Shuffled())
    (moved,) = [n for n in graph.graph.nodes if n.target is shuffle]
    # No quantizer of its own; the convolution behind it adds its bias in steps of what it reads.
    assert sorted(graph.quantizers) == ["a_2", "unit_depthwise_1", "unit_expand_1", "unit_reduce_2", "unit_relu", "x"]
    assert str(moved.args[0].target) == "quantizers.unit_reduce_2"
    assert graph.get_submodule("unit.depthwise.1").neighbours[1] is graph.quantizers["unit_reduce_2"]
