"""Segmenter: the counts of its authors' networks, positions for any frame, and patches against classes."""

import pytest
import torch

from edgeseg import networks
from edgeseg.networks import macs, parameters
from edgeseg.teachers.segmenter import attention, segmenter_tiny, whole_patches


@pytest.mark.parametrize(
    ("name", "ade", "cityscapes", "billions"),
    [
        ("segmenter-tiny", 6_713_388, 6_687_974, 12.3),
        ("segmenter-small", 26_033_964, 25_983_398, 37.4),
        ("segmenter-base", 102_497_580, 102_396_710, 126.4),
    ],
)
def test_costs_as_documented(name, ade, cityscapes, billions):
    with torch.device("meta"):
        assert parameters(networks.build(name, 150)) == ade
        net = networks.build(name, 19)
    assert parameters(net) == cityscapes
    assert round(macs(net, (512, 512)) / 1e9, 1) == billions


def test_the_tiny_encoder_has_the_parameters_of_deit_tiny():
    """5,717,416 with 196 positions and a classifier of 1000; here 1024 positions and no classifier."""
    with torch.device("meta"):
        net = segmenter_tiny(19)
        encoder = sum(map(parameters, (net.embed, net.encoder)))
    assert encoder + 2 * 192 + 196 * 192 + 193_000 == 5_717_416


def test_attention_by_hand():
    g = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 5, 3 * 8, generator=g)
    q, k, v = (x.unflatten(2, (2, 4)).transpose(1, 2) for x in qkv.chunk(3, 2))
    want = (q @ k.mT / 4**0.5).softmax(-1) @ v
    torch.testing.assert_close(attention(qkv, 2), want.transpose(1, 2).flatten(2))


def test_a_frame_is_padded_to_whole_patches():
    x = torch.ones(1, 3, 33, 48)
    padded = whole_patches(x)
    assert padded.shape == (1, 3, 48, 48)
    assert torch.equal(padded[..., :33, :], x) and not padded[..., 33:, :].any()


def test_patches_know_their_positions():
    """Without embeddings of positions patches could change places."""
    net = segmenter_tiny(3, width=0.125).eval()
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        net.positions.copy_(torch.randn(1, 24, 32, 32))
        swapped = torch.cat((x[..., 32:], x[..., :32]), 3)
        ours, theirs = net(x).logits, net(swapped).logits
        assert (ours[..., :2] - theirs[..., 2:]).abs().max() > 1e-3
        net.positions.zero_()
        ours, theirs = net(x).logits, net(swapped).logits
    torch.testing.assert_close(ours[..., :2], theirs[..., 2:])
    torch.testing.assert_close(ours[..., 2:], theirs[..., :2])


def test_logits_are_normalised_over_the_classes():
    with torch.no_grad():
        logits = segmenter_tiny(7, width=0.125).eval()(torch.randn(1, 3, 64, 64)).logits
    torch.testing.assert_close(logits.mean(1), torch.zeros(1, 4, 4), atol=1e-6, rtol=0)
