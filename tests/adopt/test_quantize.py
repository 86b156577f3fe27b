"""int8 of an adopted network is kept only where it is as right as float, and faster."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
from models import CLASSES, MEAN, STD, Build, pictures

from edgeseg import Segmenter, adopt, cli
from edgeseg.adopt import Limits, proof
from edgeseg.adopt.quantize import refusal
from edgeseg.errors import BackendMissing
from edgeseg.plans import build_plan
from edgeseg.target import Target

MODEL = {"mean": MEAN, "std": STD}


def tail(b: Build, x: str) -> str:
    return b("ArgMax", b.resize(b("Softmax", x, axis=1)), axis=1, keepdims=0)


@pytest.fixture
def timed(monkeypatch):
    """``timed(2, 1)``: the second of two is said to be twice as fast; on so small a network chance would decide."""
    pytest.importorskip("nncf")
    pytest.importorskip("openvino")
    return lambda first, second: monkeypatch.setattr(proof, "in_turns", lambda subjects, frames: [first, second])


def test_refusals_by_hand():
    limits = Limits(max_drop=0.005, min_agreement=0.97)
    assert refusal(0.98, None, 2.0, 1.0, limits) is None
    assert refusal(0.90, (0.600, 0.596), 2.0, 1.0, limits) is None  # with labels, agreement is not asked
    assert "drops by 0.60%, at most 0.50%" in refusal(0.99, (0.600, 0.594), 2.0, 1.0, limits)
    assert "96.00% of the pixels, at least 97.00% must" in refusal(0.96, None, 2.0, 1.0, limits)
    assert refusal(0.96, None, 1.0, 2.0, limits).endswith("and it is no faster (2.0 ms against 1.0 ms)")


@pytest.mark.parametrize("form", ["onnx", "ir"])
def test_int8_is_kept_and_runs(form, make, frames, tmp_path, timed):
    timed(2.0, 1.0)
    file = make(tail)
    if form == "ir":
        import openvino as ov

        ov.save_model(ov.Core().read_model(file), file.with_suffix(".xml"))
        file = file.with_suffix(".xml")
    adopted = adopt.adopt(
        file, classes=CLASSES, data=frames, out=tmp_path / "b", quantize=Limits(min_agreement=0.9), **MODEL
    )
    bundle, found = adopted.bundle, adopted.int8
    assert (bundle.forms, found.refused) == (("float", "int8-cpu"), None)
    assert 0.9 < found.agreement < 1
    golden = bundle.golden()
    assert not np.array_equal(golden.logits_int8, golden.logits_float)
    int8 = Segmenter.load(bundle, "openvino")
    assert {x.precision for x in int8.engine.layers() if x.op == "conv"} == {"int8"}
    assert int8(pictures(1)[0]).shape == pictures(1)[0].shape[:2]
    if form == "onnx":
        build_plan(bundle, Target(backend="onnxruntime", min_agreement=0.99))


def test_a_graph_of_an_old_opset_is_quantized_per_channel(make, frames, tmp_path, timed):
    timed(2.0, 1.0)
    old = lambda b, x: b("Resize", x, b.constant(()), b.constant([1, 1, 8, 8]), mode="linear")  # noqa: E731
    file = make(old, opset=11)
    bundle = adopt.adopt(
        file, classes=CLASSES, data=frames, out=tmp_path / "b", quantize=Limits(min_agreement=0.9), **MODEL
    ).bundle
    assert bundle.forms == ("float", "int8-cpu")


@pytest.mark.parametrize(
    ("times", "flags", "why"),
    [((1.0, 2.0), "--min-agreement 0.5", "no faster"), ((2.0, 1.0), "--min-agreement 1", "agrees with float")],
)
def test_int8_that_is_not_worth_having_is_left_out(times, flags, why, make, names, frames, tmp_path, timed, capsys):
    timed(*times)
    words = ["adopt", make(tail), "--classes", names, "--data", frames, "--out", tmp_path / "b"]
    given = f"--mean {','.join(map(str, MEAN))} --std {','.join(map(str, STD))} --quantize {flags} --json".split()
    assert cli.main([*map(str, words), *given]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["forms"] == ["float"]
    assert why in document["int8"]["refused"]
    assert not list((tmp_path / "b").glob("int8*"))


def test_labels_decide_where_there_are_any(drawn, tmp_path, timed):
    timed(2.0, 1.0)
    b = Build()
    out = b("ArgMax", b.resize(b.body("x", k=3, seed=2)), axis=1, keepdims=0)
    file = b.save(tmp_path / "three.onnx", (np.float32, (1, 3, 128, 192)), [out])
    found = adopt.adopt(
        file, classes=("sky", "road", "box"), data=drawn, out=tmp_path / "b", quantize=Limits(max_drop=1), **MODEL
    ).int8
    assert 0 <= found.miou_int8 <= 1
    assert "mIoU" in found.sentence


def test_without_nncf_the_pip_line_is_said(make, frames, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "nncf":
            raise ModuleNotFoundError("No module named 'nncf'", name="nncf")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BackendMissing, match=r"pip install 'edgeseg\[adopt\]'"):
        adopt.adopt(make(tail), classes=CLASSES, data=frames, out=tmp_path / "b", quantize=Limits(), **MODEL)
