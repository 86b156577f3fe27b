"""Laws of every student's graphs: integers from the pixels to the classifier, and engines that say what the network says.

A new one is tested without being named here.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
import torch

from edgeseg import students
from edgeseg.backends.openvino import as_run
from edgeseg.batches import normalize
from edgeseg.compress import qat
from edgeseg.contract import Contract
from edgeseg.graph import head, onnx_file, passes
from edgeseg.graph.deploy import deploy
from edgeseg.graph.export import cpu_form

SIZE_HW = (64, 128)
CLASSES = 5
MEAN, STD = (128 / 255,) * 3, (128 / 255,) * 3


def frames() -> np.ndarray:
    """(2, H, W, 3), smooth as a camera's."""
    coarse = torch.randint(0, 256, (2, 3, 8, 16), generator=torch.Generator().manual_seed(0)).float()
    fine = torch.nn.functional.interpolate(coarse, size=SIZE_HW, mode="bicubic", align_corners=False)
    return fine.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(params=students.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_engines_say_what_the_network_says(name: str, tmp_path: Path):
    torch.manual_seed(0)
    network = students.get(name)(CLASSES, width=0.25, auxiliary=False)
    images = normalize(frames(), MEAN, STD)
    with torch.no_grad():
        for _ in range(10):
            network.train()(images)
    quantized = qat.prepare(network.eval(), input_scale=1 / 128)
    qat.calibrate(quantized, [images])
    contract = Contract(
        size_hw=SIZE_HW,
        classes=tuple("abcde"),
        colors=((0, 0, 0),) * CLASSES,
        stride=network.stride,
        mean=MEAN,
        std=STD,
    )
    signed = head.take_pixels(onnx_file.trace(deploy(quantized), contract), contract)
    found = passes.convolutions(signed)
    left = getattr(inspect.getmodule(students.get(name)), "FLOAT", ())
    assert len(found["float"]) == 1 or left, found["float"]  # the classifier, whose logits are not rounded
    unsigned = cpu_form(signed)
    file = tmp_path / "int8-cpu.onnx"
    onnx.save(unsigned, file)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    by_ort = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    core = ov.Core()
    by_ov = core.compile_model(as_run(core.read_model(file)), "CPU", {"INFERENCE_NUM_THREADS": 1})
    for frame, image in zip(frames(), images, strict=True):
        with torch.no_grad():
            want = quantized(image[None]).logits[0].argmax(0).numpy()
        for what, logits in (
            ("ort", by_ort.run(None, {"image": frame[None]})[0]),
            ("ov", next(iter(by_ov([frame[None]]).values()))),
        ):
            assert (logits[0].argmax(0) == want).mean() >= 0.998, what
