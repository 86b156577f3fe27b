"""Networks of one size or of some sizes, given any."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeseg.errors import NetworkError
from edgeseg.framing import Padded, Windowed, stride_of
from edgeseg.outputs import Outputs


class Cells(nn.Module):
    """Logits (N, 2, H/4, W/4) of an image: the mean of each cell, and its negative. Keeps what it was given."""

    stride = 4

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        mean = F.avg_pool2d(images.mean(1, keepdim=True), 4, ceil_mode=True)
        return Outputs(torch.cat((mean, -mean), 1))


def ramp(h: int, w: int) -> torch.Tensor:
    """Rises by 1 from the left edge to the right."""
    return torch.linspace(0, 1, w).expand(2, 3, h, w)


@pytest.mark.parametrize(("size_hw", "grown"), [((64, 96), (64, 96)), ((50, 70), (64, 96))])
def test_padding_adds_what_is_missing_and_takes_it_off_again(size_hw, grown):
    cells = Cells()
    out = Padded(cells, 32)(ramp(*size_hw)).logits
    assert cells.seen == [grown]
    assert out.shape == (2, 2, -(-size_hw[0] // 4), -(-size_hw[1] // 4))
    inside = F.avg_pool2d(ramp(*size_hw)[:, :1], 4)  # whole cells alone
    torch.testing.assert_close(out[:, :1, : inside.shape[2], : inside.shape[3]], inside)


def test_an_image_of_the_window_is_left_as_it_is():
    cells = Cells()
    image = ramp(32, 32)
    out = Windowed(cells, (32, 32))(image).logits
    assert cells.seen == [(32, 32)]
    torch.testing.assert_close(out, F.log_softmax(cells(image).logits, 1))


@pytest.mark.parametrize(
    ("size_hw", "windows"), [((32, 64), 2), ((32, 72), 3), ((16, 32), 2), ((128, 32), 4), ((100, 130), 2)]
)
def test_windows_cover_the_image_and_agree_where_they_overlap(size_hw, windows):
    cells = Cells()
    out = Windowed(cells, (32, 32))(ramp(*size_hw)).logits
    assert cells.seen == [(32, 32)] * windows
    assert out.shape == (2, 2, -(-size_hw[0] // 4), -(-size_hw[1] // 4))
    torch.testing.assert_close(out.exp().sum(1), torch.ones_like(out[:, 0]))
    value = (out[:, 0] - out[:, 1]) / 2  # log p / (1 - p) is twice the mean
    expected = F.interpolate(ramp(*size_hw)[:, :1], value.shape[-2:], mode="area")[:, 0]
    assert (value - expected).abs().max() < 0.05


def test_the_stride_is_seen_by_running_it():
    assert stride_of(Cells(), (32, 48)) == 4
    odd = nn.Module()
    odd.forward = lambda images: Outputs(images[..., ::3, ::2])
    with pytest.raises(NetworkError, match="one whole number"):
        stride_of(odd, (48, 48))
    with pytest.raises(NetworkError, match="windows of"):
        Windowed(Cells(), (30, 32))
