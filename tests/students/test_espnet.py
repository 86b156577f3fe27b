"""ESPNet against the figures of its paper, and against a reading of the paper that shares none of its code."""

import pytest
import torch
import torch.nn.functional as F

from edgeseg.errors import NetworkError
from edgeseg.networks import macs, parameters
from edgeseg.students.espnet import ESP, espnet, espnet_c, load_published


def test_parameters_as_in_the_paper():
    """The authors count 20 outputs on Cityscapes: 19 classes and one for the rest."""
    assert [parameters(espnet(20, alpha3=q)) for q in (3, 5, 8)] == [202_649, 267_417, 364_569]
    assert parameters(espnet_c(20)) == 349_449


def test_multiply_adds():
    assert round(macs(espnet(20), (512, 1024)) / 1e9, 2) == 4.71
    assert round(macs(espnet_c(20), (512, 1024)) / 1e9, 2) == 3.47


def published(k: int, p: int, q: int, *, image_again: bool = False) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of the published ones, its values drawn."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name, c, *, act=".act"):
        shapes.update({f"{name}.{n}": (c,) for n in ("weight", "bias", "running_mean", "running_var")})
        if act:
            shapes[name.removesuffix(".bn") + f"{act}.weight"] = (c,)

    def block(name, c_in, c, kernel, bn):
        n = c // 5
        shapes[f"{name}.c1.conv.weight"] = (n, c_in, kernel, kernel)
        shapes[f"{name}.d1.conv.weight"] = (c - 4 * n, n, 3, 3)
        shapes.update({f"{name}.d{d}.conv.weight": (n, n, 3, 3) for d in (2, 4, 8, 16)})
        norm(f"{name}.{bn}", c)

    shapes["encoder.level1.conv.weight"] = (16, 3, 3, 3)
    for name, c in (("level1", 16), ("b1", 19), ("b2", 131), ("b3", 256)):
        norm(f"encoder.{name}.bn", c)
    for level, c_in, c, depth in ((2, 19, 64, p), (3, 131, 128, q)):
        block(f"encoder.level{level}_0", c_in, c, 3, "bn")
        for i in range(depth):
            block(f"encoder.level{level}.{i}", c, c, 1, "bn.bn")
    shapes["encoder.classifier.conv.weight"] = (k, 256, 1, 1)
    shapes["level3_C.conv.weight"] = (k, 131, 1, 1)
    norm("br", k, act="")
    shapes["conv.conv.weight"] = (k, k + (19 if image_again else 16), 3, 3)
    norm("conv.bn", k)
    norm("combine_l2_l3.0.bn", 2 * k)
    block("combine_l2_l3.1", 2 * k, k, 1, "bn.bn")
    norm("up_l2.1.bn", k)
    shapes.update({name: (k, k, 2, 2) for name in ("up_l3.0.weight", "up_l2.0.weight", "classifier.weight")})
    g = torch.Generator().manual_seed(0)
    return {
        n: torch.rand(s, generator=g) + 0.5
        if len(s) == 1
        else torch.randn(s, generator=g) * (s[1] * s[2] * s[3]) ** -0.5
        for n, s in shapes.items()
    }


def reference(s: dict[str, torch.Tensor], x: torch.Tensor, depth2: int, depth3: int) -> torch.Tensor:
    """ESPNet as its figures draw it, of functions alone."""

    def norm(x, name):
        return F.batch_norm(x, *(s[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")), eps=1e-3)

    def prelu(x, name):
        return F.prelu(norm(x, name), s[name.removesuffix(".bn") + ".act.weight"])

    def conv(x, name, stride=1, dilation=1):
        w = s[f"{name}.conv.weight"]
        return F.conv2d(x, w, None, stride, w.shape[-1] // 2 * dilation, dilation)

    def block(x, name, bn, stride=1, residual=False):
        reduced = conv(x, f"{name}.c1", stride)
        maps = [conv(reduced, f"{name}.d{d}", 1, d) for d in (1, 2, 4, 8, 16)]
        for i in (2, 3, 4):
            maps[i] = maps[i] + maps[i - 1]
        merged = torch.cat(maps, 1)
        return prelu(merged + x if residual else merged, f"{name}.{bn}")

    def up(x, name):
        return F.conv_transpose2d(x, s[f"{name}.weight"], stride=2)

    half = F.avg_pool2d(x, 3, 2, 1, count_include_pad=True)
    first = prelu(conv(x, "encoder.level1", 2), "encoder.level1.bn")
    x1 = prelu(torch.cat([first, half], 1), "encoder.b1.bn")
    down = y = block(x1, "encoder.level2_0", "bn", 2)
    for i in range(depth2):
        y = block(y, f"encoder.level2.{i}", "bn.bn", residual=True)
    x2 = prelu(torch.cat([y, down, F.avg_pool2d(half, 3, 2, 1, count_include_pad=True)], 1), "encoder.b2.bn")
    down = y = block(x2, "encoder.level3_0", "bn", 2)
    for i in range(depth3):
        y = block(y, f"encoder.level3.{i}", "bn.bn", residual=True)
    x3 = prelu(torch.cat([down, y], 1), "encoder.b3.bn")
    y = up(norm(conv(x3, "encoder.classifier"), "br"), "up_l3.0")
    y = prelu(torch.cat([conv(x2, "level3_C"), y], 1), "combine_l2_l3.0.bn")
    y = prelu(up(block(y, "combine_l2_l3.1", "bn.bn"), "up_l2.0"), "up_l2.1.bn")
    again = s["conv.conv.weight"].shape[1] - len(s["br.weight"]) == 19
    return up(prelu(conv(torch.cat([y, x1 if again else first], 1), "conv"), "conv.bn"), "classifier")


@pytest.mark.parametrize(("k", "p", "q", "again"), [(20, 2, 3, False), (12, 1, 2, True)])
def test_a_published_state_dict_says_what_the_paper_says(k, p, q, again):
    state, x = published(k, p, q, image_again=again), torch.randn(1, 3, 48, 64)
    net = load_published(state)
    with torch.no_grad():
        ours, theirs = net(x).logits, reference(state, x, p, q)
    assert ours.shape == (1, k, 48, 64) and net.stride == 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    assert (len(net.encoder.level2), len(net.encoder.level3), net.image_again) == (p, q, again)


def test_padding_counts_only_where_the_weights_were_trained_so():
    state, x = published(5, 1, 1), torch.ones(1, 3, 16, 16)
    assert load_published(state).encoder.shrink(x)[0, 0, 0, 0] == pytest.approx(4 / 9)
    assert espnet(5).encoder.shrink(x)[0, 0, 0, 0] == 1


@pytest.mark.parametrize(
    ("change", "want"),
    [
        (
            lambda s: s.pop("conv.conv.weight"),
            r"published ESPNet with its decoder, and 'conv.conv.weight' is not in it",
        ),
        (lambda s: s.pop("br.bias"), r"no ESPNet of 5 classes, alpha2 = 1, alpha3 = 2: .*Missing key.*br.bias"),
        (lambda s: s.update(more=torch.zeros(1)), r"Unexpected key.*more"),
    ],
)
def test_another_state_dict_is_told_what_is_missing(change, want):
    state = published(5, 1, 2)
    change(state)
    with pytest.raises(NetworkError, match=f"(?s){want}"):
        load_published(state)


def test_sums_grow_outwards():
    """What the last fifth of a block sees: all dilations from 2 to 16; the first fifth, only the nearest."""
    block = ESP(8, 40).eval()
    for conv in block.modules():
        if isinstance(conv, torch.nn.Conv2d):
            torch.nn.init.constant_(conv.weight, 1.0)
    x = torch.zeros(1, 8, 65, 65)
    x[..., 32, 32] = 1
    rows = [block(x)[0, c, :, 32].nonzero().flatten() - 32 for c in (0, 8, 16, 24, 32)]
    assert [r.abs().max().item() for r in rows] == [1, 2, 4, 8, 16]
    assert rows[-1].tolist() == [-16, -8, -4, -2, 0, 2, 4, 8, 16]


def test_depths_must_be_positive():
    with pytest.raises(NetworkError, match="alpha2 and alpha3 must be 1 or more, got 0 and 8"):
        espnet(5, alpha2=0)
