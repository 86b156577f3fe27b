"""ONNX Runtime on the CPU, https://onnxruntime.ai.

int8 runs from the u8 form: with s8 activations and a ReLU only a quarter of the convolutions fuse into int8 kernels, and
the graph is slower than float; with u8 and zero-point 0 the ReLU is part of the quantization and all of them do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgeseg.backends import Layer, Plan, machine
from edgeseg.bundle import Bundle, Form
from edgeseg.target import Precision, Target

FORM: dict[Precision, Form] = {"fp32": "float", "int8": "int8-cpu"}
LIBRARY = f"onnxruntime {ort.__version__}"
# Operators of the optimised graph that are convolutions, and what they compute in.
CONVOLUTIONS = {"QLinearConv": "int8", "ConvInteger": "int8", "Conv": "fp32", "FusedConv": "fp32"}


def build(bundle: Bundle, target: Target, out: Path) -> Path:
    """Keep the graph as ONNX Runtime will load it. Optimising anew at load costs well under a second and, unlike an
    optimised graph, stays valid on any CPU."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(bundle.graph(FORM[target.precision]).read_bytes())
    Plan(
        backend=target.backend,
        precision=target.precision,
        bundle_digest=bundle.digest,
        library=LIBRARY,
        machine=machine(),
    ).write(out)
    return out


def load(plan: Path, target: Target) -> OnnxRuntimeEngine:
    Plan.open(plan, target, LIBRARY)
    return OnnxRuntimeEngine(plan / "model.onnx", target.threads)


class OnnxRuntimeEngine:
    library = LIBRARY

    def __init__(self, model: Path, threads: int) -> None:
        self.model = model
        self.session = _session(model, threads)
        self.threads = threads
        (self.input,) = [i.name for i in self.session.get_inputs()]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self.session.run(None, {self.input: images})[0]
        return logits

    def layers(self) -> Sequence[Layer]:
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            optimised = Path(folder) / "optimised.onnx"
            _session(self.model, 1, optimised)
            nodes = onnx.load(optimised, load_external_data=False).graph.node
        return [
            Layer(n.name, "conv", CONVOLUTIONS[n.op_type])
            if n.op_type in CONVOLUTIONS
            else Layer(n.name, n.op_type, "int8" if n.op_type.startswith("QLinear") else "fp32")
            for n in nodes
        ]


def _session(model: Path, threads: int, optimised: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def probe(model: Path, images: np.ndarray) -> list[np.ndarray]:
    """Every output of an ONNX file, computed as ``load`` would: for finding where an engine goes astray."""
    session = _session(model, 0)
    return list(session.run(None, {session.get_inputs()[0].name: images}))
