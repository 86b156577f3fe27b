"""Laws of every distillation loss; a new one is tested without being named here. And how they are asked for."""

import pytest
import torch

from edgeseg import distill
from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))


def outputs(seed: int, *, classes: int = 5, size_hw: tuple[int, int] = (4, 6)) -> Outputs:
    return Outputs(torch.randn(2, classes, *size_hw, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("loss", [distill.get(n) for n in distill.names()], ids=distill.names())
class TestLaws:
    def test_zero_when_they_agree(self, loss):
        if loss is distill.get("soft-cross-entropy"):
            pytest.skip("its least is the teacher's entropy")
        torch.testing.assert_close(loss(outputs(0), outputs(0), BATCH), torch.tensor(0.0), atol=1e-6, rtol=0)

    def test_more_otherwise(self, loss):
        for other in (1, 2):
            assert loss(outputs(other), outputs(0), BATCH) > loss(outputs(0), outputs(0), BATCH)

    def test_order_of_classes_and_images_does_not_matter(self, loss):
        s, t = outputs(0).logits, outputs(1).logits
        want = loss(Outputs(s), Outputs(t), BATCH)
        classes, images = torch.tensor([3, 1, 4, 0, 2]), torch.tensor([1, 0])
        torch.testing.assert_close(loss(Outputs(s[:, classes]), Outputs(t[:, classes]), BATCH), want)
        torch.testing.assert_close(loss(Outputs(s[images]), Outputs(t[images]), BATCH), want)

    def test_the_size_of_the_batch_does_not_matter(self, loss):
        s, t = outputs(0).logits, outputs(1).logits
        twice = loss(Outputs(torch.cat([s, s])), Outputs(torch.cat([t, t])), BATCH)
        torch.testing.assert_close(twice, loss(Outputs(s), Outputs(t), BATCH))

    def test_gradient_reaches_every_class_of_the_student_and_no_teacher(self, loss):
        s, t = outputs(0).logits.requires_grad_(), outputs(1).logits.requires_grad_()
        loss(Outputs(s), Outputs(t), BATCH).backward()
        assert (s.grad.abs().sum((0, 2, 3)) > 0).all()
        assert t.grad is None

    @pytest.mark.parametrize("size_hw", [(8, 12), (2, 3), (16, 23)])
    def test_a_teacher_of_another_resolution_is_read_at_the_students_points(self, loss, size_hw):
        theirs = outputs(1, size_hw=size_hw)
        resized = torch.nn.functional.interpolate(theirs.logits, size=(4, 6), mode="bilinear", align_corners=False)
        torch.testing.assert_close(loss(outputs(0), theirs, BATCH), loss(outputs(0), Outputs(resized), BATCH))

    def test_half_precision_is_computed_in_full(self, loss):
        s, t = (Outputs(outputs(i).logits.bfloat16()) for i in (0, 1))
        value = loss(s, t, BATCH)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(Outputs(s.logits.float()), Outputs(t.logits.float()), BATCH))

    def test_no_teacher_is_said_so(self, loss):
        with pytest.raises(NetworkError, match="needs a teacher"):
            loss(outputs(0), None, BATCH)

    def test_a_teacher_of_other_classes_is_refused(self, loss):
        with pytest.raises(NetworkError, match="student has 5 classes and its teacher 7"):
            loss(outputs(0), outputs(1, classes=7), BATCH)


class TestParse:
    def test_weight_alone_gives_the_loss_itself(self):
        assert distill.parse("kl=1") == (1.0, distill.get("kl"))

    @pytest.mark.parametrize("text", ["kl=0.5,temperature=4", "kl = .5, temperature = 4"])
    def test_options_are_filled_in(self, text):
        weight, loss = distill.parse(text)
        assert weight == 0.5
        want = distill.get("kl")(outputs(0), outputs(1), BATCH, temperature=4.0)
        assert torch.equal(loss(outputs(0), outputs(1), BATCH), want)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("mes=1", "no distillation loss called 'mes': did you mean 'mse'.*cwd, dist, kl, mse"),
            ("", "no distillation loss called ''.*cwd, dist, kl, mse"),
            ("kl", "the weight in 'kl' must be a positive number.*for example 'kl=1'"),
            ("kl=x", "the weight in 'kl=x' must be a positive number, got 'x'"),
            ("kl=nan", "must be a positive number"),
            ("kl=inf", "must be a positive number"),
            ("kl=-1", "must be a positive number"),
            ("kl=1,temp=4", r"kl has no option 'temp'.*its options: temperature \(default 1\)"),
            ("mse=1,temperature=4", "mse has no option 'temperature'.*its options: none"),
            ("kl=1,temperature=0", "temperature in 'kl=1,temperature=0' must be a positive number"),
        ],
    )
    def test_errors_say_what_would_be_right(self, text, says):
        with pytest.raises(UserError, match=says):
            distill.parse(text)
