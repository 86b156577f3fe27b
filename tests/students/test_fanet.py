"""What FANet costs, and its attention against its definition."""

import pytest
import torch
import torch.nn.functional as F

from edgeseg.networks import macs, parameters
from edgeseg.students.fanet import FastAttention, attend, fanet_18, fanet_34


@pytest.mark.parametrize(("make", "millions", "giga"), [(fanet_18, 13.08, 47.07), (fanet_34, 23.19, 66.40)])
def test_costs(make, millions, giga):
    with torch.device("meta"):
        net = make(19)
    assert round(parameters(net) / 1e6, 2) == millions
    assert round(macs(net, (1024, 2048)) / 1e9, 2) == giga


@pytest.mark.parametrize("size_hw", [(2, 3), (16, 17)])  # one for each order of the products
def test_attention_is_the_mean_of_values_weighted_by_cosines(size_hw):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, c, *size_hw) for c in (8, 8, 16))
    cosines = F.cosine_similarity(query.flatten(2)[..., None], key.flatten(2)[:, :, None], dim=1)  # (N, n, n)
    want = torch.einsum("bqk,bck->bcq", cosines, value.flatten(2)) / (size_hw[0] * size_hw[1])
    torch.testing.assert_close(attend(query, key, value), want.view_as(value), rtol=1e-4, atol=1e-5)


def test_attention_by_hand():
    """Two pixels that agree with themselves and are at right angles to each other."""
    axes = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).view(1, 2, 1, 2)
    said = attend(axes, axes, torch.tensor([2.0, 8.0]).view(1, 1, 1, 2))
    torch.testing.assert_close(said.flatten(), torch.tensor([1.0, 4.0]))


def test_a_level_adds_what_the_coarser_one_says():
    attention = FastAttention(16, 8).eval()
    x, coarser = torch.randn(1, 16, 5, 7), torch.ones(1, 16, 3, 4)
    torch.testing.assert_close(attention(x, coarser), attention(x) + 1)


def test_features_are_the_levels_from_coarse_to_fine():
    with torch.no_grad():
        features = fanet_18(5, width=0.25).eval()(torch.randn(1, 3, 90, 122)).features
    assert [tuple(f.shape[1:]) for f in features] == [(128, 2, 2), (64, 3, 4), (32, 6, 8), (16, 12, 16)]
