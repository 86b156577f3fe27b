"""PP-LiteSeg against the layers of the authors' configurations."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import resize_as
from edgeseg.networks import macs, parameters
from edgeseg.students.pp_liteseg import AttentionFusion, SimplePyramid, pp_liteseg_b, pp_liteseg_t


@pytest.fixture(scope="module", params=[pp_liteseg_t, pp_liteseg_b])
def published(request):
    with torch.device("meta"):
        return request.param, request.param(19)


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + 2 * outputs  # with its normalisation


def test_parameters_as_in_the_authors_configurations(published):
    make, net = published
    a8, a16, a32 = {pp_liteseg_t: (32, 64, 128), pp_liteseg_b: (64, 96, 128)}[make]
    hidden = {pp_liteseg_t: 32, pp_liteseg_b: 64}[make]
    pyramid = 3 * conv(1024, 128, 1) + conv(128, 128)
    fusions = sum(
        conv(fine, coarse) + conv(coarse, out)
        for fine, coarse, out in ((1024, 128, a32), (512, a32, a16), (256, a16, a8))
    )
    stages = sum(p.numel() for p in net.stages.parameters())
    total = stages + pyramid + fusions + conv(a8, hidden) + 19 * hidden
    theirs, ours = 3 * (conv(4, 2) + conv(2, 1)), 3 * (conv(4, 8) + 8 * 9 + 1)  # the weights' convolutions
    assert parameters(net) == total + ours + 19
    assert total + theirs + 4 * 128 == {pp_liteseg_t: 8_028_320, pp_liteseg_b: 12_234_752}[make]


def test_auxiliary_heads_and_multiply_adds(published):
    make, net = published
    assert (
        sum(p.numel() for p in net.parameters()) - parameters(net)
        == {
            pp_liteseg_t: 113_318,
            pp_liteseg_b: 131_750,
        }[make]
    )
    cost = [round(macs(net, size) / 1e9, 2) for size in ((512, 1024), (768, 1536))]
    assert cost == {pp_liteseg_t: [11.42, 25.70], pp_liteseg_b: [19.23, 43.27]}[make]


def test_features_are_the_encoders_and_the_decoders_last():
    net = pp_liteseg_b(5, width=0.25).train()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 90, 122))
    assert [tuple(f.shape[1:]) for f in out.features] == [(64, 12, 16), (128, 6, 8), (256, 3, 4), (16, 12, 16)]
    assert [tuple(a.shape[1:]) for a in out.auxiliary] == [(5, 6, 8), (5, 3, 4)]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_fusion_weighs_two_maps_that_make_up_one(share):
    torch.manual_seed(0)
    block = AttentionFusion(8, 16, 8).eval()
    nn.init.zeros_(block.weight[1].weight)
    nn.init.constant_(block.weight[1].bias, float(torch.logit(torch.tensor(share)).clamp(-1e4, 1e4)))
    seen = []
    block.mix.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    block.weight[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    fine, coarse = torch.rand(1, 8, 5, 8), torch.rand(1, 16, 3, 4)
    with torch.no_grad():
        block(fine, coarse)
        a, b = block.of_fine(fine), resize_as(coarse, fine, 2)
    reduced, mixed = seen
    torch.testing.assert_close(mixed, share * a + (1 - share) * b)
    assert torch.equal(reduced, torch.stack([a.mean(1), a.amax(1), b.mean(1), b.amax(1)], 1))


def test_pyramid_bins():
    pools = [p[0] for p in SimplePyramid(8, 8).pools]
    assert [tuple(p(torch.zeros(1, 8, 32, 64)).shape[-2:]) for p in pools] == [(1, 1), (2, 4), (4, 8)]
