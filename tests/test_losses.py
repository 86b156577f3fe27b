"""Losses on labels: laws over all of them, and one value of each by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgeseg import losses
from edgeseg.errors import UserError
from edgeseg.outputs import Batch, Outputs

ALL = [getattr(losses, name) for name in losses.__all__]
every = pytest.mark.parametrize("loss", ALL, ids=losses.__all__)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(labels: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(labels), 3, *labels.shape[1:]), labels)


LABELS = torch.arange(2 * 16 * 24).reshape(2, 16, 24) % 5


@every
class TestLaws:
    def test_right_beats_wrong(self, loss):
        right = F.one_hot(LABELS, 5).movedim(-1, 1) * 20.0
        assert loss(Outputs(right), None, batch(LABELS)) < 1e-4
        assert loss(Outputs(-right), None, batch(LABELS)) > 0.5

    def test_ignored_pixels_teach_nothing(self, loss):
        labels = LABELS.clone()
        labels[:, :, 12:] = 255
        x = logits(0, 2, 5, 16, 24).requires_grad_()
        loss(Outputs(x), None, batch(labels)).backward()
        assert x.grad[..., 12:].abs().max() == 0
        assert x.grad[..., :12].abs().max() > 0

    def test_nothing_labelled_is_zero_and_not_nan(self, loss):
        x = logits(0, 2, 5, 4, 6).requires_grad_()
        value = loss(Outputs(x), None, batch(torch.full((2, 16, 24), 255)))
        value.backward()
        assert value.item() == 0
        assert torch.equal(x.grad, torch.zeros_like(x))

    def test_the_ignored_label_is_a_choice(self, loss):
        x = Outputs(logits(0, 2, 5, 4, 6))
        other = torch.where(LABELS == 4, 255, LABELS)
        torch.testing.assert_close(loss(x, None, batch(LABELS), ignore_label=4), loss(x, None, batch(other)))

    def test_the_teacher_is_not_asked(self, loss):
        x = Outputs(logits(0, 2, 5, 4, 6))
        assert torch.equal(loss(x, None, batch(LABELS)), loss(x, Outputs(logits(1, 2, 5, 4, 6)), batch(LABELS)))

    @pytest.mark.parametrize("k", [5, losses.ROW - 1, losses.ROW, losses.ROW + 1])
    def test_classes_of_no_probability_change_nothing(self, loss, k, monkeypatch):
        both = [logits(0, 2, k, 4, 6).requires_grad_() for _ in range(2)]
        padded = loss(Outputs(both[0]), None, batch(LABELS))
        monkeypatch.setattr(losses, "ROW", 0)
        plain = loss(Outputs(both[1]), None, batch(LABELS))
        torch.testing.assert_close(padded, plain)
        padded.backward()
        plain.backward()
        torch.testing.assert_close(both[0].grad, both[1].grad)

    def test_auxiliary_logits_count_with_their_weight(self, loss):
        main, extra = logits(0, 2, 5, 4, 6), logits(1, 2, 5, 2, 3)
        both = loss(Outputs(main, (), (extra, extra)), None, batch(LABELS), auxiliary_weight=0.25)
        alone = [loss(Outputs(x), None, batch(LABELS)) for x in (main, extra)]
        torch.testing.assert_close(both, alone[0] + 2 * 0.25 * alone[1])

    def test_memory_format_and_half_precision_do_not_matter(self, loss):
        x = logits(0, 2, 5, 4, 6).bfloat16()
        want = loss(Outputs(x.float()), None, batch(LABELS))
        assert torch.equal(loss(Outputs(x), None, batch(LABELS)), want)
        torch.testing.assert_close(
            loss(Outputs(x.contiguous(memory_format=torch.channels_last)), None, batch(LABELS)), want
        )


# Two classes; odds of 1:3 for class 1, so that probabilities are 1/4 and 3/4.
QUARTERS = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)


def test_cross_entropy_by_hand():
    labels = torch.tensor([[[1, 0, 255]]])
    value = losses.cross_entropy(Outputs(QUARTERS.expand(1, 2, 1, 3)), None, batch(labels))
    assert value.item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)


def test_cross_entropy_is_that_of_the_upsampled_logits():
    x = logits(0, 2, 5, 3, 5)
    labels = LABELS.masked_fill(LABELS == 3, 255)
    upsampled = F.interpolate(x, size=(16, 24), mode="bilinear", align_corners=False)
    want = F.cross_entropy(upsampled, labels, ignore_index=255)
    torch.testing.assert_close(losses.cross_entropy(Outputs(x), None, batch(labels)), want)


@pytest.mark.parametrize(
    ("min_kept", "kept"), [(0.0, [0.3, 0.6]), (0.75, [0.3, 0.6, 0.8]), (1.0, [0.3, 0.6, 0.8, 0.9])]
)
def test_ohem_by_hand(min_kept, kept):
    p = torch.tensor([0.9, 0.3, 0.8, 0.6])  # probability of the true class, 1
    x = torch.stack([(1 - p).log(), p.log()])[None, :, None]
    labels = torch.ones(1, 1, 4, dtype=torch.int64)
    value = losses.ohem(Outputs(x), None, batch(labels), thresh=0.7, min_kept=min_kept)
    assert value.item() == pytest.approx(-sum(map(math.log, kept)) / len(kept), rel=1e-5)


def test_dice_by_hand():
    """Two pixels, both 1/4 : 3/4, one of each class; a third class is absent and does not count."""
    x = torch.cat([QUARTERS, torch.full((1, 1, 1, 1), -100.0)], 1).expand(1, 3, 1, 2)
    value = losses.dice(Outputs(x), None, batch(torch.tensor([[[0, 1]]])))
    first = 1 - 2 * (1 / 4) / (2 / 16 + 1)
    second = 1 - 2 * (3 / 4) / (2 * 9 / 16 + 1)
    assert value.item() == pytest.approx((first + second) / 2)


def test_balanced_by_hand():
    """Three pixels of class 0 and one of class 1, all at 1/4 : 3/4: the rare one counts by its larger weight."""
    value = losses.balanced(Outputs(QUARTERS.expand(1, 2, 1, 4)), None, batch(torch.tensor([[[0, 0, 0, 1]]])), c=1.1)
    common, rare = 1 / math.log(1.1 + 3 / 4), 1 / math.log(1.1 + 1 / 4)
    want = (3 * common * -math.log(1 / 4) + rare * -math.log(3 / 4)) / (3 * common + rare)
    assert value.item() == pytest.approx(want)


def test_a_text_names_a_loss_its_weight_and_its_options():
    weight, loss = losses.parse("ohem=0.5,thresh=0.9")
    assert (weight, loss.func, loss.keywords) == (0.5, losses.ohem, {"thresh": 0.9})
    assert losses.parse("cross-entropy=1") == (1.0, losses.cross_entropy)
    with pytest.raises(UserError, match=r"no loss on labels called 'focal'.*balanced, cross-entropy, dice, ohem"):
        losses.parse("focal=1")
