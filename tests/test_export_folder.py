"""``export/``: the schema says what contracts are, the page's code works on a bundle, the scripts call the pipeline."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeseg import native, pixels
from edgeseg.contract import Contract
from edgeseg.errors import RunError

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
    for field in (*contract(), *tiny_bundle.provenance, "backend", "bundle_digest", "library", "machine"):
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


def _load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
