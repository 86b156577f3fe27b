"""Networks that nobody trained, as runs: kernels take the same time whatever they multiply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edgeseg import networks
from edgeseg.batches import normalize
from edgeseg.checkpoint import FORMAT, save_weights, versions, write_facts
from edgeseg.compress import qat
from edgeseg.recipes.segmentation import MEAN, STD

CLASSES = 19


def untrained(name: str, frames: Sequence[np.ndarray], device: torch.device, out: Path, data: str) -> None:
    """A run as ``edgeseg qat`` leaves one, of a network that nobody trained.

    Batch normalisations take the statistics of the frames, so that signals neither vanish nor explode, and activation
    scales are calibrated on them.
    """
    torch.manual_seed(0)
    spec = {"name": name, "num_classes": CLASSES}
    network = networks.build(**spec).to(device).train()
    images = torch.cat([normalize(frame[None], MEAN, STD) for frame in frames]).to(device)
    with torch.no_grad():
        for _ in range(30):  # 1 - 0.9**30: what the running statistics know by then
            network(images)
    network.cpu().eval()
    out.mkdir(parents=True, exist_ok=True)
    save_weights(network, out / "float.safetensors")
    grid = {"weight_bits": 7, "input_scale": 1 / 128}
    quantized = qat.prepare(network, **grid)
    qat.calibrate(quantized, [images[:1].cpu()])
    save_weights(quantized, out / "weights.safetensors")
    facts = {
        "format": FORMAT,
        "status": "finished",
        "verb": "qat",
        "network": spec,
        "classes": [f"class-{i}" for i in range(CLASSES)],
        "colors": [[0, 0, 0]] * CLASSES,
        "mean": list(MEAN),
        "std": list(STD),
        "size_hw": list(frames[0].shape[:2]),
        "data": data,
        "quantization": grid,
        "parents": {},
        "recipe": {},
        "metrics": None,
        "versions": versions(),
    }
    write_facts(out, facts)
