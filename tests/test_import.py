"""``import edgeseg`` is light, and every name that it promises is there when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgeseg

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "numpy", "typer", "rich", "PIL", "onnx", "onnxruntime", "openvino", "jinja2", "matplotlib"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    listing = f"{code}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_edgeseg_imports_nothing_else():
    assert not modules_after("import edgeseg") & HEAVY


def test_what_a_robot_imports_needs_numpy_alone():
    assert modules_after("from edgeseg import Segmenter, Target, judge") & HEAVY == {"numpy"}


def test_help_needs_no_torch_and_no_engine():
    loaded = modules_after("from edgeseg.cli import main\nmain(['bench', '--help'])")
    assert not loaded & {"torch", "PIL", "onnx", "onnxruntime", "openvino", "jinja2", "matplotlib"}


@pytest.mark.parametrize("name", edgeseg.__all__)
def test_public_names_resolve_to_what_they_are_called(name):
    assert getattr(edgeseg, name).__name__ == name
    assert name in dir(edgeseg)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(AttributeError, match="'segmenter_'; it has: Bundle"):
        _ = edgeseg.segmenter_


def test_types_are_published():
    assert (Path(edgeseg.__file__).parent / "py.typed").is_file()
