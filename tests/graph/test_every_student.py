"""Laws of every family's graphs: integers from the pixels to the classifier, and engines that say what networks say.

A new family is tested without being named here, by the first of its students; sizes do not differ in their operations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
import torch

from edgeseg import students
from edgeseg.backends.openvino import HINT, as_run
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


def families() -> dict[str, str]:
    """The first student of each family's file."""
    found: dict[str, str] = {}
    for name in students.names():
        found.setdefault(students.get(name).__module__, name)
    return found


def engines(file: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Pixels (1, H, W, 3) to logits (1, K, h, w)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    core = ov.Core()
    # As the backend asks for it: without, OpenVINO computes what is float in bf16 on CPUs that multiply in it.
    asked = {"INFERENCE_PRECISION_HINT": HINT["int8"], "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(as_run(core.read_model(file)), "CPU", asked)
    return {
        "onnxruntime": lambda pixels: session.run(None, {"image": pixels})[0],
        "openvino": lambda pixels: compiled([pixels])[0].transpose(0, 3, 1, 2),
    }


@pytest.mark.parametrize("name", families().values())
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
    links = passes.Links(signed.graph)
    for node in signed.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            assert all(links.made_by(i, "DequantizeLinear") for i in node.input[:2]), node.name
    # What a family computes in float differs in last bits, of which an untrained network makes much.
    least = 0.95 if getattr(inspect.getmodule(students.get(name)), "FLOAT", ()) else 0.998
    onnx.save(cpu_form(signed), tmp_path / "int8-cpu.onnx")
    for engine, run in engines(tmp_path / "int8-cpu.onnx").items():
        for frame, image in zip(frames(), images, strict=True):
            with torch.no_grad():
                want = quantized(image[None]).logits.argmax(1).numpy()
            agreement = (run(frame[None]).argmax(1) == want).mean()
            assert agreement >= least, f"{engine}: {agreement:.2%}"
