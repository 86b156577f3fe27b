"""OpenVINO beside what else runs in its process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

SURVIVES = """
import gc, signal, sys, threading
from edgeseg import Segmenter

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored
held = [Segmenter.load(sys.argv[1], target="openvino")]
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted, and alive")
"""


def test_ctrl_c_is_survived_after_an_engine_has_gone(tiny_bundle):
    """Its plugin's alternate signal stack must not be unmapped under a process that goes on."""
    done = subprocess.run([sys.executable, "-c", SURVIVES, str(tiny_bundle.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted, and alive"), done.stderr
