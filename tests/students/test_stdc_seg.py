"""STDC-Seg against the figures of its paper and of the authors' network."""

import pytest
import torch
from torch import nn

from edgeseg.networks import macs, parameters
from edgeseg.students.stdc_seg import Fusion, Refinement, stdc1_seg, stdc2_seg


@pytest.fixture(scope="module", params=[stdc1_seg, stdc2_seg])
def published(request):
    with torch.device("meta"):
        return request.param, request.param(19)


def test_the_encoder_is_the_papers_classifier(published):
    """The paper counts the classifier: a 1x1 convolution, its normalisation, and two more matrices."""
    make, net = published
    last, matrix, classes = 1024 * 1024, 1024 * 1024, 1024 * 1000
    total = sum(p.numel() for p in net.stages.parameters()) + last + 2 * 1024 + matrix + 2 * 1024 + classes
    assert total == {stdc1_seg: 8_443_552, stdc2_seg: 12_474_016}[make]  # 8.44 M and 12.47 M
    cost = macs(nn.Sequential(*net.stages), (224, 224)) + last * 7 * 7 + matrix + classes
    assert round(cost / 1e6) == {stdc1_seg: 806, stdc2_seg: 1437}[make]  # 813 and 1,446 with normalisations and ReLUs


def test_parameters_and_multiply_adds_as_in_the_authors_network(published):
    make, net = published
    normalised = 2 * (64 + 256)  # theirs are not, in the gate of the fusion
    assert parameters(net) - normalised - 19 == {stdc1_seg: 8_275_104, stdc2_seg: 12_305_568}[make]
    assert sum(p.numel() for p in net.parameters()) - parameters(net) == 150_182
    cost = [round(macs(net, size) / 1e9, 2) for size in ((512, 1024), (768, 1536))]
    assert cost == {stdc1_seg: [16.86, 37.94], stdc2_seg: [23.46, 52.78]}[make]


def test_features_are_the_encoders_and_their_fusion():
    net = stdc1_seg(5, width=0.25).train()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 90, 122))
    assert [tuple(f.shape[1:]) for f in out.features] == [(64, 12, 16), (128, 6, 8), (256, 3, 4), (64, 12, 16)]
    assert [tuple(a.shape[1:]) for a in out.auxiliary] == [(5, 12, 16), (5, 6, 8)]


@pytest.mark.parametrize(("bias", "open_"), [(-1e4, 0.0), (0.0, 0.5), (1e4, 1.0)])
def test_attention_gates_channels(bias, open_):
    torch.manual_seed(0)
    refine, fuse = Refinement(8, 16).eval(), Fusion(16, 16).eval()
    for normalised in (refine.gate[1][1], fuse.gate[2][1]):
        nn.init.zeros_(normalised.weight)
        nn.init.constant_(normalised.bias, bias)
    x = torch.rand(1, 8, 6, 9)
    with torch.no_grad():
        torch.testing.assert_close(refine(x), open_ * refine.conv(x))
        torch.testing.assert_close(fuse(x, x), (1 + open_) * fuse.mix(torch.cat((x, x), 1)))
