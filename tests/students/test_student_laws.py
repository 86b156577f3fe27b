"""Laws of every student: what integer engines need. A new one is tested without being named here."""

import inspect
import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg import networks, students
from edgeseg.blocks import crop, reparameterised, shuffle
from edgeseg.errors import NetworkError

MODULES = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.PReLU,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.MaxPool2d,
    nn.Sigmoid,
)
FUNCTIONS = (operator.add, operator.mul, torch.cat, F.interpolate)


def declared(name, constant, default):
    """What a family's file says of itself: ``FLOAT``, operations without an integer kernel; ``BLOCK``, of channels."""
    return getattr(inspect.getmodule(students.get(name)), constant, default)


every = pytest.mark.parametrize("name", students.names())


@every
class TestLaws:
    def test_made_of_operations_that_quantize(self, name):
        traced = torch.fx.symbolic_trace(students.get(name)(5, width=0.25))
        modules, in_float = dict(traced.named_modules()), declared(name, "FLOAT", ())
        for node in traced.graph.nodes:
            if node.op == "call_module":
                module = modules[node.target]
                assert isinstance(module, MODULES) or type(module).__name__ in in_float, node.target
            elif node.op == "call_function" and node.target not in (getattr, operator.getitem, crop, shuffle):
                known = node.target in FUNCTIONS or node.target.__name__ in in_float
                assert known or issubclass(node.target, tuple), node.target
                if node.target is F.interpolate and node.kwargs["mode"] != "nearest":
                    assert (node.kwargs["mode"], node.kwargs["align_corners"]) == ("bilinear", False)

    def test_average_pools_do_not_count_padding(self, name):
        pools = [
            m for m in students.get(name)(5, width=0.25).modules() if isinstance(m, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
        ]
        for pool in pools:
            flat = pool(torch.ones(1, 1, 9, 13))
            torch.testing.assert_close(flat, torch.ones_like(flat))
            assert isinstance(pool, nn.AvgPool2d) or pool.output_size in (1, (1, 1))

    @pytest.mark.parametrize("width", [0.25, 0.4, 0.5, 1.5])
    def test_width_gives_channels_in_blocks_of_8(self, name, width):
        net = students.get(name)(5, width=width)
        channels = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
        assert all(c % declared(name, "BLOCK", 8) == 0 for c in channels)
        assert (networks.parameters(net) < networks.parameters(students.get(name)(5))) == (width < 1)

    def test_auxiliary_heads_can_be_left_out(self, name):
        net = students.get(name)(5, width=0.25, auxiliary=False).train()
        assert net(torch.randn(2, 3, 64, 64)).auxiliary == ()
        assert sum(p.numel() for p in reparameterised(net).parameters()) == networks.parameters(net)

    def test_state_survives(self, name):
        torch.manual_seed(0)
        make = students.get(name)
        a, b = make(5, width=0.25).eval(), make(5, width=0.25).eval()
        b.load_state_dict(a.state_dict())
        x = torch.randn(1, 3, 64, 64)
        assert torch.equal(a(x).logits, b(x).logits)


def test_unknown_student_names_what_there_is():
    with pytest.raises(NetworkError, match="no student called 'ddrnet-slim': did you mean 'ddrnet-23-slim'"):
        students.get("ddrnet-slim")
