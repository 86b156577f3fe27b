"""``export/``: the schemas say what a bundle's JSON is, the page's code works on one, the scripts call the pipeline."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest

from edgeseg import native, pixels
from edgeseg.backends import Plan
from edgeseg.bundle import FORMAT, GRAPHS
from edgeseg.contract import Contract
from edgeseg.errors import RunError
from edgeseg.plans import build_plan
from edgeseg.target import Precision, Target

FOLDER = Path(__file__).resolve().parent.parent / "export"
SCRIPTS = sorted(FOLDER.glob("to_*.py"))
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> Any:
    text = json.loads((FOLDER / "contract.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(text)
    return jsonschema.Draft202012Validator(text)


def contract(**changes: Any) -> dict[str, Any]:
    made = Contract(size_hw=(64, 96), classes=("road", "tree"), colors=((1, 2, 3), (4, 5, 6)), color="bgr")
    return json.loads(made.to_json()) | changes


def test_a_contract_is_what_the_schema_says(schema):
    schema.validate(contract())


def test_the_schema_knows_every_field_and_no_other(schema):
    fields = {f.name for f in dataclasses.fields(Contract)}
    assert set(schema.schema["properties"]) == fields == set(schema.schema["required"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_hw": [64]},
        {"size_hw": [64.5, 96]},
        {"classes": []},
        {"classes": ["road", "road"]},
        {"colors": [[1, 2, 3], [4, 5, 256]]},
        {"color": "yuv"},
        {"mean": [0.5, 0.5]},
        {"std": [0.5, 0.5, 0]},
        {"ignore_label": 256},
        {"stride": 0},
        {"input_name": ""},
        {"unknown": 1},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_contract(schema, wrong):
    assert not schema.is_valid(contract(**wrong))


@pytest.fixture(scope="module")
def defined() -> dict[str, Any]:
    """A validator for each file of a bundle beside the contract, by its name in ``$defs``."""
    text = json.loads((FOLDER / "bundle.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(text)
    rooted = {name: {**text, "$ref": f"#/$defs/{name}"} for name in ("provenance", "plan")}
    return {name: jsonschema.Draft202012Validator(_without(schema, "oneOf")) for name, schema in rooted.items()}


def test_a_bundles_provenance_is_what_the_schema_says(tiny_bundle, defined):
    defined["provenance"].validate(dict(tiny_bundle.provenance))
    more = {
        **tiny_bundle.provenance,
        "camera": "front",
        "files": {**tiny_bundle.provenance["files"], "notes": "0" * 64},
    }
    defined["provenance"].validate(more)  # the page allows both


def test_an_exported_bundles_files_are_what_the_schemas_say(exported, schema, defined):
    schema.validate(json.loads((exported / "contract.json").read_text()))
    provenance = json.loads((exported / "provenance.json").read_text())
    assert {"run", "parents", "recipe", "metrics", "golden", "quantization", "versions", "created"} < set(provenance)
    defined["provenance"].validate(provenance)
    plans = list(exported.glob("plans/*/plan.json"))
    assert len(plans) == 4
    for plan in plans:
        defined["plan"].validate(json.loads(plan.read_text()))


def test_an_adopted_bundles_provenance_is_what_the_schema_says(tiny_bundle, tmp_path, defined):
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    from edgeseg.adopt import adopt

    frames = tmp_path / "frames"
    frames.mkdir()
    for i, frame in enumerate(tiny_bundle.golden().frames):
        image.fromarray(frame).save(frames / f"{i}.png")
    contract = tiny_bundle.contract
    made = adopt(
        tiny_bundle.graph("float"), classes=contract.classes, data=f"images:{frames}", out=tmp_path / "adopted"
    )
    assert {"source", "adopted"} < set(made.bundle.provenance)
    defined["provenance"].validate(dict(made.bundle.provenance))


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": FORMAT - 1},
        {"format": str(FORMAT)},
        {"digest": "ab12"},
        {"digest": "A" * 64},
        {"files": {}},
        {"files": {"contract.json": "0" * 64, "golden.npz": "0" * 64}},  # no float graph
        {"files": {"contract.json": "0" * 64, "golden.npz": "0" * 64, "float.xml": "0" * 64}},  # no weights
        {"files": {"contract.json": "0" * 64, "golden.npz": "0" * 64, "float.onnx": "changed"}},
        {"files": {"contract.json": "0" * 64, "golden.npz": "0" * 64, "float.onnx": "0" * 64, "../x": "0" * 64}},
        {"convolutions": {"int8": ["conv"]}},
        {"convolutions": {"int8": "conv", "float": []}},
        {"run": {"path": "runs/qat", "weights_sha256": "0" * 64}},  # and not from what or how
        {"source": {"file": "model.onnx"}, "adopted": {}},
        {"versions": {"onnx": 1}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_provenance(tiny_bundle, defined, wrong):
    assert not defined["provenance"].is_valid({**tiny_bundle.provenance, **wrong})


@pytest.mark.parametrize("field", ["format", "files", "digest", "convolutions"])
def test_the_schema_misses_a_field_of_the_provenance(tiny_bundle, defined, field):
    assert not defined["provenance"].is_valid(_without(tiny_bundle.provenance, field))


@pytest.mark.parametrize("target", ["null", "onnxruntime", "openvino"])
def test_a_plan_is_what_the_schema_says(tiny_bundle, defined, target):
    pytest.importorskip("edgeseg.backends." + target, exc_type=ImportError)
    plan = json.loads((build_plan(tiny_bundle, Target(backend=target)) / "plan.json").read_text())
    defined["plan"].validate(plan)
    defined["plan"].validate({**plan, "device": "sm87"})
    for wrong in (
        {"device": "Orin"},
        {"device": 87},
        {"precision": "int4"},
        {"bundle_digest": tiny_bundle.digest[:12]},
        {"machine": "linux"},
        {"host": "robot-7"},
    ):
        assert not defined["plan"].is_valid({**plan, **wrong}), wrong
    for field in plan.keys() - {"device"}:
        assert not defined["plan"].is_valid(_without(plan, field)), field


def test_the_schema_knows_every_field_of_a_plan(defined):
    plan = defined["plan"].schema["$defs"]["plan"]["properties"]
    assert {f.name for f in dataclasses.fields(Plan)} | {"device"} == set(plan)
    assert set(plan["precision"]["enum"]) == set(get_args(Precision))


def test_a_plan_is_no_provenance(tiny_bundle, defined):
    both = json.loads((FOLDER / "bundle.schema.json").read_text())
    plan = json.loads((build_plan(tiny_bundle, Target(backend="null")) / "plan.json").read_text())
    for document in (plan, dict(tiny_bundle.provenance)):
        jsonschema.Draft202012Validator(both).validate(document)
    assert not defined["provenance"].is_valid(plan) and not defined["plan"].is_valid(dict(tiny_bundle.provenance))


def test_the_page_names_every_graph():
    page = (FOLDER / "README.md").read_text()
    for file in {*GRAPHS.values(), "fp16.onnx", "int8-fp16.onnx"}:
        assert f"`{file}`" in page, file


def test_the_page_links_to_what_is_there():
    page = (FOLDER / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in link]
    assert links and not [link for link in links if not (FOLDER / link).exists()]


def test_the_pages_digest_check_accepts_a_bundle_and_finds_a_changed_byte(tiny_bundle, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tiny_bundle.path.parent)
    exec(code, {})
    graph = tiny_bundle.path / "int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0\1")
    with pytest.raises(AssertionError, match=r"int8\.onnx"):
        exec(code, {})


def test_the_page_names_every_field_of_what_it_describes(tiny_bundle):
    page = (FOLDER / "README.md").read_text()
    for field in (*contract(), *tiny_bundle.provenance, *(f.name for f in dataclasses.fields(Plan)), "device"):
        assert f"`{field}`" in page, field


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_export_for_their_target(script, tiny_bundle, monkeypatch, capsys):
    asked = _with_export(monkeypatch, tiny_bundle)
    assert _load(script).main(["run", "out"]) == 0
    assert asked == {"run": Path("run"), "target": [script.stem.removeprefix("to_")], "out": Path("out")}
    if script.stem == "to_onnx":
        assert capsys.readouterr().out.splitlines() == [str(tiny_bundle.graph(f)) for f in tiny_bundle.forms]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_end_in_one_line_where_there_is_no_run(script, monkeypatch, capsys):
    _with_export(monkeypatch, RunError("run is not a run"))
    assert _load(script).main(["run", "out"]) == 2
    assert capsys.readouterr().err == "error: run is not a run\n"


def test_the_cpp_program_says_what_python_says(tmp_path):
    program = tmp_path / "labels"
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", f"-I{native.include_dir()}"]
    subprocess.run([*command, FOLDER / "cpp/labels.cpp", "-o", program], check=True)
    logits = np.random.default_rng(0).standard_normal((19, 6, 8)).astype(np.float32)
    done = subprocess.run(
        [program, "19", "6", "8", "50", "70"], input=logits.tobytes(), capture_output=True, check=True
    )
    head = b"P5\n70 50\n255\n"
    assert done.stdout.startswith(head)
    labels = np.frombuffer(done.stdout[len(head) :], np.uint8).reshape(50, 70)
    np.testing.assert_array_equal(labels, pixels.upsample_argmax(logits, (50, 70)))


def _with_export(monkeypatch: pytest.MonkeyPatch, result: Any) -> dict[str, Any]:
    pytest.importorskip("torch")
    from edgeseg import pipeline

    asked: dict[str, Any] = {}

    def export(run: Any, **given: Any) -> Any:
        asked.update(run=run, **given)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(pipeline, "export", export)
    return asked


def _without(document: Mapping[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


def _load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
