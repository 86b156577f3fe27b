"""DABNet against the figures of its paper."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import Down
from edgeseg.networks import macs, parameters
from edgeseg.students.dabnet import DAB, dabnet


def test_parameters_as_in_the_paper():
    assert parameters(dabnet(19)) == 756_643  # the paper's 0.76 M


def test_multiply_adds():
    assert round(macs(dabnet(19), (512, 1024)) / 1e9, 2) == 10.22


def test_features_carry_the_image_beside_each_stage():
    net = dabnet(5, width=0.25).eval()
    with torch.no_grad():
        features = net(torch.randn(1, 3, 64, 96)).features
    assert [tuple(f.shape) for f in features] == [(1, 11, 32, 48), (1, 35, 16, 24), (1, 67, 8, 12)]


def test_dilations_as_published():
    net = dabnet(5, width=0.25)
    assert [b.far[0].dilation for b in (*net.block2, *net.block3)] == [(d, d) for d in (2, 2, 2, 4, 4, 8, 8, 16, 16)]


@pytest.mark.parametrize("size_hw", [(16, 16), (15, 17)])
def test_the_pooled_map_fits_beside_the_strided_one(size_hw):
    assert Down(8, 24)(torch.randn(2, 8, *size_hw)).shape == (2, 24, 8, (size_hw[1] + 1) // 2)
    assert not Down(35, 32).grows  # as at H/8, where 128 channels come from 131


@pytest.mark.parametrize(("dilation", "reach"), [(1, 2), (4, 5)])
def test_branches_reach_as_far_as_their_dilation(dilation, reach):
    block = DAB(8, dilation).eval()
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.ones_(conv.weight)
    x = torch.zeros(1, 8, 33, 33)
    x[..., 16, 16] = 1
    rows, columns = (block(x)[0, 0] != 0).nonzero().T - 16
    assert rows.abs().max() == columns.abs().max() == reach  # one more than the dilation: the 3x3 before it


def test_a_silent_bottleneck_keeps_its_input():
    block = DAB(8, 2).eval()
    nn.init.zeros_(block.expand[-1].weight)
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(x), x)
