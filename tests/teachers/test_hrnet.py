"""HRNet and object-contextual representations: published counts, what an exchange sums, what a region is."""

import pytest
import torch

from edgeseg import networks
from edgeseg.errors import NetworkError
from edgeseg.networks import macs, parameters
from edgeseg.teachers.hrnet import Exchange, attend, gather, hrnet_ocr_w18, hrnet_w18

CITYSCAPES = (1024, 2048)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("hrnet-w18", 9_640_849),
        ("hrnet-w48", 65_858_659),
        ("hrnet-ocr-w18", 12_080_036),
        ("hrnet-ocr-w48", 70_371_446),
    ],
)
def test_parameters_as_documented(name, counted):
    with torch.device("meta"):
        assert parameters(networks.build(name, 19)) == counted


@pytest.mark.parametrize(("small", "counted", "published"), [(1, 1_540_579, 31.1), (2, 3_939_309, 71.6)])
def test_the_small_ones_cost_what_their_authors_say(small, counted, published):
    """1.5 M and 3.9 M parameters; multiply-adds in units of 2 to the 30th."""
    with torch.device("meta"):
        net = hrnet_w18(19, small=small)
    assert parameters(net) == counted
    assert round(macs(net, CITYSCAPES) / 2**30, 1) == published


def test_links_to_the_papers():
    assert networks.paper("hrnet-w48") == "https://arxiv.org/abs/1908.07919"
    assert networks.paper("hrnet-ocr-w48") == "https://arxiv.org/abs/1909.11065"


def test_every_stream_hears_of_every_other():
    unit = Exchange((4, 8, 16), 1).eval()
    maps = [torch.randn(1, c, 11 // s + 1, 12 // s + 1, requires_grad=True) for c, s in ((4, 1), (8, 2), (16, 4))]
    for out, of in zip(unit(maps), maps, strict=True):
        assert out.shape == of.shape
        grads = torch.autograd.grad(out.sum(), maps, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in grads)


def test_features_are_the_streams_and_their_union():
    with torch.no_grad():
        out = hrnet_w18(5, width=0.5, small=2).eval()(torch.randn(1, 3, 70, 90))
    assert [tuple(f.shape[1:]) for f in out.features] == [
        (9, 18, 23), (18, 9, 12), (36, 5, 6), (72, 3, 3), (135, 18, 23)
    ]  # fmt: skip


def test_a_region_is_the_average_of_the_pixels_that_are_surely_its():
    pixels = torch.arange(8.0).view(1, 2, 2, 2)
    coarse = torch.tensor([[[0.0, 0], [-99, -99]], [[-99, -99], [-99, 0]]])[None]
    torch.testing.assert_close(gather(pixels, coarse), torch.tensor([[0.5, 3], [4.5, 7]]).view(1, 2, 2, 1))


def test_a_pixel_takes_the_value_of_the_region_that_it_is_like():
    key = torch.tensor([[9.0, 0], [0, 9]]).view(1, 2, 2, 1)
    value = torch.tensor([[1.0, 2], [3, 4]]).view(1, 2, 2, 1)
    query = torch.tensor([[9.0, 0, 0], [0, 9, 0]]).view(1, 2, 1, 3)
    torch.testing.assert_close(attend(query, key, value)[0, :, 0], torch.tensor([[1, 2, 1.5], [3, 4, 3.5]]))


def test_the_coarse_classification_is_learned_from_labels_too():
    net = hrnet_ocr_w18(5, width=0.25, small=1)
    x = torch.randn(1, 3, 64, 64)
    (coarse,) = net.train()(x).auxiliary
    assert coarse.shape == (1, 5, 16, 16)
    assert net.eval()(x).auxiliary == ()


def test_another_size_is_refused():
    with pytest.raises(NetworkError, match="small must be 0, 1, 2, got 3"):
        hrnet_w18(5, small=3)
