"""Which of the two halves runs, and what is said when it is the slow one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeseg import native

ROOT = Path(__file__).resolve().parent.parent.parent
USE = """
import numpy as np
from edgeseg import pixels
for size in ((8, 8), (9, 9)):
    print(pixels.upsample_argmax(np.ones((2, 1, 1), np.float32), size).sum())
"""
BLOCKED = "import sys\nsys.modules['edgeseg.native._kernels'] = None\n"


def test_the_compiled_kernels_run():
    """If this fails, the package was installed without a compiler, or in a clone 'make native' was not run."""
    assert native.why_not() is None
    assert native.kernels() is sys.modules["edgeseg.native._kernels"]


def test_without_a_compiled_module_numpy_runs_and_says_so_once():
    done = subprocess.run([sys.executable, "-c", BLOCKED + USE], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["0", "0"]
    assert done.stderr.count("NumpyKernels") == 1
    assert "make native" in done.stderr


def test_with_it_nothing_is_said():
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.split(), done.stderr) == (["0", "0"], "")


def test_the_headers_are_where_the_command_says():
    done = subprocess.run([sys.executable, "-m", "edgeseg", "--include-dir"], capture_output=True, text=True, cwd=ROOT)
    assert Path(done.stdout.strip(), "edgeseg/upsample_argmax.hpp").is_file()
