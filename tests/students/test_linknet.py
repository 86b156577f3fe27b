"""LinkNet against the figures of its paper."""

import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.linknet import linknet


def test_parameters_as_in_the_paper():
    with torch.device("meta"):
        net = linknet(19)
    assert round(parameters(net) / 1e6, 1) == 11.5
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == 128 * 19 + 19
    assert round(macs(net, (360, 640)) / 1e9, 2) == 9.73


def test_transposed_convolutions_are_few_of_the_multiply_adds():
    net, sizes = linknet(5, width=0.25).eval(), []
    for m in net.modules():
        if isinstance(m, nn.ConvTranspose2d):
            m.register_forward_hook(lambda m, x, _: sizes.append(x[0].numel() * m.weight[0].numel()))
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    assert len(sizes) == 6 and sum(sizes) < 0.1 * macs(net, (64, 64))


def test_features_are_the_encoder_s_last_map_and_the_decoder_s_sums():
    with torch.no_grad():
        out = linknet(5, width=0.25).eval()(torch.randn(1, 3, 90, 122))
    assert [tuple(f.shape[1:]) for f in out.features] == [
        (128, 3, 4), (64, 6, 8), (32, 12, 16), (16, 23, 31), (16, 23, 31)
    ]  # fmt: skip
    assert out.logits.shape == (1, 5, 90, 122)


def test_what_the_decoder_says_is_added_to_the_encoder_s_map():
    net = linknet(5, width=0.25).eval()
    for decoder in net.decoders:
        nn.init.zeros_(decoder[-1][1].weight)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        *links, coarsest = net.encoder(x)
        features = net(x).features
    assert all(torch.equal(a, b) for a, b in zip(features, [coarsest, *links[::-1]], strict=True))


def test_decoders_double_as_zeros_between_the_pixels_would():
    """Output pixel 2i is the middle tap at i, 2i + 1 the two outer taps at i and i + 1."""
    conv = linknet(5, width=0.25).decoders[0][1][0]
    x = torch.randn(1, conv.in_channels, 3, 3)
    between = torch.zeros(1, conv.in_channels, 8, 8)
    between[..., 1:7:2, 1:7:2] = x
    plain = F.conv2d(between, conv.weight.transpose(0, 1).flip(2, 3))
    torch.testing.assert_close(conv(x), plain, rtol=0, atol=1e-5)
