"""What fp16 costs a network's labels, and what TensorRT-RTX makes of each graph: python benchmarks/half.py BUNDLE...

For each bundle (exported from a run of 'edgeseg qat'; none of its plans are used), for its float and its int8 graph:

* labels of the golden frames against the network's own, from ONNX Runtime with every optimisation off, which then
  rounds after each node as the graph says. Casting all but scales stands beside :mod:`edgeseg.graph.half`;
* where TensorRT-RTX is installed, what it builds for one architecture: the plan's size, and how many bytes its kernels
  write in each type, from its own list of layers. Nothing is run on a GPU.

Raw results go to benchmarks/results/half.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgeseg import backends, pixels, tensorrt_layers
from edgeseg.bundle import GRAPHS, Bundle, seal
from edgeseg.errors import BackendMissing
from edgeseg.graph.half import REAL, leave_depthwise_float, to_half
from edgeseg.target import Target

RESULTS = Path(__file__).parent / "results" / "half.json"
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "uint8": 1, "int32": 4}


def blunt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Everything in fp16 that is float: constants, and what is computed; a cast at the end."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    kept = {
        name for node in graph.node if node.op_type in ("Resize", "Upsample") for name in node.input[REAL["Resize"] :]
    }
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        node.output[:] = [f"{name}.half" if name == graph.output[0].name else name for name in node.output]
    (name,) = [output.name for output in graph.output]
    graph.node.append(helper.make_node("Cast", [f"{name}.half"], [name], name="tail.Cast", to=TensorProto.FLOAT))
    del graph.value_info[:]
    return model


def forms(bundle: Bundle) -> dict[str, tuple[str, onnx.ModelProto]]:
    """Each graph by name, and the precision whose golden logits it is compared with."""
    real, signed = (onnx.load(bundle.path / GRAPHS[form]) for form in ("float", "int8"))
    depthwise, left = leave_depthwise_float(signed)
    found = {
        "float": ("fp32", real),
        "float, all fp16": ("fp32", blunt(real)),
        "float, ours": ("fp32", to_half(real)),
        "int8": ("int8", signed),
        "int8, all fp16": ("int8", blunt(signed)),
        "int8, ours": ("int8", to_half(signed)),
    }
    return found | ({"int8, ours, depthwise float": ("int8", to_half(depthwise))} if left else {})


def agreement(bundle: Bundle, model: onnx.ModelProto, precision: Any) -> list[float]:
    """Of each golden frame, the share of pixels labelled as the network labels them."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    golden, contract = bundle.golden(), bundle.contract
    same = []
    for frame, reference in zip(golden.frames, golden.logits(precision), strict=True):
        (logits,) = session.run(None, {contract.input_name: frame[None]})
        ours, theirs = (pixels.labels_of(x, contract.size_hw, contract) for x in (logits, reference[None]))
        same.append(float(np.mean(ours == theirs)))
    return same


def built(bundle: Bundle, model: onnx.ModelProto, device: str) -> dict[str, Any] | None:
    """What TensorRT-RTX makes of a graph; None where it is not installed."""
    try:
        backend: Any = backends.get("trt-rtx")
    except BackendMissing:
        return None
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder) / "bundle"
        room.mkdir()
        (room / "contract.json").write_text(bundle.contract.to_json())
        onnx.save(model, room / GRAPHS["float"])
        seal(room, {"convolutions": {"int8": [], "float": []}})
        target = Target(backend="trt-rtx", precision="fp32")
        plan = backend.build(Bundle.load(room), target, Path(folder) / "plan", device=device)
        layers = tensorrt_layers.read(plan / "layers.json")
        written: Counter[str] = Counter()
        for tensor in (tensor for layer in layers for tensor in layer.outputs):
            written[tensor.precision] += int(np.prod(tensor.shape)) * BYTES[tensor.precision]
        return {
            "device": device,
            "library": backend.LIBRARY,
            "plan_bytes": (plan / "model.plan").stat().st_size,
            "bytes_written": dict(written),
            "convolutions": dict(Counter(layer.precision for layer in layers for _ in layer.convolutions)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, help="bundles with a float and an int8 graph")
    parser.add_argument("--sm", default="sm86", help="the architecture to build for")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    results = []
    for path in given.bundles:
        bundle = Bundle.load(path)
        for name, (precision, model) in forms(bundle).items():
            same = agreement(bundle, model, precision)
            entry = {
                "network": bundle.provenance["run"]["network"]["name"],
                "size_hw": bundle.contract.size_hw,
                "graph": name,
                "agreement": same,
                "rtx": built(bundle, model, given.sm),
            }
            results.append(entry)
            print(f"{entry['network']}  {name}: {np.mean(same):.3%}  {entry['rtx'] and entry['rtx']['bytes_written']}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
