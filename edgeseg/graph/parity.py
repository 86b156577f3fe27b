"""Whether an engine says what the network said, on real frames; and if not, from which layer on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeseg import backends, pixels
from edgeseg.batches import normalize
from edgeseg.bundle import PROGRAMS, Bundle
from edgeseg.compress.grid import ActivationQuantizer
from edgeseg.errors import BuildRefused
from edgeseg.measure.accuracy import Confusion
from edgeseg.segmenter import Segmenter
from edgeseg.target import Target

DIVERGED = 0.02  # mean difference of a layer's output over its mean magnitude; rounding alone stays well below


@dataclass(frozen=True)
class Parity:
    """Engine against network over the same frames; shares, 0 to 1."""

    agreement: float
    miou_network: float | None  # None: the frames had no labels
    miou_engine: float | None
    frames: int


def compare(
    segmenter: Segmenter,
    frames: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    network_labels: Sequence[np.ndarray],
) -> Parity:
    """Label the frames (uint8 (H, W, 3), in the contract's order) and compare with what the network labelled."""
    k = len(segmenter.contract.classes)
    ours, theirs, same = Confusion(k), Confusion(k), []
    for frame, truth, reference in zip(frames, truths, network_labels, strict=True):
        labels = segmenter(frame)
        same.append(np.mean(labels == reference))
        ours.add(labels, truth)
        theirs.add(reference, truth)
    scored = ours.pixels > 0
    return Parity(
        agreement=float(np.mean(same)),
        miou_network=theirs.miou if scored else None,
        miou_engine=ours.miou if scored else None,
        frames=len(same),
    )


def refuse_if_apart(parity: Parity, target: Target, diverges: str) -> None:
    """Raise BuildRefused where the engine is not the network; ``diverges`` names the first layer that differs."""
    if parity.agreement < target.min_agreement:
        raise BuildRefused(
            f"{target.name} labels {parity.agreement:.2%} of the pixels of {parity.frames} frames as the network does, "
            f"less than the {target.min_agreement:.2%} asked for; {diverges}"
        )
    if parity.miou_engine is None or parity.miou_network is None:
        return
    if parity.miou_network - parity.miou_engine > target.max_miou_drop:
        raise BuildRefused(
            f"{target.name} has mIoU {parity.miou_engine:.4f} on {parity.frames} frames, the network "
            f"{parity.miou_network:.4f}: the drop is over the {target.max_miou_drop:.4f} allowed; {diverges}"
        )


def first_divergence(bundle: Bundle, network: nn.Module, target: Target, frame: np.ndarray) -> str:
    """A sentence naming the first layer whose rounded output in the engine is not the network's.

    The engine is built once more with every rounded tensor as an output, which may itself change how it fuses: what it
    finds is a lead, and where it finds nothing it says so.
    """
    form = backends.get(target.backend).FORM[target.precision]
    if form in PROGRAMS:
        return "the layers of an exported program are not read out one by one: compare it with another target's engine"
    contract = bundle.contract
    given = pixels.frame_to_input(frame, contract)
    expected = rounded_outputs(network, normalize(given, contract.mean, contract.std))
    model = onnx.load(bundle.graph(form))
    names = []
    for node in model.graph.node:  # in the order of execution, as the network's own calls are
        path = _quantizer(node)
        if path in expected:
            names.append((path, node.output[0]))
    if not names:
        return "the graph is not quantized, so its layers cannot be told apart"
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None) for _, tensor in names
    )
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.onnx"
        onnx.save(model, probe)
        outputs = backends.get(target.backend).probe(probe, given)
    for (path, _), found in zip(names, outputs, strict=True):
        want = expected[path].pop(0).numpy()
        error = float(np.abs(found - want).mean() / max(float(np.abs(want).mean()), 1e-6))
        if error > DIVERGED:
            return (
                f"the first layer that diverges is {path.removeprefix('quantizers.')} (by {error:.1%} of its magnitude)"
            )
    return (
        "no single layer diverges when each is read out: the difference is in what the engine fuses, or in the logits"
    )


def _quantizer(node: onnx.NodeProto) -> str:
    """The quantizer that a DequantizeLinear came from; a scale that is used again has underscores behind its name."""
    return node.name.rstrip("_").removesuffix(".DequantizeLinear") if node.op_type == "DequantizeLinear" else ""


def rounded_outputs(network: nn.Module, images: Tensor) -> dict[str, list[Tensor]]:
    """What each activation quantizer of a network returns, by the quantizer's path, call after call."""
    found: dict[str, list[Tensor]] = {}

    def hook_of(path: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(module: nn.Module, inputs: object, output: Tensor) -> None:
            found.setdefault(path, []).append(output.detach().clone())

        return note

    hooks = [
        module.register_forward_hook(hook_of(path))
        for path, module in network.named_modules()
        if isinstance(module, ActivationQuantizer)
    ]
    try:
        with torch.inference_mode():
            network.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found
