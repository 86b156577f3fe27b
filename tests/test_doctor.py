"""The doctor's findings, on this machine and on made-up ones."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeseg import backends, doctor

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def here() -> doctor.Checkup:
    return doctor.examine()


def on_cpu(checkup: doctor.Checkup, *features: str) -> doctor.Checkup:
    return replace(checkup, host=replace(checkup.host, features=features))


def test_every_backend_is_reported_once(here):
    assert [b.name for b in here.backends] == backends.names()
    for state in here.backends:
        assert (state.lacks is None) == (state.library is not None) == bool(state.precisions)


def test_json_holds_what_the_properties_say(here):
    document = json.loads(here.to_json())
    assert document["targets"] == list(here.targets)
    assert document["host"]["cores"] == here.host.cores
    assert document["int8"] is here.int8
    assert {e["name"]: e["pip"] for e in document["extras"]} == {e.name: e.pip for e in here.extras}


@pytest.mark.parametrize(
    ("features", "int8", "saturates"),
    [
        (("avx2",), False, True),
        (("avx2", "avx512f", "avx512_vnni"), True, False),
        (("avx2", "avx_vnni"), True, False),
        (("asimddp",), True, False),
        (("sve",), False, False),
        ((), True, False),  # an unknown CPU: say nothing rather than something wrong
    ],
)
def test_the_cpu_decides_what_int8_is_worth(here, features, int8, saturates):
    found = on_cpu(here, *features)
    assert found.int8 is int8
    assert any("int8 gains little" in w for w in found.warnings) is not int8
    assert any("saturate" in w for w in found.warnings) is saturates


def test_a_missing_library_comes_with_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "edgeseg.backends.openvino", raising=False)
    state = doctor.backend_state("openvino")
    assert state.library is None
    assert state.precisions == ()
    assert "pip install 'edgeseg[openvino]'" in state.lacks


def test_a_library_that_does_not_load_is_a_finding(monkeypatch):
    def broken(name: str) -> object:
        raise OSError("libsomething.so.1: cannot open shared object file")

    monkeypatch.setattr(backends, "get", broken)
    state = doctor.backend_state("openvino")
    assert state.library is None
    assert "libsomething.so.1" in state.lacks


def test_without_an_engine_the_doctor_says_what_to_install(here):
    none = replace(here, backends=(doctor.BackendState("openvino", None, (), "missing"),))
    assert none.targets == ()
    assert any("pip install 'edgeseg[openvino]'" in w for w in none.warnings)


def test_the_doctor_says_which_kernels_run(here):
    assert here.native is None
    assert json.loads(here.to_json())["native"] is None
    slow = replace(here, native="no compiled module was installed; make native")
    assert any("kernels run in numpy" in w and "make native" in w for w in slow.warnings)


def test_a_missing_module_is_missing_and_its_extra_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    state = doctor.extra_state("report")
    assert "jinja2" in state.missing
    assert "jinja2" not in state.installed
    assert state.pip == "pip install 'edgeseg[report]'"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("torch", "pip install 'edgeseg[train]'"),
        ("PIL", "pip install 'edgeseg[images]'"),
        ("av", "pip install 'edgeseg[video]'"),
        ("no_such_module", None),
    ],
)
def test_remedies(module, line):
    assert doctor.remedy(module) == line


def test_a_machine_without_nvidia_smi_has_no_gpu(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.examine().gpus == ()


def test_nvidia_smi_is_read_line_by_line(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA Orin, 8192 MiB, 540.4, 8.7'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert doctor.examine().gpus == ("NVIDIA Orin, 8192 MiB, 540.4, 8.7",)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads pyproject.toml with tomllib")
def test_the_extras_are_those_of_pyproject():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def distributions(extra: str) -> set[str]:
        names = set()
        for requirement in declared[extra]:
            if inner := re.fullmatch(r"edgeseg\[([\w,-]+)\]", requirement):
                names |= set().union(*(distributions(e) for e in inner[1].split(",")))
            else:
                names.add(re.match(r"[\w-]+", requirement)[0])
        return names

    for extra, modules in doctor.EXTRAS.items():
        asked = {doctor.DISTRIBUTIONS.get(m, m) for m in modules}
        brought = distributions(extra) - (distributions("train") if extra == "teachers" else set())
        assert asked == brought, extra
    assert set(doctor.ENABLES) == set(doctor.EXTRAS)
    assert {backends.EXTRA.get(name, name) for name in backends.names()} - {"null"} <= set(declared)
