"""The null backend: everything but an answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgeseg import backends
from edgeseg.bundle import Bundle, seal
from edgeseg.contract import Contract
from edgeseg.errors import PlanError
from edgeseg.measure import bench, judge
from edgeseg.segmenter import Segmenter
from edgeseg.target import Target

CONTRACT = Contract(size_hw=(12, 20), classes=("a", "b", "c"), colors=((0, 0, 0), (1, 1, 1), (2, 2, 2)), stride=8)
INT8 = Target(backend="null")


@pytest.fixture
def bundle(tmp_path):
    """A float bundle whose golden frames are all of class 1."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "contract.json").write_text(CONTRACT.to_json())
    (folder / "float.onnx").write_text("graph")
    logits = np.zeros((2, *CONTRACT.output_shape[1:]), np.float32)
    logits[:, 1] = 1
    frames, truth = np.zeros((2, 12, 20, 3), np.uint8), np.ones((2, 12, 20), np.uint8)
    np.savez(folder / "golden.npz", frames=frames, truth=truth, logits_float=logits, logits_int8=logits)
    seal(folder, {"convolutions": {"float": []}})
    return Bundle.load(folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_logits_have_the_contracts_shape(bundle, precision):
    seg = Segmenter.load(bundle, "null", precision=precision)
    logits = seg.infer(seg.prepare(np.zeros((12, 20, 3), np.uint8)))
    assert logits.shape == (1, 3, 2, 3) and logits.dtype == np.float32 and not logits.any()
    assert seg(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40)
    assert seg.engine.layers() == []


def test_it_is_always_invalid(bundle):
    m = bench(bundle, target=INT8, frames=300, warmup=1, pause_s=0)
    verdict = judge(m)
    assert verdict.status == "INVALID" and "wrong answers" in verdict.why and m.golden_agreement == 0


def test_a_plan_for_another_library_is_refused(bundle, tmp_path):
    plan = backends.get("null").build(bundle, INT8, tmp_path / "plan")
    fields = json.loads((plan / "plan.json").read_text())
    (plan / "plan.json").write_text(json.dumps({**fields, "library": "null 2"}))
    with pytest.raises(PlanError, match="library 'null 2'"):
        backends.get("null").load(plan, INT8)
