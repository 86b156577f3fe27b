"""The public call and the command: a bundle that proves itself, or one sentence on why there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import CLASSES, MEAN, SIZE_HW, STD, Build, pictures

from edgeseg import Bundle, Segmenter, adopt, cli
from edgeseg.adopt import proof
from edgeseg.errors import BuildRefused, BundleError, ContractError, DataError, UserError
from edgeseg.plans import build_plan
from edgeseg.target import Target

MODEL = {"mean": MEAN, "std": STD}
FLAGS = ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]


def tail(b: Build, x: str) -> str:
    return b("ArgMax", b.resize(b("Softmax", x, axis=1)), axis=1, keepdims=0)


def last_of_equals(b: Build, x: str) -> str:
    return b("ArgMax", b.resize(x), axis=1, keepdims=0, select_last_index=1)


def test_a_bundle_comes_out(make, names, frames, tmp_path):
    adopted = adopt.adopt(make(tail), classes=names, data=frames, out=tmp_path / "bundle", **MODEL)
    bundle = Bundle.load(tmp_path / "bundle")
    assert adopted.bundle.digest == bundle.digest
    assert (bundle.forms, bundle.contract.activation, bundle.contract.classes) == (("float",), "softmax", CLASSES)
    assert adopted.cut == ("Softmax", "Resize x8 linear", "ArgMax")
    assert (adopted.proof.agreement, adopted.proof.frames) == (1.0, 8)
    assert "cut Softmax, Resize x8 linear, ArgMax; labels equal on 100.00% of 8 frames" in adopted.sentence
    assert bundle.provenance["source"]["file"] == "model.onnx"
    assert bundle.provenance["convolutions"] == {"int8": [], "float": []}
    golden = bundle.golden()
    assert golden.frames.shape == (6, *SIZE_HW, 3)
    assert golden.logits_float.shape == (6, *bundle.contract.output_shape[1:])
    assert np.all(golden.truth == 255)


@pytest.mark.parametrize("form", ["onnx", "ir"])
@pytest.mark.parametrize("ending", [tail, last_of_equals], ids=["cut", "left"])
def test_the_robot_runs_it(ending, form, make, names, frames, tmp_path):
    """From frame to labels on each engine, as the original labels them."""
    file = make(ending)
    if form == "ir":
        ov = pytest.importorskip("openvino")
        ov.save_model(ov.Core().read_model(file), file.with_suffix(".xml"), compress_to_fp16=False)
        file = file.with_suffix(".xml")
    bundle = adopt.adopt(file, classes=names, data=frames, out=tmp_path / "bundle", **MODEL).bundle
    from edgeseg.backends import onnxruntime

    original = onnxruntime.plain(file.with_suffix(".onnx"))
    for target in ("openvino", "onnxruntime"):
        pytest.importorskip(target)
        if (form, target) == ("ir", "onnxruntime"):
            with pytest.raises(BundleError, match="use --target openvino"):
                Segmenter.load(bundle, target, precision="fp32")
            continue
        segmenter = Segmenter.load(bundle, target, precision="fp32")
        for frame in pictures(2):
            given = (frame / 255 - np.array(MEAN)) / np.array(STD)
            want = original(given.transpose(2, 0, 1)[None].astype(np.float32))[0]
            assert np.mean(segmenter(frame) == want) >= 0.999


def test_the_backends_rewrites_leave_a_foreign_graph_alone(names, frames, tmp_path):
    """A max-pool over one pixel that thins out, as in some residual networks, is none of ours."""
    b = Build()
    thinned = b("MaxPool", b("Relu", b.body("x", (2, 2), k=8)), kernel_shape=[1, 1], strides=[2, 2])
    weight = np.random.default_rng(3).normal(size=(5, 8, 1, 1))
    logits = b("Conv", thinned, b.constant(weight))
    file = b.save(tmp_path / "m.onnx", (np.float32, (1, 3, *SIZE_HW)), [b.resize(logits)])
    bundle = adopt.adopt(file, classes=names, data=frames, out=tmp_path / "b", **MODEL).bundle
    for target in ("openvino", "onnxruntime"):
        pytest.importorskip(target)
        assert build_plan(bundle, Target(backend=target, precision="fp32")).is_dir()


def test_labels_of_the_data_are_the_truth(make, drawn, tmp_path):
    """And its classes are those of the model: other labels are left alone."""
    for classes, known in ((("sky", "road", "box"), True), (("a", "b", "c"), False)):
        b = Build()
        out = b("ArgMax", b.resize(b.body("x", k=3, seed=2)), axis=1, keepdims=0)
        file = b.save(tmp_path / "three.onnx", (np.float32, (1, 3, 128, 192)), [out])
        bundle = adopt.adopt(file, classes=classes, data=drawn, out=tmp_path / "b", overwrite=True, **MODEL).bundle
        assert bool(np.any(bundle.golden().truth < 3)) == known


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_frames_reach_the_model_as_it_wants_them(fit, color, make, names, tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "wide").mkdir()
    for i, frame in enumerate(pictures(8, (40, 120))):
        image.fromarray(frame).save(tmp_path / "wide" / f"{i}.png")
    data = f"images:{tmp_path / 'wide'}"
    bundle = adopt.adopt(make(tail), classes=names, data=data, out=tmp_path / "b", fit=fit, color=color, **MODEL).bundle
    assert (bundle.contract.fit, bundle.contract.color) == (fit, color)
    borders = bundle.golden().frames[:, 0, 0]
    assert bool(np.all(borders == bundle.contract.border)) == (fit == "letterbox")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": None}, UserError, "real frames are needed"),
        ({"classes": "nowhere.txt"}, UserError, "one a line"),
        ({"classes": CLASSES[:4]}, UserError, "tells 5 classes apart, --classes lists 4"),
        ({"mean": None, "std": None}, UserError, "--mean 0,0,0 --std 1,1,1"),
        ({"model": "model.pt"}, UserError, "neither ONNX"),
        ({"model": "nowhere.onnx"}, UserError, "does not exist"),
        ({"classes": ["a"] * 5}, ContractError, "must be unique"),
    ],
)
def test_what_the_caller_can_put_right(changes, error, message, make, frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"model": make(tail), "classes": CLASSES, "data": frames, "out": "b", **MODEL, **changes}
    with pytest.raises(error, match=message):
        adopt.adopt(given.pop("model"), **given)
    assert not Path("b").exists()


def test_labels_beyond_the_classes_are_said(make, frames, tmp_path):
    """Where nothing in sight says how many classes there are, the frames do."""
    shifted = lambda b, x: b("Add", tail(b, x), b.ints(1))  # noqa: E731
    with pytest.raises(UserError, match="labels from 1 to 5, --classes lists 5"):
        adopt.adopt(make(shifted), classes=CLASSES, data=frames, out=tmp_path / "b", **MODEL)


def test_a_file_that_is_no_model(tmp_path, frames):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        adopt.adopt(tmp_path / "m.onnx", classes=CLASSES, data=frames, out=tmp_path / "b")


def test_a_bundle_is_not_overwritten_unasked(make, frames, tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(BundleError, match="--overwrite"):
        adopt.adopt(make(tail), classes=CLASSES, data=frames, out=tmp_path / "b", **MODEL)


def test_a_bundle_that_labels_otherwise_is_refused(make, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "understood", lambda output, found: np.zeros(SIZE_HW, np.uint8))
    with pytest.raises(BuildRefused, match=r"as model\.onnx does, less than 99\.99%"):
        adopt.adopt(make(tail), classes=CLASSES, data=frames, out=tmp_path / "b", **MODEL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "model.onnx"]


def test_frames_that_would_reveal_nothing_are_refused(make, tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "grey").mkdir()
    image.fromarray(np.full((*SIZE_HW, 3), 99, np.uint8)).save(tmp_path / "grey" / "0.png")
    with pytest.raises(DataError, match="would not reveal"):
        adopt.adopt(make(tail), classes=CLASSES, data=f"images:{tmp_path / 'grey'}", out=tmp_path / "b", **MODEL)


def test_classes_from_toml(tmp_path):
    file = tmp_path / "classes.toml"
    file.write_text('names = ["road", "sky"]\ncolors = [[1, 2, 3], [4, 5, 6]]\n')
    assert adopt.read_classes(file) == (("road", "sky"), ((1, 2, 3), (4, 5, 6)))
    file.write_text("names = 3\n")
    with pytest.raises(UserError, match="lists no classes"):
        adopt.read_classes(file)


# The command.


def test_the_command_prints_one_document(make, names, frames, tmp_path, capsys):
    out = tmp_path / "b"
    words = ["adopt", make(tail), "--classes", names, "--data", frames, "--out", out, *FLAGS, "--json"]
    assert cli.main([str(w) for w in words]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["forms"], document["agreement"], document["int8"]) == (["float"], 1.0, None)
    assert document["cut"] == ["Softmax", "Resize x8 linear", "ArgMax"]
    assert f"Next: edgeseg bench {out} --target openvino --precision fp32" in printed.err


@pytest.mark.parametrize("flag", [["--mean", "1,2"], ["--std", "x"], ["--size", "5"], ["--device", "cuda"]])
def test_flags_that_make_no_sense(flag, make, names, frames, tmp_path, capsys):
    words = ["adopt", make(tail), "--classes", names, "--data", frames, "--out", tmp_path / "b", *flag]
    assert cli.main([str(w) for w in words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_torch_is_not_needed(make, names, frames, tmp_path):
    words = ["adopt", make(tail), "--classes", names, "--data", frames, "--out", tmp_path / "b", *FLAGS]
    code = f"""
import sys
for name in ("torch", "torchvision", "onnxscript", "safetensors", "accelerate"):
    sys.modules[name] = None
from edgeseg.cli import main
assert main({[str(w) for w in words]}) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labels equal on 100.00% of 8 frames" in done.stdout
