"""edgeseg-n, -s and -m: what they cost, and that integer engines have nothing else to do than convolutions."""

import pytest
import torch
from torch import nn

from edgeseg.compress import qat
from edgeseg.networks import macs, parameters
from edgeseg.students.edgeseg import edgeseg_m, edgeseg_n, edgeseg_s


@pytest.mark.parametrize(
    ("make", "count", "gmacs"),
    [(edgeseg_n, 1_050_419, 1.85), (edgeseg_s, 4_020_435, 6.12), (edgeseg_m, 7_248_947, 11.46)],
)
def test_parameters_and_multiply_adds_as_documented(make, count, gmacs):
    with torch.device("meta"):
        net = make(19)
    assert parameters(net) == count
    assert round(macs(net, (512, 1024)) / 1e9, 2) == gmacs


@pytest.mark.parametrize("make", [edgeseg_n, edgeseg_s, edgeseg_m])
def test_channels_fill_vector_units(make):
    with torch.device("meta"):
        net = make(19)
    wide = {m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is None}
    assert all(c % 32 == 0 for c in wide)


def test_nothing_but_convolutions_is_left_to_run():
    graph = qat.prepare(edgeseg_n(5, width=0.25, auxiliary=False))
    modules = dict(graph.named_modules())
    convolutions = [n for n in graph.graph.nodes if isinstance(modules.get(n.target), nn.Conv2d)]
    sums = [n for n in graph.graph.nodes if qat.kind(graph, n) == "add"]
    assert len(convolutions) == 1 + 11 + 4 + 3 + 2  # stem, encoder, narrow, mix, head
    assert len(sums) == 3  # one for each finer map of the decoder


def test_features_are_the_encoder_and_what_is_decoded():
    with torch.no_grad():
        out = edgeseg_n(5).eval()(torch.randn(1, 3, 128, 192))
    assert [tuple(f.shape[1:]) for f in out.features] == [
        (64, 16, 24),
        (96, 8, 12),
        (128, 4, 6),
        (128, 2, 3),
        (32, 16, 24),
    ]
    assert out.logits.shape == (1, 5, 16, 24)
