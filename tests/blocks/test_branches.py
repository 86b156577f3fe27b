"""Convolutions beside each other, and the one that they fold into."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import RepConv, conv_bn, reparameterised


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (8, 2), (16, 1)])
def test_branches_fold_into_one_convolution(outputs, stride):
    torch.manual_seed(0)
    block = RepConv(8, outputs, stride)
    for bn in (block.dense[1], block.bn):
        nn.init.uniform_(bn.weight, -1, 1)
        nn.init.uniform_(bn.bias, -1, 1)
    for _ in range(3):
        block.train()(torch.randn(4, 8, 9, 11))
    one, x = block.eval().folded(), torch.randn(1, 8, 9, 11)
    assert [type(m) for m in one] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] and one[0].bias is None
    torch.testing.assert_close(one(x), block(x), rtol=1e-4, atol=1e-5)


def test_the_branch_of_the_input_is_the_input():
    """With both convolutions zero and a normalisation that does nothing, what comes out is what went in, rectified."""
    block = RepConv(8, 8).eval()
    nn.init.zeros_(block.dense[0].weight)
    nn.init.zeros_(block.point.weight)
    block.bn.eps = 0.0
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x.relu()) and torch.equal(block.folded()(x), x.relu())


def test_a_network_without_branches_is_not_copied():
    plain, branches = conv_bn(8, 8), nn.Sequential(RepConv(8, 8), conv_bn(8, 8))
    assert reparameterised(plain) is plain
    folded = reparameterised(branches)
    assert isinstance(branches[0], RepConv) and not isinstance(folded[0], RepConv)
    assert sum(p.numel() for p in folded.parameters()) == 2 * (9 * 64 + 16)
