"""SwiftNet against the figures of its paper, and what two scales cost."""

import torch
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.swiftnet import Ladder, PyramidPooling, swiftnet_rn18, swiftnet_rn18_pyramid


def test_parameters_and_multiply_adds_as_in_the_paper():
    with torch.device("meta"):
        net = swiftnet_rn18(19)
    assert round(parameters(net) / 1e6, 1) == 11.8
    assert round(macs(net, (1024, 2048)) / 1e9, 2) == 103.56  # the paper's 104.0


def test_costs_of_two_scales():
    with torch.device("meta"):
        net = swiftnet_rn18_pyramid(19)
    assert round(parameters(net) / 1e6, 2) == 12.89
    assert round(macs(net, (1024, 2048)) / 1e9, 1) == 143.4


def test_both_scales_have_one_set_of_weights_and_two_of_normalisations():
    net = swiftnet_rn18_pyramid(5, width=0.25)
    pairs = list(zip(net.whole_scale.modules(), net.half_scale.modules(), strict=True))
    assert all(a.weight is b.weight for a, b in pairs if isinstance(a, nn.Conv2d))
    assert not any(a.weight is b.weight for a, b in pairs if isinstance(a, nn.BatchNorm2d))


def test_pooled_bins():
    pools = [p[0] for p in PyramidPooling(32, 32).pools]
    assert [tuple(p(torch.zeros(1, 1, 32, 64)).shape[-2:]) for p in pools] == [(8, 16), (4, 8), (2, 4)]


def test_features_are_the_steps_of_the_ladder():
    with torch.no_grad():
        one = swiftnet_rn18(5, width=0.25).eval()(torch.randn(1, 3, 90, 122)).features
        two = swiftnet_rn18_pyramid(5, width=0.25).eval()(torch.randn(1, 3, 90, 122)).features
    sizes = [(3, 4), (6, 8), (12, 16), (23, 31)]
    assert [tuple(f.shape[-2:]) for f in one] == sizes
    assert [tuple(f.shape[-2:]) for f in two] == sizes


def test_a_step_rectifies_the_sum_of_what_is_below_and_beside():
    ladder = Ladder(8, 1).eval()
    seen = []
    ladder.blend[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ladder(torch.full((1, 8, 1, 1), -1.0), [[torch.full((1, 8, 2, 2), 0.5), torch.full((1, 8, 2, 2), 2.0)]])
    assert torch.equal(seen[0], torch.full((1, 8, 2, 2), 1.5))
    ladder(torch.full((1, 8, 1, 1), -1.0), [[torch.full((1, 8, 2, 2), 0.5)]])
    assert not seen[1].any()
