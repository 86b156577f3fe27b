"""Trunks: the sizes and channels of their stages, and what the STDC module is made of."""

import pytest
import torch
from torch import nn

from edgeseg.blocks import ResNet, ShortTermDense, stdc_stages


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


def test_a_resnet_halves_from_stage_to_stage():
    net = ResNet((1, 1, 1, 1), 0.25).eval()
    assert [tuple(x.shape[1:]) for x in net(torch.randn(1, 3, 90, 122))] == [
        (16, 23, 31), (16, 23, 31), (32, 12, 16), (64, 6, 8), (128, 3, 4)
    ]  # fmt: skip
    assert ResNet((1, 1, 1, 1), 0.25, first_stride=2).eval()(torch.randn(1, 3, 64, 64))[1].shape[-2:] == (8, 8)


def test_a_resnet_18_has_the_parameters_of_the_paper_s():
    assert sum(p.numel() for p in ResNet().parameters()) == 11_689_512 - 513_000  # its classifier of 1000 classes
