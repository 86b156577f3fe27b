"""FCN, PSPNet, DeepLabV3 and V3+: what their papers say of them, and what other libraries count."""

import pytest
import torch

from edgeseg import networks
from edgeseg.teachers.deeplab import ASPP, deeplabv3
from edgeseg.teachers.pspnet import Pyramid, pspnet


@pytest.mark.parametrize(
    ("name", "counted"),
    [("fcn", 32_955_987), ("deeplabv3", 39_638_355 - 256), ("deeplabv3-plus", 40_351_411), ("pspnet", 46_591_059)],
)
def test_parameters_as_documented(name, counted):
    """The first two as torchvision's, without auxiliary heads; one normalisation of 256 channels became a bias."""
    with torch.device("meta"):
        assert networks.parameters(networks.build(name, 19)) == counted


def test_the_two_deeplabs_link_their_own_papers():
    assert networks.paper("deeplabv3") == "https://arxiv.org/abs/1706.05587"
    assert networks.paper("deeplabv3-plus") == "https://arxiv.org/abs/1802.02611"


@pytest.mark.parametrize("name", ["fcn", "pspnet", "deeplabv3", "deeplabv3-plus"])
def test_one_image_is_a_batch(name):
    """At 64 x 64 the dilated map is 8 x 8, and the average of an image a single value per channel."""
    assert networks.build(name, 5, width=0.125).train()(torch.randn(1, 3, 64, 64)).logits.isfinite().all()


def test_the_pyramid_keeps_the_map_and_adds_as_many_channels():
    x = torch.rand(2, 16, 12, 18)
    out = Pyramid(16).eval()(x)
    assert out.shape == (2, 32, 12, 18)
    assert torch.equal(out[:, :16], x)
    one = out[:, 16:20]  # of one bin: the same everywhere
    torch.testing.assert_close(one, one[..., :1, :1].expand_as(one))


def test_dilations_look_as_far_as_they_say():
    aspp = ASPP(4, 4, (3, 6)).eval()
    reach = []
    for branch in (aspp.near, *aspp.around):
        torch.nn.init.ones_(branch[0].weight)
        dot = torch.zeros(1, 4, 31, 31)
        dot[..., 15, 15] = 1
        rows = branch(dot)[0, 0].sum(1).nonzero().flatten()
        reach.append(int(rows.max() - 15))
    assert reach == [0, 3, 6]


def test_a_deeper_trunk_and_no_second_head():
    with torch.device("meta"):
        extra = networks.parameters(deeplabv3(19, depth=101)) - networks.parameters(deeplabv3(19))
        assert extra == 42_500_160 - 23_508_032
        assert pspnet(19, auxiliary=False).auxiliary is None
