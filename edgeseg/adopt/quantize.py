"""Post-training int8 of an adopted network by NNCF, kept only where it is as right and faster.

NNCF, https://github.com/openvinotoolkit/nncf, reads the ranges of activations off a few hundred frames. What that costs
in accuracy differs from network to network, and what it gains from CPU to CPU: both are measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg import backends
from edgeseg.adopt import proof
from edgeseg.adopt.proof import Run
from edgeseg.contract import Contract
from edgeseg.errors import BackendMissing
from edgeseg.measure.accuracy import Confusion, agreement

ENGINE = "openvino"
TIMED = 8  # different frames
PER_CHANNEL_OPSET = 13  # below it ONNX has one scale per tensor, and NNCF no per-channel weights


@dataclass(frozen=True)
class Limits:
    """How much worse int8 may be: ``max_drop`` of mIoU where there are labels, else ``min_agreement`` with float."""

    max_drop: float = 0.005
    min_agreement: float = 0.97


@dataclass(frozen=True)
class Quantized:
    """int8 beside float on one engine. Shares are 0 to 1; mIoU is None where the frames have no labels.

    ``refused`` says why int8 is not worth having; None where it is.
    """

    agreement: float
    miou_float: float | None
    miou_int8: float | None
    float_ms: float
    int8_ms: float
    frames: int
    refused: str | None

    @property
    def sentence(self) -> str:
        accuracy = f"{self.agreement:.2%} of the pixels as float"
        if self.miou_float is not None and self.miou_int8 is not None:
            accuracy += f", mIoU {self.miou_float:.2%} → {self.miou_int8:.2%}"
        figures = f"int8 on {ENGINE}: {accuracy}, {self.float_ms:.1f} → {self.int8_ms:.1f} ms"
        return f"{figures}; left out: {self.refused}" if self.refused else figures


def require() -> Any:
    """NNCF, or BackendMissing with the pip line where it or the engine that judges its work is not installed."""
    backends.get(ENGINE)
    try:
        import nncf
    except ModuleNotFoundError as e:
        raise BackendMissing("--quantize needs NNCF, which is not installed: pip install 'edgeseg[adopt]'") from e
    return nncf


def write(
    graph: Path, out: Path, numbers: Sequence[int], frame: Callable[[int], np.ndarray], contract: Contract
) -> None:
    """``graph`` with rounding in it, calibrated on ``frame(i)``, uint8 (H, W, 3), of each of ``numbers``, which are
    read one at a time. Its input stays whole pixels."""
    nncf = require()
    options = {
        # Signed activations too, for networks that end their layers in something other than ReLU.
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(numbers),
        # Half the range of the weights, as our own quantizer has it: CPUs without VNNI saturate on all of it.
        "advanced_parameters": nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    }
    if graph.suffix == ".onnx":
        import onnx

        model = onnx.load(graph)
        if model.opset_import[0].version < PER_CHANNEL_OPSET:
            model = onnx.version_converter.convert_version(model, PER_CHANNEL_OPSET)
        data = nncf.Dataset(list(numbers), lambda i: {contract.input_name: frame(i)[None]})
        made = nncf.quantize(model, data, **options)
        del made.graph.value_info[:]
        out.write_bytes(made.SerializeToString(deterministic=True))
    else:
        from edgeseg.adopt.ir_model import save

        engine: Any = backends.get(ENGINE)
        data = nncf.Dataset(list(numbers), lambda i: frame(i)[None])
        save(nncf.quantize(engine.core().read_model(graph), data, **options), out)


def compare(
    float_run: Run, int8_run: Run, contract: Contract, pairs: Iterable[tuple[np.ndarray, np.ndarray]], limits: Limits
) -> Quantized:
    """Both on the same frames, uint8 (H, W, 3), and against their truths where known; then timed in turns."""
    k, ignore = len(contract.classes), contract.ignore_label
    ours, theirs = Confusion(k, ignore), Confusion(k, ignore)
    same: list[float] = []
    kept: list[np.ndarray] = []
    int8, plain = proof.adopted(int8_run, contract), proof.adopted(float_run, contract)
    for frame, truth in pairs:
        if len(kept) < TIMED:
            kept.append(frame)
        given, expected = int8(frame), plain(frame)
        same.append(agreement(given, expected))
        ours.add(given, truth)
        theirs.add(expected, truth)
    float_ms, int8_ms = proof.in_turns([plain, int8], kept)
    mious = (theirs.miou, ours.miou) if ours.pixels else None
    share = float(np.mean(same))
    return Quantized(
        agreement=share,
        miou_float=mious[0] if mious else None,
        miou_int8=mious[1] if mious else None,
        float_ms=float_ms,
        int8_ms=int8_ms,
        frames=len(same),
        refused=refusal(share, mious, float_ms, int8_ms, limits),
    )


def refusal(
    share: float, mious: tuple[float, float] | None, float_ms: float, int8_ms: float, limits: Limits
) -> str | None:
    """Why int8 is not worth having, or None."""
    reasons = []
    if mious and mious[0] - mious[1] > limits.max_drop:
        reasons.append(f"mIoU drops by {mious[0] - mious[1]:.2%}, at most {limits.max_drop:.2%} may be lost")
    if not mious and share < limits.min_agreement:
        reasons.append(f"it agrees with float on {share:.2%} of the pixels, at least {limits.min_agreement:.2%} must")
    if int8_ms >= float_ms:
        reasons.append(f"it is no faster ({int8_ms:.1f} ms against {float_ms:.1f} ms)")
    return " and ".join(reasons) or None


def convolutions(graph: Path, reference: str) -> dict[str, list[str]]:
    """Names of the convolutions that engines run in int8, and of those that OpenVINO or ``reference`` runs in float.

    The quantizer leaves some in float on purpose, and others have no int8 kernel in one engine, as those whose output
    stays float: what was timed is what is promised.
    """
    layers = [
        layer
        for library in dict.fromkeys((ENGINE, reference))
        for layer in proof.engine(library, graph, "int8").layers()
        if layer.op == "conv"
    ]
    slow = {layer.name for layer in layers if layer.precision != "int8"}
    return {"int8": sorted({layer.name for layer in layers} - slow), "float": sorted(slow)}
