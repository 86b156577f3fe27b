"""FasterSeg against the counts of its authors' network."""

import pytest
import torch

from edgeseg.networks import macs, parameters
from edgeseg.students.fasterseg import Cell, Zoomed, fasterseg

AUTHORS = 4_385_689  # parameters of the authors' network, with its auxiliary heads and a gate that it does not use


def test_parameters_as_of_the_authors_network():
    net = fasterseg(19)
    assert parameters(net) == 3_421_875
    assert AUTHORS - sum(p.numel() for p in net.parameters()) == 2 * 128 * 128


def test_multiply_adds_as_of_the_authors_network():
    assert macs(fasterseg(19), (1024, 2048)) == 27_770_486_784


def test_branches_end_where_the_search_ended():
    net = fasterseg(5, width=0.25).eval()
    with torch.no_grad():
        shapes = [tuple(f.shape) for f in net(torch.randn(1, 3, 128, 192)).features]
    assert shapes == [(1, 16, 8, 12), (1, 64, 4, 6), (1, 32, 8, 12), (1, 32, 16, 24)]


def test_auxiliary_heads_read_16_and_32():
    net = fasterseg(5, width=0.25).train()
    assert [a.shape[-2:] for a in net(torch.randn(2, 3, 128, 192)).auxiliary] == [(8, 12), (4, 6)]


@pytest.mark.parametrize(("stride", "want"), [(1, (7, 10)), (2, (4, 5))])
def test_zoomed_convolutions_see_half_the_size(stride, want):
    zoomed = Zoomed(8, Cell(2, True, stride, 8)).eval()
    seen = []
    zoomed.body.register_forward_hook(lambda module, given, out: seen.append(given[0].shape[-2:]))
    assert zoomed(torch.randn(1, 8, 7, 10)).shape[-2:] == want
    assert seen == [(4, 5)]


def test_halving_averages_what_is_there():
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert Zoomed(1, Cell(1, True, 1, 8)).shrink(x)[0, 0].tolist() == [[3, 5, 6.5], [10.5, 12.5, 14]]
