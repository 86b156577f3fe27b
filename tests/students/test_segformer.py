"""SegFormer-B0 against the figures of its paper, and its two operations against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.segformer import Attention, Norm, attention, segformer_b0


def test_parameters_as_in_the_paper():
    assert parameters(segformer_b0(150)) == 3_752_694  # the paper's 3.8 M
    assert parameters(segformer_b0(19)) == 3_719_027


def test_multiply_adds_as_in_the_paper():
    assert round(macs(segformer_b0(150), (512, 512)) / 1e9, 1) == 8.4
    assert round(macs(segformer_b0(19), (1024, 2048)) / 1e9, 2) == 120.96  # the paper's 125.5 counts more than products


def test_products_of_attention_are_counted():
    """Queries of one map, keys and values of one with an eighth of its side: two products of C each."""

    class Alone(nn.Module):
        def forward(self, x):
            return attention(x, x[..., ::8, ::8], x[..., ::8, ::8], 1)

    assert macs(Alone(), (32, 64)) == 2 * 3 * (32 * 64) * (4 * 8)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_torchs(heads):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 8, *hw, generator=g) for hw in ((4, 6), (2, 3), (2, 3)))
    want = F.scaled_dot_product_attention(*(x.reshape(2, heads, 8 // heads, -1).mT for x in (q, k, v)))
    torch.testing.assert_close(attention(q, k, v, heads), want.mT.reshape(2, 8, 4, 6))


def test_normalisation_is_over_channels():
    x = torch.randn(2, 8, 3, 5)
    y = Norm(8)(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.std(1, correction=0), torch.ones(2, 3, 5), atol=1e-3, rtol=0)


def test_keys_and_values_are_of_a_smaller_map():
    block, seen = Attention(8, 1, 4), []
    block.k.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    assert block(torch.randn(1, 8, 8, 12)).shape == (1, 8, 8, 12)
    assert seen == [(1, 8, 2, 3)]


def test_features_are_four_stages_and_their_fusion():
    with torch.no_grad():
        features = segformer_b0(5, width=0.25).eval()(torch.randn(1, 3, 64, 96)).features
    want = [(1, 8, 16, 24), (1, 16, 8, 12), (1, 40, 4, 6), (1, 64, 2, 3), (1, 64, 16, 24)]
    assert [tuple(f.shape) for f in features] == want
