"""PIDNets against the figures of their paper and of the authors' networks."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import resize_as
from edgeseg.networks import macs, parameters
from edgeseg.students.pidnet import PAPPM, Bag, LightBag, PixelAttention, pidnet_l, pidnet_m, pidnet_s

# The network, parameters and G multiply-adds of the authors' without their heads of training, the channels of a block
# and of the pyramid's levels, and parameters of our auxiliary head.
FIGURES = [
    (pidnet_s, 7_625_715, 47.20, 32, 96, 76_435),
    (pidnet_m, 28_538_515, 177.33, 64, 96, 150_163),
    (pidnet_l, 36_939_571, 274.94, 64, 112, 300_307),
]


@pytest.mark.parametrize(("make", "authors", "giga", "planes", "pooled", "auxiliary"), FIGURES)
def test_parameters_and_multiply_adds_as_in_the_authors_networks(make, authors, giga, planes, pooled, auxiliary):
    with torch.device("meta"):
        net = make(19)
    # BN-ReLU-conv normalises what goes in, conv-BN-ReLU what comes out; two parameters a channel.
    pooling = 2 * 6 * 16 * planes - 2 * 2 * 4 * planes  # a level's refinement and the compression are as wide in as out
    of_head, of_stem, of_similarity = 2 * 4 * planes, 2 * planes, 2 * (planes + 1)
    assert parameters(net) == authors - pooling - of_head - of_stem + of_similarity
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == auxiliary
    assert round(macs(net, (1024, 2048)) / 1e9, 2) == giga


@pytest.mark.parametrize("make", [pidnet_s, pidnet_l])
def test_features_are_the_three_branches_and_their_fusion(make):
    net = make(5, width=0.25).train()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 90, 122))
    p = net.head[0][0].in_channels
    assert [tuple(f.shape[1:]) for f in out.features] == [(p, 12, 16), (p, 2, 2), (p, 12, 16), (p, 12, 16)]
    assert [tuple(a.shape[1:]) for a in out.auxiliary] == [(5, 12, 16)]


def test_attention_is_of_the_sum_over_channels():
    """As published: the sigmoid of the scalar product of two embeddings, by which context replaces detail."""
    torch.manual_seed(0)
    block = pidnet_s(5, width=0.25).attend4.eval()
    detail, context = torch.rand(1, 16, 6, 10), torch.rand(1, 16, 3, 5)
    with torch.no_grad():
        product = block.of_detail(detail) * resize_as(block.of_context(context), detail, 2)
        gate = product.sum(1, keepdim=True).sigmoid()
        want = (1 - gate) * detail + gate * resize_as(context, detail, 2)
        torch.testing.assert_close(block(detail, context), want.relu())


@pytest.mark.parametrize(("logit", "open_"), [(-1e4, 0.0), (0.0, 0.5), (1e4, 1.0)])
def test_edges_choose_detail(logit, open_):
    torch.manual_seed(0)
    light, bag = LightBag(8).eval(), Bag(8).eval()
    p, i = torch.rand(1, 8, 4, 5), torch.rand(1, 8, 4, 5)
    d = torch.full_like(p, logit)
    with torch.no_grad():
        want = light.of_detail((1 - open_) * i + p) + light.of_context(i + open_ * p)
        torch.testing.assert_close(light(p, i, d), want.relu())
        torch.testing.assert_close(bag(p, i, d), bag.mix(open_ * p + (1 - open_) * i))


def test_levels_of_the_pyramid_are_refined_side_by_side():
    """A level that is silenced changes its own quarter of what is refined, and no other."""
    torch.manual_seed(0)
    pyramid = PAPPM(8, 8, 8).eval()
    x, refined = torch.randn(1, 8, 8, 16), []
    pyramid.refine.register_forward_hook(lambda _, __, out: refined.append(out))
    with torch.no_grad():
        pyramid(x)
        nn.init.zeros_(pyramid.pools[2][1][1].weight)
        pyramid(x)
    changed = [not torch.equal(a, b) for a, b in zip(*(r.split(8, 1) for r in refined), strict=True)]
    assert changed == [False, False, True, False]


def test_attention_enlarges_by_its_factor():
    assert PixelAttention(8, 8, 4)(torch.rand(2, 8, 9, 13), torch.rand(2, 8, 3, 4)).shape == (2, 8, 9, 13)
