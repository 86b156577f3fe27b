"""The weights that networks start with, and that the catalogue of blocks is whole."""

import re

import pytest
import torch
from torch import nn

from edgeseg import blocks
from edgeseg.blocks import conv_bn, initialise


@pytest.mark.parametrize(("groups", "variance"), [(1, 2 / (9 * 64)), (64, 2 / 9)])
def test_weights_start_with_the_variance_of_their_fan_out(groups, variance):
    torch.manual_seed(0)
    layer = conv_bn(64, 64, groups=groups)
    initialise(layer)
    assert layer[0].weight.var().item() == pytest.approx(variance, rel=0.15)


def test_classifiers_start_with_the_variance_of_their_input():
    torch.manual_seed(0)
    layer = nn.Conv2d(256, 32, 1)
    initialise(layer)
    assert layer.weight.var().item() == pytest.approx(1 / 256, rel=0.1)
    assert not layer.bias.any()


def test_the_catalogue_names_every_block():
    listed = set(re.findall(r"``(?:nn\.)?(\w+)", blocks.__doc__))
    assert set(blocks.__all__) - {"normalised"} <= listed
    assert listed - {"MaxPool2d"} <= set(blocks.__all__)
