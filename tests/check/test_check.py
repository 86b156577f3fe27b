"""Bundles and files: which graphs are looked at, what is promised, what is answered."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from graphs import Sketch  # noqa: E402
from onnx import TensorProto as T  # noqa: E402

from edgeseg import cli  # noqa: E402
from edgeseg.bundle import Bundle, seal  # noqa: E402
from edgeseg.check import Report, check  # noqa: E402
from edgeseg.check.findings import Finding, merged  # noqa: E402
from edgeseg.check.network import Network  # noqa: E402
from edgeseg.errors import BundleError, UserError  # noqa: E402


def graphs(report: Report) -> list[tuple[str, str]]:
    return [(g.graph, g.reader) for g in report.graphs]


def with_graphs(bundle: Bundle, **names: str) -> Bundle:
    """The bundle with copies of its graphs under other forms' names."""
    for form, source in names.items():
        shutil.copy(bundle.path / source, bundle.path / f"{form.replace('_', '-')}.onnx")
    seal(bundle.path, {k: v for k, v in bundle.provenance.items() if k not in ("files", "digest", "format")})
    return Bundle.load(bundle.path)


def test_each_reader_gets_the_forms_it_would_take(tiny_bundle):
    assert graphs(check(tiny_bundle, "openvino")) == [("float.onnx", "OpenVINO"), ("int8-cpu.onnx", "OpenVINO")]
    assert graphs(check(tiny_bundle.path, versions=["8.6"])) == [
        ("float.onnx", "TensorRT 8.6"),
        ("int8.onnx", "TensorRT 8.6"),
    ]
    halved = with_graphs(tiny_bundle, fp16="float.onnx", int8_fp16="int8.onnx")
    assert graphs(check(halved, versions=["8.6", "10"])) == [
        ("float.onnx", "TensorRT 8.6"),
        ("int8.onnx", "TensorRT 8.6"),
        ("fp16.onnx", "TensorRT 10.0"),
        ("int8-fp16.onnx", "TensorRT 10.0"),
    ]
    assert [g for g, _ in graphs(check(halved, "trt-rtx"))] == ["fp16.onnx", "int8-fp16.onnx"]


def test_students_are_read_by_every_engine(published):
    for bundle in published.values():
        for target in ("trt", "trt-rtx", "openvino", "onnxruntime"):
            assert not check(bundle, target).stopped
        assert not check(bundle, versions=["8.6", "11"]).stopped


def test_the_form_for_cpus_is_refused(published):
    for bundle in published.values():
        for target in ("trt", "trt-rtx"):
            (graph,) = check(bundle.path / "int8-cpu.onnx", target).graphs
            assert {"zero-point", "uint8"} <= {f.rule for f in graph.of("refused")}
            assert {"uint8-quantization"} <= {f.rule for f in graph.of("wrong")}


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [("picture", T.UINT8, (1, 32, 64, 3)), ("image", T.FLOAT, (1, 32, 64, 3)), ("image", T.UINT8, (1, 3, 32, 64))],
)
def test_a_bundle_keeps_its_promises(tiny_bundle, name, dtype, shape):
    s = Sketch(shape, dtype)
    s.inputs[0].name = name
    model = s.model(s.node("Cast", name, to=T.FLOAT))
    model.graph.output[0].name = model.graph.node[0].output[0] = "logits"
    onnx.save(model, tiny_bundle.path / "float.onnx")
    report = check(with_graphs(tiny_bundle))
    (graph, _) = report.graphs
    assert {f.rule for f in graph.of("refused")} >= {"contract"}
    assert report.stopped


def test_a_bundle_of_another_format_has_nothing_to_check(tiny_bundle):
    for name in ("float.onnx", "int8.onnx", "int8-cpu.onnx"):
        (tiny_bundle.path / name).rename(tiny_bundle.path / name.replace(".onnx", ".xml"))
    seal(tiny_bundle.path, {"convolutions": {}})
    with pytest.raises(UserError, match=r"only float\.xml"):
        check(tiny_bundle.path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"target": "tpu"}, "trt, trt-rtx, openvino"),
        ({"target": "openvino", "versions": ["10"]}, "--trt-version belongs"),
        ({"target": "trt-rtx", "dla": True}, "--dla belongs"),
        ({"versions": ["8.5"]}, "from 8.6 on"),
        ({"versions": ["ten"]}, "got 'ten'"),
    ],
)
def test_what_does_not_go_together(arguments, says, tiny_bundle):
    with pytest.raises(UserError, match=says):
        check(tiny_bundle, **arguments)


def test_files_that_are_no_graph(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        check(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        check(tmp_path / "text.onnx")
    with pytest.raises(BundleError, match="not a bundle"):
        check(tmp_path)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("A", ["x"], ["y"], domain="b")], "g", [], [])
    )
    with pytest.raises(UserError, match="no valid ONNX"):
        Network(model)


def test_the_same_of_many_nodes_is_said_once():
    one, two = Finding("slow", "r", ("b",), "m"), Finding("slow", "r", ("a",), "m")
    grave = Finding("refused", "q", ("a",), "n")
    assert merged([one, two, grave, one]) == (grave, Finding("slow", "r", ("b", "a"), "m"))


def test_the_command_answers_with_its_exit_code(tiny_bundle, capsys):
    assert cli.main(["check", str(tiny_bundle.path), "--target", "openvino"]) == 0
    out = capsys.readouterr().out
    assert "float.onnx, int8-cpu.onnx before OpenVINO" in out
    assert f"Next: edgeseg build {tiny_bundle.path} --target openvino" in out
    file = str(tiny_bundle.path / "int8-cpu.onnx")
    assert cli.main(["check", file, "--target", "trt", "--trt-version", "8.6,11", "--json"]) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["stopped"]
    assert [g["reader"] for g in document["graphs"]] == ["TensorRT 8.6", "TensorRT 11.0"]
    assert {"severity", "rule", "nodes", "message"} == set(document["graphs"][0]["findings"][0])
    assert "refused" in err and "Next: put right" in err


def test_the_table_shows_what_was_found(tmp_path, capsys):
    s = Sketch()
    x = "x"
    for i in range(6):
        x = s.node("Unique", x, name=f"layer.{i}")
    s.constants = []
    onnx.save(s.model(x), tmp_path / "model.onnx")
    assert cli.main(["check", str(tmp_path / "model.onnx"), "--target", "trt"]) == 2
    out = capsys.readouterr().out
    assert "layer.3" in out and "layer.4" not in out and "and 2 more" in out
    assert np.all([word in out for word in ("refused", "operator", "TensorRT 10.0")])
