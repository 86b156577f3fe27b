"""DDRNet-23-slim against the figures of its paper."""

import torch

from edgeseg.blocks import resize_as
from edgeseg.networks import macs, parameters
from edgeseg.students.ddrnet import DAPPM, ddrnet_23_slim

AUTHORS = 5_695_987  # parameters of the authors' network, without its auxiliary head


def test_parameters_as_in_the_paper():
    net = ddrnet_23_slim(19)
    assert round(parameters(net) / 1e6, 1) == 5.7
    # BN-ReLU-conv normalises what goes in, conv-BN-ReLU what comes out; two parameters a channel.
    pooling = 2 * (5 * 512 + 640 + 512) - 2 * (5 * 128 + 128 + 128)
    assert AUTHORS - parameters(net) == pooling + 2 * 128 + 2 * 32  # ... the head, and the stem's two biases
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == 38_227


def test_multiply_adds_as_in_the_paper():
    assert round(macs(ddrnet_23_slim(19), (1024, 2048)) / 1e9, 1) == 36.3


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
