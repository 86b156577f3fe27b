"""The trunk against what is published of ResNet."""

import pytest
import torch

from edgeseg.errors import NetworkError
from edgeseg.networks import macs, parameters
from edgeseg.resnet import ResNet

CLASSIFIER = 2048 * 1000  # multiply-adds of the layer that is left out


@pytest.mark.parametrize(("depth", "counted", "billions"), [(50, 23_508_032, 4.09), (101, 42_500_160, 7.80)])
def test_costs_as_published(depth, counted, billions):
    """25.6 M and 44.5 M with the classifier's 2,049,000; 4.1 and 7.8 G multiply-adds at 224 x 224."""
    with torch.device("meta"):
        net = ResNet(depth, 1.0, 32)
    assert parameters(net) == counted
    assert round((macs(net, (224, 224)) + CLASSIFIER) / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("stride", "strides", "dilations"),
    [(32, (4, 8, 16, 32), (1, 1, 1, 1)), (16, (4, 8, 16, 16), (1, 1, 1, 2)), (8, (4, 8, 8, 8), (1, 1, 2, 4))],
)
def test_strides_become_dilations(stride, strides, dilations):
    net = ResNet(50, 0.125, stride).eval()
    with torch.no_grad():
        maps = net(torch.zeros(1, 3, 128, 96))
    assert [m.shape[1:] for m in maps] == [(c, 128 // s, 96 // s) for c, s in zip(net.channels, strides, strict=True)]
    assert tuple(stage[-1].body[1][0].dilation[0] for stage in net.stages) == dilations
    assert [stage[0].body[1][0].dilation[0] for stage in net.stages] == [1, 1, *dilations[1:3]]


def test_another_depth_is_refused():
    with pytest.raises(NetworkError, match="50 or 101, got 34"):
        ResNet(34, 1.0, 32)
