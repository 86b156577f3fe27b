"""The shared convolutions: shapes, channels and the weights they start with."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import (
    Bottleneck,
    RepConv,
    Residual,
    ResNet,
    ShortTermDense,
    conv_bn,
    initialise,
    reparameterised,
    resize_as,
    scaled,
    stdc_stages,
)


@pytest.mark.parametrize(
    ("channels", "width", "want"), [(32, 1.0, 32), (32, 0.5, 16), (48, 0.5, 24), (48, 0.25, 16), (128, 0.01, 8)]
)
def test_channels_are_multiples_of_8(channels, width, want):
    assert scaled(channels, width) == want


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 4)])
def test_convolutions_shrink_by_their_stride_rounded_up(kernel, stride, dilation):
    out = conv_bn(3, 8, kernel, stride, dilation=dilation)(torch.randn(2, 3, 13, 18))
    assert out.shape == (2, 8, -(-13 // stride), -(-18 // stride))


def test_resize_keeps_half_pixel_centres():
    ramp = torch.tensor([1.0, 3.0])[None, None, None]  # centres of two pixels, 2 apart
    assert resize_as(ramp, torch.zeros(1, 1, 1, 4)).flatten().tolist() == [1.0, 1.5, 2.5, 3.0]


def test_resize_by_a_factor_crops_what_rounding_up_added():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    whole = resize_as(x, torch.zeros(1, 1, 4, 6))
    torch.testing.assert_close(resize_as(x, torch.zeros(1, 1, 3, 5), 2), whole[..., :3, :5])
    torch.testing.assert_close(resize_as(x, torch.zeros(1, 1, 4, 6), 2), whole)


def test_a_residual_block_of_zeros_is_its_shortcut():
    block = Residual(8, 8).eval()
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x.relu())


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


@pytest.mark.parametrize(("stride", "pooled"), [(1, torch.ones(1, 32, 6, 9)), (2, torch.ones(1, 32, 3, 5))])
def test_a_short_term_dense_module_keeps_every_convolution_in_its_result(stride, pooled):
    block = ShortTermDense(16, 64, stride).eval()
    parts = []
    for conv in block.others:
        conv.register_forward_hook(lambda _, __, out: parts.append(out))
    nn.init.zeros_(block.first[1].weight)
    nn.init.ones_(block.first[1].bias)
    with torch.no_grad():
        out = block(torch.randn(1, 16, 6, 9))
    assert [p.shape[1] for p in parts] == [16, 8, 8]
    torch.testing.assert_close(out, torch.cat((pooled, *parts), 1))  # an average of ones is one at the border too


def test_stdc_stages_halve_and_widen():
    stages, channels = stdc_stages((1, 1, 1), 0.25)
    assert channels == [8, 16, 64, 128, 256]
    x = torch.randn(2, 3, 90, 122)
    for stage, want, size in zip(stages, channels, ((45, 61), (23, 31), (12, 16), (6, 8), (3, 4)), strict=True):
        x = stage(x)
        assert x.shape == (2, want, *size)


@pytest.mark.parametrize(("planes", "stride", "same"), [(4, 1, True), (8, 1, False), (4, 2, False)])
def test_a_bottleneck_of_zeros_is_its_shortcut(planes, stride, same):
    block = Bottleneck(8, planes, stride).eval()
    for p in block.body.parameters():
        nn.init.zeros_(p)
    x = torch.randn(1, 8, 6, 6)
    assert (block.shortcut is None) == same
    torch.testing.assert_close(block(x), x if same else block.shortcut(x))


def test_a_resnet_halves_from_stage_to_stage():
    net = ResNet((1, 1, 1, 1), 0.25).eval()
    assert [tuple(x.shape[1:]) for x in net(torch.randn(1, 3, 90, 122))] == [
        (16, 23, 31), (16, 23, 31), (32, 12, 16), (64, 6, 8), (128, 3, 4)
    ]  # fmt: skip
    assert ResNet((1, 1, 1, 1), 0.25, first_stride=2).eval()(torch.randn(1, 3, 64, 64))[1].shape[-2:] == (8, 8)


def test_a_resnet_18_has_the_parameters_of_the_paper_s():
    assert sum(p.numel() for p in ResNet().parameters()) == 11_689_512 - 513_000  # its classifier of 1000 classes
