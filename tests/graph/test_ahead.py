"""What an export does for a GPU that is not here: graphs, plans built ahead, a script, and one line on what remains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import onnx
import pytest

from edgeseg import backends, pipeline
from edgeseg.bundle import GRAPHS, Bundle, seal
from edgeseg.errors import BackendMissing, DeviceMissing
from edgeseg.graph import ahead, onnx_file
from edgeseg.graph.half import leave_depthwise_float, to_half
from edgeseg.plans import build_ahead
from edgeseg.target import Target


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(ahead, "gpu_here", lambda: None)


@pytest.fixture(scope="module")
def exported_for_trt(runs, tmp_path_factory):
    """``qat``, exported for TensorRT on a machine without one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "gpu_here", lambda: None)
        out = tmp_path_factory.mktemp("for_trt") / "bundle"
        return pipeline.export(runs / "qat", target=["trt", "onnxruntime"], out=out).path


@pytest.fixture
def bundle(exported_for_trt, tmp_path):
    return Bundle.load(shutil.copytree(exported_for_trt, tmp_path / "bundle"))


def test_an_export_for_trt_leaves_a_script_and_the_graphs(bundle):
    assert bundle.forms == ("float", "int8", "int8-cpu", "fp16", "int8-fp16")
    assert sorted(p.name for p in (bundle.path / "plans").iterdir()) == ["onnxruntime-fp32", "onnxruntime-int8", "trt"]
    (line,) = ahead.remains(bundle.path, ["trt", "onnxruntime"])
    script = bundle.path / "plans/trt/build_on_device.sh"
    assert line == f"on the device, edgeseg build {bundle.path} --target trt, or bash {script}"
    assert os.access(script, os.X_OK) and "@" not in script.read_text().replace("[@]", "")


def test_nothing_remains_of_what_was_verified(bundle):
    plan = bundle.path / "plans/trt-int8-sm87"
    plan.mkdir()
    (plan / "plan.json").write_text("{}")
    assert "trt-int8-sm87 are built and await" in ahead.remains(bundle.path, ["trt"])[0]
    (plan / "verified.json").write_text("{}")
    assert ahead.remains(bundle.path, ["trt"]) == []
    assert len(ahead.remains(bundle.path, ["trt-rtx"])) == 1


def test_what_needs_the_library_says_so_before_any_work(runs, tmp_path, no_gpu, monkeypatch):
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    for target, devices in (("trt-rtx", ()), ("trt", ("sm86",))):
        with pytest.raises(BackendMissing, match=r"edgeseg\[tensorrt-rtx\]"):
            pipeline.export(runs / "qat", target=[target], out=tmp_path / "b", devices=devices)
    assert not list(tmp_path.iterdir())


@pytest.mark.tensorrt
def test_plans_are_built_for_what_was_asked(runs, tmp_path, no_gpu):
    pytest.importorskip("tensorrt_rtx_bindings")
    bundle = pipeline.export(runs / "qat", target=["trt-rtx"], out=tmp_path / "bundle", devices=["sm86", "sm120"])
    names = [f"trt-rtx-{p}-{sm}" for p in ("fp16", "fp32", "int8") for sm in ("sm120", "sm86")]
    assert sorted(p.name for p in (bundle.path / "plans").iterdir()) == names
    (line,) = ahead.remains(bundle.path, ["trt-rtx"])
    assert line.endswith(f"({', '.join(names)} are built and await their GPU)")
    with pytest.raises((DeviceMissing, BackendMissing)):
        backends.get("trt-rtx").load(bundle.path / "plans/trt-rtx-int8-sm86", Target(backend="trt-rtx"))


@pytest.mark.tensorrt
@pytest.mark.parametrize("student", ["ddrnet-23-slim", "fast-scnn"])
def test_published_students_run_in_int8_on_two_architectures(student, published):
    """Layer information of real TensorRT-RTX builds: each convolution computes in the type that was asked for."""
    pytest.importorskip("tensorrt_rtx_bindings")
    bundle = published[student]
    names = bundle.provenance["convolutions"]
    for device in ("sm86", "sm120"):
        for precision, want in (("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8")):
            plan = build_ahead(bundle, Target(backend="trt-rtx", precision=precision), device)
            layers = backends.get("trt-rtx").layers(plan)
            found = {layer.name: layer.precision for layer in layers if layer.op == "conv"}
            assert set(found.values()) == {want}, precision
            if precision == "int8":
                assert set(found) == {*names["int8"], *names["float"]}


@pytest.mark.tensorrt
def test_depthwise_left_float_makes_a_smaller_plan(published, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings")
    target = Target(backend="trt-rtx")
    whole = Bundle.load(shutil.copytree(published["fast-scnn"].path, tmp_path / "bundle"))
    before = (build_ahead(whole, target, "sm86") / "model.plan").stat().st_size
    model, left = leave_depthwise_float(onnx.load(whole.graph("int8")))
    onnx_file.save(to_half(model), whole.path / GRAPHS["int8-fp16"])
    seal(whole.path, {"convolutions": {**whole.provenance["convolutions"], "depthwise": left}})
    plan = build_ahead(Bundle.load(whole.path), target, "sm86")
    layers = backends.get("trt-rtx").layers(plan)
    assert {x.name for x in layers if x.op == "conv" and x.precision != "int8"} == set(left) and len(left) == 14
    # The fewer pixels, the less there is to win: at 360x480 7 MB instead of 18.
    assert (plan / "model.plan").stat().st_size < 0.85 * before


TRTEXEC = """#!/usr/bin/env bash
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] [b9] # $0 $*"
[ "$1" = --help ] && exit 0
echo "$@" >> "$(dirname "$0")/asked"
for word in "$@"; do case $word in --saveEngine=*) printf engine > "${{word#*=}}" ;; esac; done
echo "[I] Compute Capability: 8.7"
"""


@pytest.mark.parametrize(
    ("number", "version", "precision", "want"),
    [
        ("8602", "8.6.2", "int8", "int8.onnx --int8 --fp16 "),
        ("8602", "8.6.2", "fp16", "float.onnx --fp16 "),
        ("100300", "10.3.0", "int8", "int8-fp16.onnx --stronglyTyped "),
        ("101303", "10.13.3", "fp32", "float.onnx --stronglyTyped --noTF32 "),
        ("110401", "11.4.1", "fp16", "fp16.onnx --profilingVerbosity"),
    ],
)
def test_the_script_builds_with_trtexec_alone(bundle, tmp_path, number, version, precision, want):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "trtexec").write_text(TRTEXEC.format(number=number))
    (tools / "trtexec").chmod(0o755)
    done = run_script(bundle, precision, f"{tools}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert want in (tools / "asked").read_text()
    plan = bundle.path / f"plans/trt-{precision}-sm87"
    assert (plan / "model.plan").read_text() == "engine"
    assert json.loads((plan / "plan.json").read_text()) == {
        "backend": "trt",
        "bundle_digest": bundle.digest,
        "device": "sm87",
        "library": f"tensorrt {version}",
        "machine": backends.machine(),
        "precision": precision,
    }
    assert not list((bundle.path / "plans").glob(".building*"))


def test_the_script_prefers_edgeseg(bundle, tmp_path):
    (tmp_path / "edgeseg").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "edgeseg").chmod(0o755)
    done = run_script(bundle, "fp16", f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout == f"build {bundle.path} --target trt --precision fp16\n"


def test_the_script_says_what_is_missing(bundle):
    done = run_script(bundle, "int8", "/usr/bin:/bin")
    assert done.returncode == 2 and "neither edgeseg nor trtexec is here" in done.stderr
    done = run_script(bundle, "int4", "/usr/bin:/bin")
    assert done.returncode == 2 and "expected int8, fp16 or fp32, got 'int4'" in done.stderr


def run_script(bundle, precision, path):
    script = bundle.path / "plans/trt/build_on_device.sh"
    return subprocess.run(["bash", script, precision], capture_output=True, text=True, env={"PATH": path}, cwd="/")
