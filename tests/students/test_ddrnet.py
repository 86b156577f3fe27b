"""DDRNets against the figures of their paper."""

import pytest
import torch

from edgeseg.blocks import resize_as
from edgeseg.networks import macs, parameters
from edgeseg.students.ddrnet import DAPPM, ddrnet_23, ddrnet_23_slim, ddrnet_39

# The network, its parameters and multiply-adds in the paper, parameters of the authors' network without its auxiliary
# head, channels that its pyramid pooling sees, and parameters of our auxiliary head.
FIGURES = [
    (ddrnet_23_slim, 5.7, 36.3, 5_695_987, 512, 38_227),
    (ddrnet_23, 20.1, 143.1, 20_148_947, 1024, 150_163),
    (ddrnet_39, 32.3, 281.1, 32_360_275, 1024, 300_307),  # 281.2 in the paper
]


@pytest.mark.parametrize(("make", "in_paper", "_", "authors", "pooled", "auxiliary"), FIGURES)
def test_parameters_as_in_the_paper(make, in_paper, _, authors, pooled, auxiliary):
    with torch.device("meta"):
        net = make(19)
    assert round(parameters(net) / 1e6, 1) == in_paper
    # BN-ReLU-conv normalises what goes in, conv-BN-ReLU what comes out; two parameters a channel.
    planes, fused = pooled // 16, pooled // 4
    pooling = 2 * (5 * pooled + 640 + pooled) - 2 * (5 * 128 + 2 * fused)
    assert authors - parameters(net) == pooling + 2 * fused + 2 * planes  # ... the head, and the stem's two biases
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == auxiliary


@pytest.mark.parametrize(("make", "in_paper"), [(make, giga) for make, _, giga, *_ in FIGURES])
def test_multiply_adds_as_in_the_paper(make, in_paper):
    with torch.device("meta"):
        net = make(19)
    assert round(macs(net, (1024, 2048)) / 1e9, 1) == in_paper


def test_features_are_the_two_branches_and_their_fusion():
    with torch.no_grad():
        detail, context, fused = ddrnet_23_slim(5, width=0.25).eval()(torch.randn(1, 3, 128, 192)).features
    assert detail.shape == fused.shape == (1, 32, 16, 24)
    assert context.shape == (1, 32, 2, 3)
    torch.testing.assert_close(fused, (detail + resize_as(context, detail)).relu())


def test_pyramid_pools_over_growing_windows():
    pools = [p[0] for p in DAPPM(8, 8, 8).pools]
    assert [tuple(p(torch.zeros(1, 8, 8, 16)).shape[-2:]) for p in pools] == [(4, 8), (2, 4), (1, 2), (1, 1)]


def test_each_level_of_the_pyramid_refines_the_one_before():
    """With all pools silenced, only the unpooled map can reach the last level."""
    pyramid = DAPPM(8, 8, 8)
    for pool in pyramid.pools:
        torch.nn.init.zeros_(pool[1][1].weight)
    pyramid(torch.randn(2, 8, 8, 16)).square().sum().backward()
    assert pyramid.refine[-1][0].weight.grad.abs().sum() > 0


def test_pyramid_sees_the_whole_map():
    torch.manual_seed(0)
    pyramid = DAPPM(8, 8, 8).eval()
    x = torch.randn(1, 8, 24, 40)
    far = x.clone()
    far[..., -1, -1] += 100
    assert not torch.equal(pyramid(x)[..., 0, 0], pyramid(far)[..., 0, 0])


@pytest.mark.parametrize(("make", "fusions"), [(ddrnet_23, 2), (ddrnet_39, 3)])
def test_branches_exchange_after_each_part_of_conv4_and_after_conv5(make, fusions):
    net = make(5, width=0.25).eval()
    heard = []
    for up in (*net.up4, net.up5):
        up.register_forward_hook(lambda _, __, out: heard.append(tuple(out.shape[-2:])))
    with torch.no_grad():
        net(torch.randn(1, 3, 64, 128))
    assert heard == [(4, 8)] * (fusions - 1) + [(2, 4)]
