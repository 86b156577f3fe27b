"""Fast-SCNN against the figures of its paper."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import InvertedResidual, PyramidPooling
from edgeseg.networks import macs, parameters
from edgeseg.students.fast_scnn import fast_scnn


def test_parameters_as_in_the_paper():
    net = fast_scnn(19)
    assert round(parameters(net) / 1e6, 2) == 1.14
    folded = sum(m.num_features * 2 for m in net.modules() if isinstance(m, nn.BatchNorm2d)) - 4 * 32
    assert parameters(net) - folded == 1_114_115  # the paper's 1.11 M: convolutions only
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == 56_678


def test_multiply_adds():
    assert round(macs(fast_scnn(19), (1024, 2048)) / 1e9, 2) == 6.71


def test_features_are_the_two_paths_and_their_fusion():
    with torch.no_grad():
        detail, deep, fused = fast_scnn(5).eval()(torch.randn(1, 3, 64, 96)).features
    assert (detail.shape, deep.shape, fused.shape) == ((1, 64, 8, 12), (1, 128, 2, 3), (1, 128, 8, 12))


def test_separable_convolutions_rectify_only_at_their_end():
    shared = fast_scnn(5).shared
    assert [[type(m) for m in part.modules()].count(nn.ReLU) for part in shared] == [1, 1, 1]
    assert not any(isinstance(m, nn.ReLU) for separable in shared[1:] for m in separable[0])


@pytest.mark.parametrize(("outputs", "stride", "kept"), [(8, 1, True), (16, 1, False), (8, 2, False)])
def test_bottlenecks_keep_their_input_where_the_shape_allows(outputs, stride, kept):
    block = InvertedResidual(8, outputs, stride).eval()
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(x), x) == kept


def test_fusion_smooths_as_wide_as_the_resize():
    """A quarter of the resolution, resized: neighbours that tell anything new are four pixels away."""
    smooth = fast_scnn(5).fuse.smooth[0]
    assert (smooth.dilation, smooth.groups) == ((4, 4), smooth.out_channels)


@pytest.mark.parametrize(("size_hw", "bins"), [((32, 64), [(8, 16), (4, 8), (2, 4), (1, 1)]), ((1, 1), [(1, 1)] * 4)])
def test_pyramid_bins(size_hw, bins):
    pools = [p[0] for p in PyramidPooling(32, 32).pools]
    assert [tuple(p(torch.zeros(1, 1, *size_hw)).shape[-2:]) for p in pools] == bins


def test_windows_cover_the_same_extent_at_every_size():
    """The first windows of a crop average the same pixels as those of the whole frame."""
    whole = torch.randn(1, 1, 32, 64)
    for pool in [p[0] for p in PyramidPooling(32, 32).pools][:3]:
        torch.testing.assert_close(pool(whole[..., :24, :48])[..., 0, 0], pool(whole)[..., 0, 0])
