"""Smaller and larger maps: where each value comes from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.blocks import Down, conv_bn, nearest_as, resize_as, transposed
from edgeseg.compress import qat
from edgeseg.outputs import Outputs


def test_resize_keeps_half_pixel_centres():
    ramp = torch.tensor([1.0, 3.0])[None, None, None]  # centres of two pixels, 2 apart
    assert resize_as(ramp, torch.zeros(1, 1, 1, 4)).flatten().tolist() == [1.0, 1.5, 2.5, 3.0]


def test_resize_by_a_factor_crops_what_rounding_up_added():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    whole = resize_as(x, torch.zeros(1, 1, 4, 6))
    torch.testing.assert_close(resize_as(x, torch.zeros(1, 1, 3, 5), 2), whole[..., :3, :5])
    torch.testing.assert_close(resize_as(x, torch.zeros(1, 1, 4, 6), 2), whole)


def test_nearest_repeats_each_value_and_crops():
    x = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    assert nearest_as(x, torch.zeros(1, 1, 3, 4), 2)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]


def test_transposed_pixels_see_no_other():
    up = transposed(2, 3, 4)
    x = torch.zeros(1, 2, 3, 3)
    x[0, 0, 1, 2] = 1
    out = up(x)
    assert out.shape == (1, 3, 12, 12)
    torch.testing.assert_close(out[0, :, 4:8, 8:12], up.weight[0])
    assert out.count_nonzero() == up.weight[0].numel()


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 24), (8, 8)])
def test_down_keeps_the_pooled_map_where_channels_grow(inputs, outputs):
    block = Down(inputs, outputs, behind=lambda channels: ()).eval()
    x = torch.randn(2, inputs, 9, 7)
    out = block(x)
    assert out.shape == (2, outputs, 5, 4)
    if outputs > inputs:
        assert torch.equal(out[:, outputs - inputs :], F.max_pool2d(x, 2, ceil_mode=True))


class Repeated(nn.Module):
    """A map, and a smaller one repeated to its size: by the function, and by torch's own module."""

    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv_bn(3, 8, 3, 2), conv_bn(8, 8, 3, 2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> Outputs:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return Outputs(self.head(torch.relu(fine + nearest_as(coarse, fine, 2)) + self.up(coarse)))


def test_repeated_values_keep_their_scale():
    torch.manual_seed(0)
    graph = qat.prepare(Repeated(), input_scale=1 / 128)
    qat.calibrate(graph, [torch.randn(2, 3, 16, 24)])
    assert sorted(graph.quantizers) == [
        "add_1",
        "coarse_2",
        "fine_2",
        "relu",
        "x",
    ]  # that of the coarse map three times
    targets = [str(n.target) for n in graph.graph.nodes]
    assert targets.count("quantizers.coarse_2") == 3
    seen = []
    graph.quantizers["coarse_2"].register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    with torch.no_grad():
        graph.eval()(torch.randn(1, 3, 16, 24))
    assert all(torch.equal(*pair) for pair in seen[1:])  # rounded once, moved twice
