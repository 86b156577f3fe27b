"""A bundle is written whole, verified, and refused where an engine says something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeseg import golden, pipeline
from edgeseg.bundle import GRAPHS, Bundle, seal
from edgeseg.checkpoint import Run
from edgeseg.data import open_dataset
from edgeseg.errors import BuildRefused, BundleError, DataError
from edgeseg.graph import export
from edgeseg.segmenter import Segmenter
from edgeseg.target import Target


def test_a_bundle_holds_what_it_promises(exported, runs):
    bundle = Bundle.load(exported)
    assert bundle.forms == ("float", "int8", "int8-cpu")
    assert bundle.contract.classes == ("sky", "road", "box")
    assert sorted(p.name for p in (exported / "plans").iterdir()) == [
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "openvino-fp32",
        "openvino-int8",
    ]
    assert bundle.provenance["run"] | {"path": ""} == {
        **Run.load(runs / "qat").identity(),
        "path": "",
        "verb": "qat",
        "network": {"name": "ddrnet-23-slim", "num_classes": 3, "width": 0.25},
    }


@pytest.mark.parametrize("plan", ["onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8"])
def test_engines_agree_with_the_network_on_real_frames(exported, plan):
    parity = json.loads((exported / "plans" / plan / "parity.json").read_text())
    assert parity["agreement"] >= 0.9999 and parity["frames"] == 6
    assert abs(parity["miou_engine"] - parity["miou_network"]) <= 0.001


def test_the_segmenter_sees_what_was_drawn(exported, drawn):
    segmenter = Segmenter.load(exported, target="onnxruntime")
    dataset = open_dataset(drawn, "val")
    right = [np.mean(segmenter(dataset[i].image) == dataset[i].mask) for i in range(len(dataset))]
    assert np.mean(right) > 0.8


def test_nothing_is_overwritten_unasked(exported, runs):
    before = Bundle.load(exported).digest
    with pytest.raises(BundleError, match="--overwrite"):
        pipeline.export(runs / "qat", out=exported)
    assert Bundle.load(exported).digest == before


def test_a_float_run_makes_a_float_bundle(runs, tmp_path):
    bundle = pipeline.export(runs / "student", target=["onnxruntime"], out=tmp_path / "bundle")
    assert bundle.forms == ("float",)
    assert [p.name for p in (tmp_path / "bundle" / "plans").iterdir()] == ["onnxruntime-fp32"]
    with pytest.raises(BundleError, match="edgeseg qat"):
        Segmenter.load(bundle, target="onnxruntime")


def test_a_wrong_graph_is_refused_and_its_layer_named(exported, runs, drawn, tmp_path):
    """One layer's scale is off by a half: parity fails, and the message says where it begins."""
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    shutil.rmtree(broken / "plans")
    model = onnx.load(broken / GRAPHS["int8-cpu"])
    links = {n.output[0]: n for n in model.graph.node}
    conv = next(n for n in model.graph.node if n.name == "conv3.0.body.0.0.Conv")
    for t in model.graph.initializer:
        if t.name == links[conv.input[1]].input[1]:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t) * np.float32(1.5), t.name))
    onnx.save(model, broken / GRAPHS["int8-cpu"])
    provenance = {k: v for k, v in facts_of(broken).items() if k not in ("files", "digest", "format")}
    seal(broken, provenance)
    run, dataset, target = Run.load(runs / "qat"), open_dataset(drawn, "val"), Target(backend="onnxruntime")
    with pytest.raises(BuildRefused, match="golden pixels"):
        export.prove(Bundle.load(broken), run, dataset, target)
    assert not any((broken / "plans").iterdir())
    sentence = export.parity.first_divergence(
        Bundle.load(broken), run.network(), target, Bundle.load(broken).golden().frames[0]
    )
    assert "conv3_0_body_0_2" in sentence


def facts_of(path: Path) -> dict:
    return json.loads((path / "provenance.json").read_text())


def test_a_refused_build_leaves_nothing(runs, tmp_path, monkeypatch):
    def apart(*args, **kwargs):
        raise BuildRefused("apart")

    monkeypatch.setattr(export.parity, "refuse_if_apart", apart)
    with pytest.raises(BuildRefused):
        pipeline.export(runs / "qat", target=["onnxruntime"], out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_golden_frames_must_be_able_to_fail(drawn, exported):
    contract = Bundle.load(exported).contract
    blind = lambda frame: np.zeros(frame.shape[:2], np.uint8)  # noqa: E731
    with pytest.raises(DataError, match="would not reveal a mirrored image"):
        golden.choose(open_dataset(drawn, "val"), contract, blind)


def test_evaluating_an_engine_against_its_network(exported, runs, drawn, tmp_path):
    found = pipeline.evaluate(
        exported, data=drawn, target="onnxruntime", reference=runs / "qat", panels=tmp_path / "panels"
    )
    network = pipeline.evaluate(runs / "qat", data=drawn)
    assert found.agreement >= 0.9999
    assert abs(found.miou - network.miou) < 0.001
    assert (found.target, network.target) == ("onnxruntime-int8", "torch-int8")
    panels = json.loads((tmp_path / "panels" / "panels.json").read_text())["panels"]
    assert {p["role"] for p in panels} == {"frame", "truth", "int8"} and len(panels) == 12
