"""``export/python/reader.py``: a reader without edgeseg says what edgeseg says, and refuses what the page refuses."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeseg import Segmenter, pixels
from edgeseg.bundle import Bundle, seal

pytest.importorskip("onnxruntime")
image = pytest.importorskip("PIL.Image")
SCRIPT = Path(__file__).resolve().parents[2] / "export/python/reader.py"


@pytest.fixture(scope="module")
def segment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reader", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rewritten(bundle: Bundle, facts: dict[str, Any] | None = None, **contract: Any) -> Path:
    """The bundle, sealed anew with another contract or other facts."""
    written = json.loads((bundle.path / "contract.json").read_text())
    (bundle.path / "contract.json").write_text(json.dumps(written | contract))
    rest = {k: v for k, v in bundle.provenance.items() if k not in {"files", "digest", "format"}}
    seal(bundle.path, rest | (facts or {}))
    return bundle.path


def test_it_needs_no_edgeseg():
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 10))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names - {"PIL", "numpy", "onnxruntime"} <= sys.stdlib_module_names


def test_its_labels_are_edgesegs(segment, tiny_bundle):
    ours = Segmenter.load(tiny_bundle, "onnxruntime")
    _, theirs = segment.segmenter(tiny_bundle.path)
    for frame in tiny_bundle.golden().frames:
        np.testing.assert_array_equal(theirs(frame), ours(frame))
    large = np.random.default_rng(5).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    assert np.mean(theirs(large) == ours(large)) >= 0.999


def test_its_labels_are_edgesegs_on_a_trained_network(segment, exported):
    """DDRNet's int8 graph, as it was exported and as the plan rewrote it."""
    ours, (_, theirs) = Segmenter.load(exported, "onnxruntime"), segment.segmenter(exported)
    for frame in Bundle.load(exported).golden().frames:
        assert np.mean(theirs(frame) == ours(frame)) >= 0.999


def test_upsampling_by_hand(segment):
    """Class 0 is 1 everywhere; class 1 is 0, then 4: at 2x its centres are at -0.25, 0.25, 0.75 and 1.25 of the two,
    so it is 0, 1, 3, 4. The tie in the second pixel goes to the lower class."""
    logits = np.array([[[1, 1]], [[0, 4]]], np.float32)
    np.testing.assert_array_equal(segment.labels_of(logits, (1, 4)), [[0, 0, 1, 1]])
    logits = np.random.default_rng(1).standard_normal((5, 6, 8)).astype(np.float32)
    assert np.mean(segment.labels_of(logits, (48, 61)) == pixels.upsample_argmax(logits, (48, 61))) >= 0.999


def test_as_a_program(tiny_bundle, tmp_path):
    frame = tiny_bundle.golden().frames[0]
    image.fromarray(frame).save(tmp_path / "frame.png")
    files = [tmp_path / name for name in ("frame.png", "labels.png", "overlay.png")]
    # By its path, so that no edgeseg is found from the current folder.
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, tiny_bundle.path, *files], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    labels = np.asarray(image.open(files[1]))
    np.testing.assert_array_equal(labels, Segmenter.load(tiny_bundle, "onnxruntime")(frame))
    overlay = np.asarray(image.open(files[2])).astype(int)
    want = (frame.astype(int) + np.array(tiny_bundle.contract.colors)[labels]) / 2
    assert np.abs(overlay - want).max() <= 0.5


def test_a_bgr_bundle_gets_bgr_pixels(segment, tiny_bundle, tmp_path):
    """The same graphs under a contract that calls the same pixels by their other name."""
    frame = tiny_bundle.golden().frames[0]
    want = Segmenter.load(tiny_bundle, "onnxruntime")(frame)
    image.fromarray(np.ascontiguousarray(frame[..., ::-1])).save(tmp_path / "frame.png")
    files = [str(tmp_path / name) for name in ("frame.png", "labels.png", "overlay.png")]
    assert segment.main([str(rewritten(tiny_bundle, color="bgr")), *files]) == 0
    np.testing.assert_array_equal(np.asarray(image.open(files[1])), want)


def test_without_a_quantized_graph_it_runs_float(segment, tiny_bundle):
    for name in ("int8.onnx", "int8-cpu.onnx"):
        (tiny_bundle.path / name).unlink()
    _, label = segment.segmenter(rewritten(tiny_bundle))
    frame = tiny_bundle.golden().frames[1]
    want = pixels.upsample_argmax(tiny_bundle.golden().logits_float[1], tiny_bundle.contract.size_hw)
    np.testing.assert_array_equal(label(frame), want)


@pytest.mark.parametrize(
    "other",
    [
        {"fit": "letterbox"},
        {"output": "labels"},
        {"activation": "softmax"},
        {"interpolation": "nearest"},
        {"coordinates": "align_corners"},
        {"gamma": 2.2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_contract_that_it_cannot_keep_is_refused(segment, tiny_bundle, other):
    with pytest.raises(segment.Refused, match=next(iter(other))):
        segment.segmenter(rewritten(tiny_bundle, **other))


def test_what_the_page_refuses_is_refused(segment, tiny_bundle):
    path = tiny_bundle.path
    provenance = json.loads((path / "provenance.json").read_text())
    for changed, reason in (({"format": 3}, "format 3"), ({"convolutions": {}}, "changed")):
        (path / "provenance.json").write_text(json.dumps(provenance | changed))
        with pytest.raises(segment.Refused, match=reason):
            segment.segmenter(path)
    (path / "provenance.json").write_text(json.dumps(provenance))
    (path / "int8.onnx").write_bytes(b"changed")
    with pytest.raises(segment.Refused, match=r"int8\.onnx"):
        segment.segmenter(path)
    (path / "int8.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"int8\.onnx"):
        segment.segmenter(path)


def test_openvino_ir_is_refused(segment, tiny_bundle):
    for name in ("int8-cpu.onnx", "float.onnx"):
        (tiny_bundle.path / name).rename(tiny_bundle.path / Path(name).with_suffix(".xml"))
    with pytest.raises(segment.Refused, match="no ONNX graph"):
        segment.segmenter(rewritten(tiny_bundle))


def test_a_mirrored_golden_frame_is_found(segment, tiny_bundle):
    golden = tiny_bundle.golden()
    arrays = {k: getattr(golden, k) for k in ("truth", "logits_float", "logits_int8")}
    np.savez(tiny_bundle.path / "golden.npz", frames=golden.frames[:, :, ::-1], **arrays)
    with pytest.raises(segment.Refused, match="golden"):
        segment.segmenter(rewritten(tiny_bundle))


def test_bad_arguments_end_in_one_line(segment, tmp_path, capsys):
    assert segment.main([str(tmp_path), "a.png", "b.png", "c.png"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path / "provenance.json") in error and error.count("\n") == 1
    assert segment.main([]) == 2
    assert "Run: python" in capsys.readouterr().err
