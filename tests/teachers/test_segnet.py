"""SegNet: the counts of its paper, and maxima that return to their places."""

import pytest
import torch
import torch.nn.functional as F

from edgeseg.networks import macs, parameters
from edgeseg.teachers.segnet import segnet, unpool


def test_parameters_as_in_the_paper():
    """29.45 M in all and 14.7 M in the encoder, with the biases in front of normalisations that are not here."""
    with torch.device("meta"):
        camvid, cityscapes = segnet(11), segnet(19)
    biases = sum(m.num_features for m in camvid.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert (parameters(camvid), biases) == (29_441_419, 7_936)
    assert round((29_441_419 + biases) / 1e6, 2) == 29.45
    assert parameters(camvid.encoder) == 14_718_912
    assert parameters(cityscapes) == 29_446_035
    assert round(macs(cityscapes, (1024, 2048)) / 1e9, 1) == 1302.2


def test_the_encoder_is_vgg_16_and_the_decoder_its_mirror():
    with torch.device("meta"):
        net = segnet(5)
    shapes = [
        [m.weight.shape[:2] for m in half.modules() if isinstance(m, torch.nn.Conv2d)]
        for half in (net.encoder, net.decoder)
    ]
    assert [len(s) for s in shapes] == [13, 12]  # the classifier is the thirteenth
    assert [(o, i) for o, i in reversed(shapes[1])] == [(i, o) for o, i in shapes[0][1:]]


def test_a_maximum_returns_to_where_it_stood():
    x = torch.tensor([[1.0, 2, 9], [4, 3, 8], [5, 6, 7]])[None, None]
    pooled, indices = segnet(5, width=0.125).pool(x)
    assert pooled[0, 0].tolist() == [[4, 9], [6, 7]]  # rounded up: the last row and column count
    assert unpool(pooled, indices, (3, 3))[0, 0].tolist() == [[0, 0, 9], [4, 0, 0], [0, 6, 7]]


def test_unpooling_is_torchs():
    x = torch.randn(2, 4, 9, 12)
    pooled, indices = segnet(5, width=0.125).pool(x)
    assert torch.equal(unpool(pooled, indices, (9, 12)), F.max_unpool2d(pooled, indices, 2, 2, output_size=(9, 12)))


@pytest.mark.parametrize("size_hw", [(32, 32), (45, 61)])
def test_maps_have_the_sizes_of_their_counterparts(size_hw):
    net = segnet(5, width=0.125).eval()
    with torch.no_grad():
        out = net(torch.randn(1, 3, *size_hw))
    want = [(8, 2), (16, 4), (32, 8), (64, 16), (64, 32)]
    assert [tuple(f.shape[1:]) for f in out.features] == [
        *((c, -(-size_hw[0] // s), -(-size_hw[1] // s)) for c, s in want),
        (8, *size_hw),
    ]
    assert out.logits.shape == (1, 5, *size_hw)
