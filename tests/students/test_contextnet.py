"""ContextNet against the figures of its paper."""

import torch
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.contextnet import contextnet_cn14


def test_parameters_as_in_the_paper():
    with torch.device("meta"):
        net = contextnet_cn14(19)
    folded = sum(m.num_features * 2 for m in net.modules() if isinstance(m, nn.BatchNorm2d)) - 2 * 32
    assert parameters(net) - folded == 854_195  # the paper's 0.85 M: convolutions only
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == 37_555
    assert round(macs(net, (1024, 2048)) / 1e9, 2) == 6.75


def test_features_are_the_two_branches_and_their_fusion():
    with torch.no_grad():
        detail, deep, fused = contextnet_cn14(5).eval()(torch.randn(1, 3, 90, 122)).features
    assert (detail.shape, deep.shape, fused.shape) == ((1, 128, 12, 16), (1, 128, 3, 4), (1, 128, 12, 16))


def test_the_deep_branch_sees_a_quarter_of_the_image():
    """Averages of 5 x 5 pixels around every fourth one."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    assert contextnet_cn14(5, width=0.25).quarter(ramp)[0, 0, 1].tolist() == [1, 4, 8, 12]
