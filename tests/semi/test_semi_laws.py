"""Laws of every semi-supervised method; a new one is tested without being named here. And how they are asked for."""

from __future__ import annotations

import pytest
import torch
from footage import batch, objective, sharp, unlabelled
from small import CLASSES, Net, images
from torch import nn

from edgeseg import semi
from edgeseg.compress import qat
from edgeseg.errors import UserError
from edgeseg.losses import cross_entropy
from edgeseg.objectives import Supervise
from edgeseg.outputs import Unlabelled
from edgeseg.schedules import Ramp

ENTRIES = {name: semi.get(name) for name in semi.names()}
every = pytest.mark.parametrize("method", ENTRIES.values(), ids=ENTRIES)


def total(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(values.values())).sum()


def steps(made: Supervise, count: int = 3) -> dict[str, torch.Tensor]:
    """What the last of so many steps gives."""
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], 0.01)
    for i in range(count):
        made.progress = i / count
        values = made(batch(i))
        optimizer.zero_grad()
        total(values).backward()
        optimizer.step()
    return values


@every
class TestEvery:
    def test_it_teaches_the_student_and_what_it_holds(self, method):
        made = objective(method)
        values = steps(made)
        assert all(torch.isfinite(v) and v.ndim == 0 and v.dtype == torch.float32 for v in values.values())
        own = [name for name in values if not name.startswith("cross-entropy")]
        assert own
        made.zero_grad()
        total({name: made(batch())[name] for name in own}).backward()
        reached = {n for n, p in made.named_parameters() if p.grad is not None and p.grad.any()}
        assert any(n.startswith("student.") for n in reached)
        held = {n for n, p in made.named_parameters() if p.requires_grad and n.startswith("unlabelled.")}
        assert {n for n in held if n.endswith("weight")} & reached == {n for n in held if n.endswith("weight")}
        assert all(p.grad is None for p in made.teacher.parameters())

    def test_what_it_knows_is_kept(self, method):
        first, second = objective(method), objective(method)
        steps(first)
        second.load_state_dict(first.state_dict())
        first.progress = second.progress = 0.5
        torch.testing.assert_close(second(batch()), first(batch()), rtol=0, atol=0)

    def test_it_is_not_in_the_student(self, method):
        assert objective(method).student.state_dict().keys() == Net(8, 16).state_dict().keys()

    def test_labels_of_unlabelled_frames_are_nowhere(self, method):
        assert set(Unlabelled._fields) == {"weak", "strong", "inside"}

    def test_it_takes_as_many_looks_as_it_says(self, method):
        seen, looks = unlabelled(), semi.looks_of(method)
        many = objective(method)(batch())
        few = objective(method)(batch()._replace(unlabelled=seen._replace(strong=seen.strong[:looks])))
        torch.testing.assert_close(few, many, rtol=0, atol=0)
        if looks:
            seen.strong[looks - 1] *= -1
            assert total(objective(method)(batch()._replace(unlabelled=seen))) != total(many)

    def test_beyond_the_frame_nothing_is_learned(self, method):
        """What is shown there changes nothing but batch statistics, which are held here."""
        made = objective(method)
        steps(made, 2)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        state = {name: value.clone() for name, value in made.state_dict().items()}
        found = []
        for seed in (5, 9):
            made.load_state_dict(state)
            nowhere = unlabelled(seed)._replace(inside=torch.zeros(2, 16, 24, dtype=torch.bool))
            found.append(made(batch()._replace(unlabelled=nowhere)))
        assert all(torch.isfinite(v) for v in found[0].values())
        torch.testing.assert_close(*found, rtol=0, atol=0)

    def test_running_statistics_are_those_of_labelled_frames(self, method):
        found = []
        for seed in (5, 9):
            made = objective(method)
            made(batch(seed))
            found.append({name: value for name, value in made.student.named_buffers() if "running" in name})
            norms = [m for m in made.student.modules() if isinstance(m, nn.BatchNorm2d)]
            assert norms and all(norm.momentum == 0.1 for norm in norms)
        torch.testing.assert_close(*found, rtol=0, atol=0)
        assert any(value.abs().sum() > 0 for value in found[0].values())

    def test_it_works_in_half_precision(self, method):
        made = objective(method)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made(batch(1))
            values = made(batch(2))
        assert all(torch.isfinite(v) and v.dtype == torch.float32 for v in values.values())
        total(values).backward()

    def test_it_works_under_fake_quantization(self, method):
        graph = qat.prepare(sharp(), input_scale=1 / 128)
        qat.calibrate(graph, images())
        made = objective(method, graph)
        values = steps(made, 2)
        assert all(torch.isfinite(v) for v in values.values())
        assert any(p.grad is not None and p.grad.any() for p in graph.parameters())

    def test_two_of_a_kind_have_names_of_their_own(self, method):
        twice = [(1.0, method), (0.5, method)]
        made = Supervise(sharp(), [(1.0, cross_entropy)], sharp(12, 24, seed=1), semi=twice).train()
        names = set(made(batch()))
        assert any(name.endswith("-2") for name in names)


class TestParse:
    def test_the_weight_is_one_unless_said(self):
        assert semi.parse("mean-teacher") == (1.0, semi.get("mean-teacher"))

    def test_options_are_numbers_or_names(self):
        weight, method = semi.parse("mean-teacher=0.5,mix=cutmix,decay=0.9,ramp=0.2")
        assert weight == Ramp(0.5, 0.2) and method.keywords == {"mix": "cutmix", "decay": 0.9}

    @pytest.mark.parametrize("text", ["u2pl=1,contrast=0,share=0", "adversarial=1,unlabelled=0", "unimatch=1,decay=0"])
    def test_zero_turns_a_part_off(self, text):
        weight, method = semi.parse(text)
        assert weight == 1.0 and 0.0 in method.keywords.values()
        assert all(torch.isfinite(value) for value in steps(objective(method), 2).values())

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("mean-techer", "did you mean 'mean-teacher'"),
            ("unimatch=-1", "must be a positive number"),
            ("unimatch=0", "the weight in 'unimatch=0' must be a positive number"),
            ("unimatch=1,threshold=-1", "threshold in .* must be 0 or a positive number, got '-1'"),
            ("mean-teacher=1,mixing=cutmix", r"its options: decay \(default 0.99\), mix \(default none\)"),
        ],
    )
    def test_errors_say_what_would_be_right(self, text, says):
        with pytest.raises(UserError, match=says):
            semi.parse(text)

    @pytest.mark.parametrize(
        ("text", "says"), [("mean-teacher,mix=cutmx", "cutout, cutmix"), ("unimatch,threshold=2", "0 to 1, got 2")]
    )
    def test_wrong_values_are_said_when_it_is_made(self, text, says):
        with pytest.raises(UserError, match=says):
            objective(semi.parse(text)[1])


def test_classes_are_those_of_the_student():
    seen = []

    def spy(setting):
        seen.append(setting.num_classes)
        return semi.get("mean-teacher")(setting)

    objective(spy)
    assert seen == [CLASSES]
