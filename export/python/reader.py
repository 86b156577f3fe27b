"""A bundle without edgeseg, and nothing taken on trust: every MUST of the page above this folder, as a program.

It implements the contract's defaults, which is what `edgeseg export` writes, on ONNX Runtime, and refuses a contract
with anything else: letterboxed frames, labels made in the graph, softmax, other upsampling.

Install: pip install numpy pillow onnxruntime
Run: python export/python/reader.py bundle image.jpg labels.png overlay.png
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

DEFAULTS = dict(fit="stretch", output="logits", activation="none", interpolation="bilinear", coordinates="half_pixel")
OTHERS = {"border", "classes", "color", "colors", "ignore_label", "input_name", "mean", "output_name", "size_hw"}
OTHERS |= {"std", "stride"}


class Refused(ValueError):
    """Not a bundle that this program can read, and why."""


def read(bundle):
    """The contract, and the names of the files that the bundle lists, none of them changed."""
    provenance = json.loads((bundle / "provenance.json").read_text())
    if provenance["format"] != 2:
        raise Refused(f"{bundle} has format {provenance['format']}, this program reads 2")
    digest = provenance.pop("digest")
    canonical = json.dumps(provenance, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != digest:
        raise Refused(f"{bundle / 'provenance.json'} was changed after it was written")
    for name, expected in provenance["files"].items():
        if hashlib.sha256((bundle / name).read_bytes()).hexdigest() != expected:
            raise Refused(f"{bundle / name} was changed after it was written")
    contract = json.loads((bundle / "contract.json").read_text())
    if strange := contract.keys() - DEFAULTS.keys() - OTHERS:
        raise Refused(f"the contract has {', '.join(sorted(strange))}, which this program does not know")
    for field, done in DEFAULTS.items():
        if contract[field] != done:
            raise Refused(f"the contract's {field} is {contract[field]!r}; this program does {done!r} only")
    return contract, provenance["files"]


def segmenter(bundle):
    """The contract, and a function from frames in its order of colours, uint8 (H, W, 3), to labels uint8 (H, W)."""
    contract, files = read(bundle)
    form, golden = ("int8-cpu", "logits_int8") if "int8-cpu.onnx" in files else ("float", "logits_float")
    if f"{form}.onnx" not in files:
        raise Refused(f"{bundle} holds no ONNX graph, only {', '.join(sorted(files))}: run it on OpenVINO")
    session = ort.InferenceSession(bundle / f"{form}.onnx", providers=["CPUExecutionProvider"])

    def segment(frame):
        pixels = Image.fromarray(frame).resize(contract["size_hw"][::-1], Image.Resampling.BILINEAR)
        (logits,) = session.run([contract["output_name"]], {contract["input_name"]: np.asarray(pixels)[None]})
        return labels_of(logits[0], frame.shape[:2])

    with np.load(bundle / "golden.npz", allow_pickle=False) as kept:
        pairs = list(zip(kept["frames"], kept[golden]))
    same = np.mean([segment(frame) == labels_of(logits, frame.shape[:2]) for frame, logits in pairs])
    if same < 0.998:
        raise Refused(f"only {same:.2%} of the golden pixels are labelled as they should be")
    return contract, segment


def labels_of(logits, size_hw):
    """float32 (K, h, w) -> uint8 (H, W): upsampled, bilinear with half-pixel centres, and then the largest."""
    (top, bottom, down), (left, right, across) = (taps(n, out) for n, out in zip(logits.shape[1:], size_hw))
    rows = logits[:, :, left] * (1 - across) + logits[:, :, right] * across
    return (rows[:, top] * (1 - down)[:, None] + rows[:, bottom] * down[:, None]).argmax(0).astype(np.uint8)


def taps(n, out):
    """For each of ``out`` pixels: the logits before and after its centre, and the weight of the latter."""
    at = np.maximum((np.arange(out) + 0.5) * (n / out) - 0.5, 0)
    before = at.astype(int)
    return before, np.minimum(before + 1, n - 1), (at - before).astype(np.float32)


def main(arguments):
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    bundle, image, labels_png, overlay_png = map(Path, arguments)
    try:
        contract, segment = segmenter(bundle)
        rgb = np.asarray(ImageOps.exif_transpose(Image.open(image)).convert("RGB"))
    except (Refused, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    labels = segment(rgb if contract["color"] == "rgb" else np.ascontiguousarray(rgb[..., ::-1]))
    colors = Image.fromarray(np.array(contract["colors"], np.uint8)[labels])
    Image.fromarray(labels).save(labels_png)
    Image.blend(Image.fromarray(rgb), colors, 0.5).save(overlay_png)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
