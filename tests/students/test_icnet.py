"""ICNet against the network that its authors published."""

import torch
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.icnet import CascadeFusion, PyramidPooling, icnet

AUTHORS = 6_671_424 + 28_544 + 19  # weights, normalisations and biases of icnet_cityscapes_bnnomerge.prototxt


def test_parameters_and_multiply_adds():
    with torch.device("meta"):
        net = icnet(19)
    assert parameters(net) == AUTHORS
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == (256 + 128) * 19 + 2 * 19
    assert round(macs(net, (1024, 2048)) / 1e9, 2) == 29.03


def test_features_are_the_three_resolutions():
    with torch.no_grad():
        low, middle, high = icnet(5, width=0.25).eval()(torch.randn(1, 3, 90, 122)).features
    assert (low.shape, middle.shape, high.shape) == ((1, 64, 3, 4), (1, 32, 6, 8), (1, 32, 12, 16))


def test_cascade_label_guidance_reads_the_enlarged_maps():
    out = icnet(5, width=0.25).train()(torch.randn(2, 3, 64, 96))
    assert [tuple(a.shape[-2:]) for a in out.auxiliary] == [(4, 6), (8, 12)]


def test_lower_resolutions_take_every_second_pixel():
    x = torch.arange(5.0).expand(1, 1, 5, 5)
    assert icnet(5, width=0.25).thin(x)[0, 0].tolist() == [[0, 2, 4]] * 3


def test_pyramid_adds_averages():
    """Of a flat map each of the four is the map."""
    assert torch.equal(PyramidPooling()(torch.ones(1, 1, 9, 13)), torch.full((1, 1, 9, 13), 5.0))


def test_fusion_smooths_what_it_enlarges():
    fusion = CascadeFusion(8, 16, 8).eval()
    assert fusion.of_coarse[0].dilation == (2, 2)
    for p in fusion.parameters():
        nn.init.zeros_(p)
    fused, enlarged = fusion(torch.ones(1, 8, 3, 4), torch.randn(1, 16, 5, 7))
    assert not fused.any() and torch.equal(enlarged, torch.ones(1, 8, 5, 7))
