"""A network that a function makes."""

import sys

import pytest
import torch

from edgeseg.errors import NetworkError
from edgeseg.foreign import IMAGENET_MEAN, open_foreign

MODULE = """
from torch import nn
def plain(): return nn.Conv2d(3, 5, 4, 4)
def number(): return 3
class Labelled(nn.Conv2d):
    classes = ["a", "b"]
    mean = std = (0.5, 0.5, 0.5)
    def __init__(self): super().__init__(3, 2, 1)
    def forward(self, x): return {"out": super().forward(x)}
class Wrong(nn.Module):
    def forward(self, x): return [x]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "of_ones_own.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "of_ones_own", raising=False)


def test_a_plain_module_is_a_teacher():
    found, identity = open_foreign("python:of_ones_own:plain")
    assert (found.classes, found.mean, found.network.stride) == ((), IMAGENET_MEAN, 4)
    assert found.network(torch.zeros(2, 3, 50, 70)).logits.shape == (2, 5, 13, 18)
    assert identity["path"] == "python:of_ones_own:plain" and len(identity["weights_sha256"]) == 64


def test_what_the_module_says_of_itself_is_used():
    found, _ = open_foreign("python:of_ones_own:Labelled")
    assert (found.classes, found.mean, found.network.stride) == (("a", "b"), (0.5, 0.5, 0.5), 1)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("nowhere:f", "no module 'nowhere'"),
        ("nowhere.inside:f", "no module 'nowhere.inside'"),
        ("of_ones_own:none", "has no function 'none'"),
        ("of_ones_own:number", "returned int"),
        ("of_ones_own:Wrong", "expected logits .*got list"),
    ],
)
def test_mistakes_are_told(where, says):
    with pytest.raises(NetworkError, match=says):
        open_foreign(f"python:{where}")
