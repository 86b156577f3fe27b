"""OpenVINO beside what else runs in its process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgeseg.bundle import Bundle

ov = pytest.importorskip("openvino")

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


def kinds(compiled) -> list[str]:
    return [op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()]


def test_roundings_are_held_without_copying_maps(exported):
    """As the plugin runs it: no max-pool, the sums still apart from the convolutions, and the same numbers."""
    from edgeseg.backends import openvino

    bundle = Bundle.load(exported)
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    plain = openvino.core().compile_model(bundle.graph("int8-cpu"), "CPU", options)
    assert kinds(plain).count("Pooling") > 10
    model = openvino.as_run(openvino.core().read_model(bundle.graph("int8-cpu")))
    ours = openvino.core().compile_model(model, "CPU", options)
    pools_of_the_network = 4  # DAPPM's, less those of one size
    assert kinds(ours).count("Pooling") <= pools_of_the_network
    for frame in bundle.golden().frames:
        want, got = plain([frame[None]])[0], ours([frame[None]])[0].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(got, want)


def test_held_roundings_leave_one_by_one(exported):
    """Concatenated, they would be given a common scale, and now and then a value another rounding."""
    from edgeseg.backends import openvino

    model = openvino.core().read_model(Bundle.load(exported).graph("int8-cpu"))
    held = [op for op in model.get_ops() if op.get_type_name() == "MaxPool"]
    ran = openvino.as_run(model)
    assert len(ran.outputs) == 1 + len(held)
    assert not [op for op in ran.get_ops() if op.get_type_name() == "Concat" and len(op.inputs()) == len(held)]


def test_logits_are_left_in_the_order_of_the_last_convolution(exported):
    from edgeseg import Segmenter

    segmenter = Segmenter.load(exported, "openvino")
    logits = segmenter.infer(segmenter.prepare(segmenter.bundle.golden().frames[0]))
    assert logits.shape == segmenter.contract.output_shape
    assert logits.transpose(0, 2, 3, 1).flags.c_contiguous
