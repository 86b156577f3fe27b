"""A bundle without edgeseg: python segment.py BUNDLE IMAGE LABELS.png. It needs numpy, Pillow and ONNX Runtime."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

bundle, image, out = map(Path, sys.argv[1:])
contract = json.loads((bundle / "contract.json").read_text())
usual = {"fit": "stretch", "output": "logits", "activation": "none"}
usual |= {"interpolation": "bilinear", "coordinates": "half_pixel"}
if odd := [f"{field} {contract[field]}" for field in usual if contract[field] != usual[field]]:
    sys.exit(f"this program knows the usual contract, not {', '.join(odd)}")


def enlarge(maps, n, axis):
    """Bilinear, half-pixel centres."""
    at = np.clip((np.arange(n) + 0.5) * maps.shape[axis] / n - 0.5, 0, maps.shape[axis] - 1)
    before = at.astype(int)
    after = np.minimum(before + 1, maps.shape[axis] - 1)
    share = np.expand_dims((at - before).astype(np.float32), tuple(range(1, maps.ndim - axis)))
    return maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share


frame = ImageOps.exif_transpose(Image.open(image)).convert("RGB")
pixels = np.asarray(frame.resize(contract["size_hw"][::-1], Image.Resampling.BILINEAR))
pixels = pixels[..., :: 1 if contract["color"] == "rgb" else -1]
graph = next(file for file in (bundle / "int8-cpu.onnx", bundle / "float.onnx") if file.exists())
session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {contract["input_name"]: np.ascontiguousarray(pixels[None])})
labels = enlarge(enlarge(logits[0], frame.width, 2), frame.height, 1).argmax(0).astype(np.uint8)
Image.fromarray(labels).save(out)
