"""Which features learn from which: by stride, by name, and in a network that was traced."""

import pytest
import torch
from torch import nn

from edgeseg.compress import qat
from edgeseg.errors import NetworkError, UserError
from edgeseg.outputs import Outputs
from edgeseg.students.ddrnet import ddrnet_23_slim
from edgeseg.taps import Taps, before_relu, parse, probe


class Net(nn.Module):
    stride = 4

    def __init__(self, strides: tuple[int, ...], channels: int = 4) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, channels + i, 1), nn.AvgPool2d(s), nn.ReLU()) for i, s in enumerate(strides)
        )

    def forward(self, images: torch.Tensor) -> Outputs:
        maps = tuple(stage(images) for stage in self.stages)
        return Outputs(maps[-1], maps)


X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_deepest_feature_of_each_stride_is_paired():
    student, teacher = Net((2, 4, 4, 16)), Net((4, 8, 16, 16))
    taps = Taps(student, teacher)
    assert [(p.student, p.teacher, p.strides, p.channels) for p in taps.pairs] == [
        (2, 0, (4, 4), (6, 4)),
        (3, 3, (16, 16), (7, 7)),
    ]
    assert str(taps.pairs[0]) == (
        "student features.2 (6 channels at 1/4) learns from teacher features.0 (4 channels at 1/4)"
    )


def test_modules_are_read_as_they_pass():
    student, teacher = Net((2, 4)), Net((2, 4))
    taps = Taps(student, teacher, [("stages.0.0", "stages.1.2.input"), (1, "stages.0")])
    ours, theirs = taps.student(student(X)).features, taps.teacher(teacher(X)).features
    assert torch.equal(ours[0], student.stages[0][0](X)) and torch.equal(ours[1], student(X).features[1])
    assert torch.equal(theirs[0], teacher.stages[1][:2](X)) and torch.equal(theirs[1], teacher.stages[0](X))
    assert [p.strides for p in taps.pairs] == [(1, 4), (4, 2)]


def test_a_traced_network_is_read_at_the_last_module_called_within():
    student = ddrnet_23_slim(3, width=0.25)
    name = next(n for n, m in student.named_children() if isinstance(m, nn.Sequential))
    graph = qat.prepare(student, input_scale=1 / 128)
    qat.calibrate(graph, [torch.randn(1, 3, 64, 64)])
    taps = Taps(graph, Net((8,)), [(name, 0)])
    (found,) = taps.student(graph.eval()(X)).features
    assert found.ndim == 4 and found.shape[1] == taps.pairs[0].channels[0]


def test_probing_changes_nothing():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net.train()
    net[1].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    probe(net)
    assert net.training and not net[1].training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_what_a_relu_was_given():
    assert before_relu(Net((2, 4)), 1) == "stages.1.2.input"

    class Bare(Net):
        def forward(self, images):
            return Outputs(images, (images * 2,))

    assert before_relu(Bare((2,)), 0) == 0


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("student.layer4=teacher.layer4", ("layer4", "layer4")),
        (" student.a.1.input = teacher.features.2 ", ("a.1.input", 2)),
    ],
)
def test_taps_as_one_types_them(text, want):
    assert parse(text) == want


@pytest.mark.parametrize("text", ["layer4=layer4", "student.a", "teacher.a=student.b", "student.=teacher.b"])
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"such as student.layer4=teacher.layer4; got"):
        parse(text)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ([("layer4", 0)], "student.layer4 is no module of it: look among stages"),
        ([(0, 7)], "teacher.features.7 does not exist: it has 1"),
    ],
)
def test_places_that_do_not_exist(named, why):
    with pytest.raises(NetworkError, match=why):
        Taps(Net((2, 4)), Net((4,)), named)


def test_no_stride_in_common():
    with pytest.raises(NetworkError, match=r"student: 1/2; teacher: 1/8.*--tap student.A=teacher.B"):
        Taps(Net((2,)), Net((8,)))
