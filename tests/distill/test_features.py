"""Losses on features, each by hand on maps of one or two pixels."""

import math

import pytest
import torch
from small import Net, batch, images, setting
from torch import nn

from edgeseg.distill.attention_transfer import attention_transfer
from edgeseg.distill.cirkd import Memory
from edgeseg.distill.cirkd import batch as across_images
from edgeseg.distill.fitnet import FitNet
from edgeseg.distill.knowledge_adaptation import KnowledgeAdaptation
from edgeseg.distill.nfd import NormalizedFeatures
from edgeseg.distill.overhaul import Overhaul, partial_l2
from edgeseg.distill.segdist import SegDist, principal_components
from edgeseg.distill.self_taught import self_taught
from edgeseg.distill.skd import Holistic, pair, pixel
from edgeseg.outputs import Batch, Outputs

BATCH = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64))
LOGITS = torch.zeros(1, 2, 1, 2)


def row(*channels: tuple[float, ...]) -> Outputs:
    """One feature of an image of one row, a tuple for each channel."""
    return Outputs(LOGITS, (torch.tensor(channels)[None, :, None],))


def pairs_of(ours: int, theirs: int):
    """A setting whose two features have these channels."""
    return setting(Net(ours, ours), Net(theirs, theirs))


def test_fitnet():
    loss = FitNet(pairs_of(1, 1))
    for adapter in loss.adapters:
        nn.init.constant_(adapter.weight, 2.0)
    ours, theirs = row((1.0, 2.0)), row((3.0, 4.0))
    two = [o._replace(features=o.features * 2) for o in (ours, theirs)]
    assert loss(*two, BATCH).item() == pytest.approx(2 * (1 + 0) / 2 / 2)  # of 2 and 4 to 3 and 4, two pairs


def test_attention_is_where_and_not_how_much():
    """Attention (1, 0) against (1, 1) / sqrt(2): sqrt(2 - sqrt(2)) apart."""
    value = attention_transfer(row((3.0, 0.0)), row((1.0, 0.0), (0.0, -1.0)), BATCH)
    assert value.item() == pytest.approx(math.sqrt(2 - math.sqrt(2)) / 2, rel=1e-5)


def test_normalised_features_have_no_magnitude():
    loss = NormalizedFeatures(pairs_of(1, 1))
    one = [o._replace(features=o.features * 2) for o in (row((0.0, 2.0)), row((10.0, 90.0)), row((9.0, 1.0)))]
    assert loss(one[0], one[1], BATCH).item() == pytest.approx(0, abs=1e-6)
    assert loss(one[0], one[2], BATCH).item() == pytest.approx(2 * 4, rel=1e-3)  # (-1, 1) against (1, -1), two pairs


def test_normalised_features_are_adapted_only_where_channels_differ():
    assert [type(a) for a in NormalizedFeatures(pairs_of(4, 4)).adapters] == [nn.Identity] * 2
    assert [type(a) for a in NormalizedFeatures(pairs_of(4, 6)).adapters] == [nn.Conv2d] * 2


def test_partial_distance():
    """Nothing where the teacher is negative and the student below it."""
    ours, theirs = torch.tensor([-3.0, -1.0, 2.0, -1.0]), torch.tensor([-2.0, -2.0, 1.0, 1.0])
    assert partial_l2(ours, theirs).item() == pytest.approx((0 + 1 + 1 + 4) / 4)


def test_margins_are_the_means_of_what_is_negative_before_the_relu():
    student, teacher = Net(4, 4), Net(6, 8, seed=1)
    given = setting(student, teacher)
    loss = Overhaul(given)
    seen = []
    teacher.deep[2].register_forward_hook(lambda _, x, __: seen.append(x[0]))
    with torch.no_grad():
        for image in images(4):
            teacher(image)
    before = torch.cat(seen)
    want = [x[x < 0].mean() for x in before.movedim(1, 0)]
    torch.testing.assert_close(loss.margin1.flatten(), torch.stack(want))


def test_pixels():
    quarters = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)
    value = pixel(Outputs(torch.zeros(1, 2, 1, 1)), Outputs(quarters), BATCH)
    assert value.item() == pytest.approx(1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2))


def test_pairs_of_pixels():
    """Ours are at right angles and theirs alike: of four cosines two differ, by 1."""
    value = pair(row((1.0, 0.0), (0.0, 1.0)), row((2.0, 5.0)), BATCH)
    assert value.item() == pytest.approx(2 / 4)


def test_nodes_are_averages_of_patches():
    four = Outputs(LOGITS, (torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, None].repeat(1, 1, 2, 1),))
    assert pair(four, Outputs(LOGITS, (torch.ones(1, 1, 2, 2),)), BATCH, most=1).item() == pytest.approx(0)


def test_a_discriminator_that_knows_nothing_costs_its_penalty():
    loss = Holistic(2)
    for p in loss.parameters():
        nn.init.zeros_(p)
    value = loss(Outputs(LOGITS), Outputs(LOGITS + torch.tensor([[[[1.0]], [[0.0]]]])), BATCH)
    assert value.student.item() == 0 and value.opponent.item() == pytest.approx(10)


def test_the_discriminator_learns_to_tell_them_apart():
    objective = Holistic(5)
    ours, theirs = torch.zeros(2, 5, 8, 8), 4 * torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    given = batch()
    optimizer = torch.optim.Adam(objective.parameters(), 1e-3)
    values = []
    for _ in range(40):
        value = objective(Outputs(ours), Outputs(theirs), given)
        optimizer.zero_grad()
        value.opponent.backward()
        optimizer.step()
        values.append(value.student.item())
    assert values[-1] > values[0] + 0.1  # real ones are believed more


def test_relations_across_images():
    """One node an image. Ours: both images alike. Theirs: at right angles, e^10 : 1 at the temperature 0.1."""
    ours = Outputs(LOGITS, (torch.tensor([[1.0, 0.0], [1.0, 0.0]])[..., None, None],))
    theirs = Outputs(LOGITS, (torch.tensor([[1.0, 0.0], [0.0, 1.0]])[..., None, None],))
    assert across_images(ours, theirs, BATCH).item() == pytest.approx(0, abs=1e-6)  # one node: nothing to compare
    ours, theirs = row((1.0, 1.0), (0.0, 0.0)), row((1.0, 0.0), (0.0, 1.0))
    p = 1 / (1 + math.exp(-10))
    want = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    assert across_images(ours, theirs, BATCH).item() == pytest.approx(want, rel=1e-4)


def test_the_memory_holds_what_the_teacher_said_of_each_class():
    loss = Memory(pairs_of(2, 2), 0.1, pixels=40, regions=3, contrasted=4)
    before = loss.regions.clone()
    theirs = torch.tensor([[3.0, 0.0], [0.0, 2.0]])[None, :, None]  # channel 0 at the left pixel, 1 at the right
    labels = torch.tensor([[[1, 2]]])
    logits = torch.zeros(1, 5, 1, 2)
    outputs = Outputs(logits, (theirs, theirs))
    value = loss.eval()(outputs, outputs, Batch(torch.zeros(1, 3, 1, 2), labels))
    assert torch.isfinite(value)
    assert loss.regions[1, 0].tolist() == [1, 0] and loss.regions[2, 0].tolist() == [0, 1]
    assert loss.pixels[1, 0].tolist() == [1, 0] and loss.pixels_next.tolist() == [0, 1, 1, 0, 0]
    assert torch.equal(loss.regions[0], before[0])


def test_a_full_memory_forgets_the_oldest():
    loss = Memory(pairs_of(2, 2), 0.1, pixels=3, regions=3, contrasted=2)
    loss._put("pixels", 0, torch.tensor([[1.0, 0], [2, 0]]))
    loss._put("pixels", 0, torch.tensor([[3.0, 0], [4, 0]]))
    assert loss.pixels[0, :, 0].tolist() == [4, 2, 3] and loss.pixels_next[0] == 1


def test_an_auto_encoder_that_was_trained_and_stays():
    teacher = Net(6, 8, seed=1)
    loss = KnowledgeAdaptation(setting(Net(4, 4), teacher), 50.0, 1.0, 20, 1024)
    assert not any(p.requires_grad for p in loss.encoder.parameters())
    fresh = KnowledgeAdaptation(setting(Net(4, 4), teacher), 50.0, 1.0, 0, 1024)
    assert not torch.equal(loss.encoder[0].weight, fresh.encoder[0].weight)


def test_adaptation_compares_directions():
    """Code and adapted feature at right angles: their squared distance is 2 everywhere."""
    loss = KnowledgeAdaptation(setting(Net(4, 4), Net(6, 8, seed=1)), 50.0, 0.0, 0, 1024)
    outputs = Outputs(LOGITS, (torch.ones(1, 1, 1, 2),))
    loss.adapt, loss.encoder = (nn.Conv2d(1, 2, 1, bias=False) for _ in range(2))
    loss.adapt.weight.data = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    loss.encoder.weight.data = torch.tensor([0.0, 3.0]).view(2, 1, 1, 1)
    assert loss(outputs, outputs, BATCH).item() == pytest.approx(50 * 2)


class Flat(nn.Module):
    """Features that are the image's: of its three channels the second is twice the first, the third nothing."""

    stride = 1

    def forward(self, images: torch.Tensor) -> Outputs:
        x = images[:, :1]
        feature = torch.cat((x, 2 * x, torch.zeros_like(x)), 1)
        return Outputs(x.repeat(1, 5, 1, 1), (feature,))


def test_principal_components():
    """All variance lies along (1, 2, 0) / sqrt(5): five times the image's."""

    class One(nn.Module):
        stride = 1

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)

        def forward(self, x: torch.Tensor) -> Outputs:
            return Outputs(self.conv(x).repeat(1, 5, 1, 1), (self.conv(x),))

    ((mean, axes),) = principal_components(setting(One(), Flat()))
    values = torch.cat([x[:, 0].flatten() for x in images(8)])
    deviation = values.std(correction=0) * 5**0.5
    torch.testing.assert_close(mean, values.mean() * torch.tensor([1.0, 2.0, 0.0]), rtol=1e-3, atol=1e-5)
    want = torch.tensor([[1.0, 2.0, 0.0]]) / 5**0.5 / deviation
    torch.testing.assert_close(axes * axes[0, 0].sign(), want, rtol=1e-3, atol=1e-4)


def test_soft_labels_come_in_slowly():
    loss = SegDist(setting(Net(4, 4), Net(6, 8, seed=1)), attention=0.0, soft=2.0, temperature=1.0)
    quarters = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)
    kl = 1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2)
    ours = Outputs(torch.zeros(1, 2, 1, 1), (torch.zeros(1, 4, 1, 1),) * 2)
    theirs = Outputs(quarters, (torch.zeros(1, 6, 1, 1), torch.zeros(1, 8, 1, 1)))
    values = []
    for progress in (0.0, 0.5, 1.0):
        loss.progress = progress
        values.append(loss(ours, theirs, BATCH).item())
    assert values[1] - values[0] == pytest.approx(kl) and values[2] - values[0] == pytest.approx(2 * kl)


def test_deeper_layers_teach_shallower_ones():
    quarters = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)
    value = self_taught(Outputs(quarters, (), (torch.zeros(1, 2, 1, 1),)), None, BATCH)
    assert value.item() == pytest.approx(1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2))
