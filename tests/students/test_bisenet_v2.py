"""BiSeNetV2 against the figures of its paper and of the implementation in common use."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import resize_as
from edgeseg.networks import macs, parameters
from edgeseg.students.bisenet_v2 import ContextEmbedding, GatherAndExpand, GuidedAggregation, Stem, bisenet_v2


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return bisenet_v2(19)


def test_parameters_as_in_common_use(published):
    # One normalisation of 128 channels less, in front of a convolution, and two more, behind one.
    assert parameters(published) == 3_358_627 - 2 * 128 + 2 * 2 * 128
    assert sum(p.numel() for p in published.parameters()) - parameters(published) == 287_308


def test_multiply_adds(published):
    total = macs(published, (512, 1024))
    pixels, hidden = 64 * 128, 128 * 9 + 19  # what each hidden channel of the head costs a pixel
    assert round(total / 1e9, 2) == 24.60
    without_head = total - 1024 * pixels * hidden
    assert round(without_head / 1e9, 2) == 14.78
    assert without_head + 512 * pixels * hidden < 21.15e9 < total  # the paper's, its head unknown


def test_features_are_the_two_branches_and_their_aggregate():
    net = bisenet_v2(5, width=0.25).train()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in out.features] == [(32, 8, 12), (32, 2, 3), (32, 8, 12)]
    assert [tuple(a.shape[1:]) for a in out.auxiliary] == [(5, 16, 24), (5, 8, 12), (5, 4, 6), (5, 2, 3)]


def test_gates_open_and_close_the_other_branch():
    """With a gate shut, only the other product is left; open by half, half of both."""
    torch.manual_seed(0)
    block = GuidedAggregation(8).eval()
    detail, semantics = torch.rand(1, 8, 16, 24), torch.rand(1, 8, 4, 6)
    heard = []
    block.mix = nn.Module()
    block.mix.forward = lambda x: heard.append(x) or x
    for gate, coarse, want in (
        (-1e4, 0.0, lambda f, c: resize_as(c, f, 4) / 2),
        (0.0, -1e4, lambda f, c: f / 2),
        (1e4, 1e4, lambda f, c: f + resize_as(c, f, 4)),
    ):
        for conv, bias in ((block.gate[0], gate), (block.coarse_gate[1], coarse)):
            nn.init.zeros_(conv[1].weight)
            nn.init.constant_(conv[1].bias, bias)
        with torch.no_grad():
            torch.testing.assert_close(
                block(detail, semantics), want(block.detail(detail), block.coarse_detail(detail))
            )


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (16, 2)])
def test_gather_and_expand(outputs, stride):
    block = GatherAndExpand(8, outputs, stride)
    assert block(torch.randn(2, 8, 9, 13)).shape == (2, outputs, -(-9 // stride), -(-13 // stride))
    assert block.body[-1][0].in_channels == 48
    assert (block.shortcut is None) == (stride == 1)


def test_every_pixel_sees_the_global_average():
    torch.manual_seed(0)
    block = ContextEmbedding(8).eval()
    x = torch.rand(1, 8, 9, 9)
    far = x.clone()
    far[..., -1, -1] += 100
    assert not torch.equal(block(x)[..., 0, 0], block(far)[..., 0, 0])


def test_the_stem_pools_and_convolves():
    assert Stem(16)(torch.randn(2, 3, 30, 41)).shape == (2, 16, 8, 11)
