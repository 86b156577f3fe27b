"""What int8 buys on this CPU: DDRNet-23-slim at 512x1024, 19 classes, float and int8 on each engine, interleaved.

    python benchmarks/latency.py [--network ddrnet-23-slim] [--size 512x1024] [--threads 2] [--rounds 15]

Only the engine is timed, from pixels to coarse logits, with untrained weights: kernels take the same time
whatever they multiply. The forms take turns, with a pause before each so that the threads of the one before have gone
to sleep, and ratios are medians over rounds. Raw samples go to ``benchmarks/results/latency-NETWORK.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch

from edgeseg import backends, networks
from edgeseg.compress import qat
from edgeseg.contract import Contract
from edgeseg.graph import onnx_file
from edgeseg.graph.deploy import deploy
from edgeseg.graph.export import cpu_form
from edgeseg.measure.host import Host
from edgeseg.recipes.segmentation import MEAN, STD

RESULTS = Path(__file__).parent / "results"
PAUSE_S = 0.1


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--network", default="ddrnet-23-slim")
    arguments.add_argument("--size", default="512x1024")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=15)
    given = arguments.parse_args()
    size = tuple(int(n) for n in given.size.split("x"))
    facts = Host().facts()
    with tempfile.TemporaryDirectory() as folder:
        write_graphs(given.network, (size[0], size[1]), Path(folder))
        forms = {
            "openvino fp32": ("openvino", "fp32", "float"),
            "openvino int8": ("openvino", "int8", "int8-cpu"),
            "onnxruntime fp32": ("onnxruntime", "fp32", "float"),
            "onnxruntime int8": ("onnxruntime", "int8", "int8-cpu"),
        }
        if facts.has_bf16:
            forms["openvino bf16"] = ("openvino", "bf16", "float")
        engines = {name: open_engine(Path(folder), *form, given.threads) for name, form in forms.items()}
        pixels = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
        samples = take_turns(engines, pixels, given.rounds)
    medians = {name: float(np.median(ms)) for name, ms in samples.items()}
    for name, ms in medians.items():
        backend = name.split()[0]
        ratio = float(np.median(np.array(samples[f"{backend} fp32"]) / np.array(samples[name])))
        print(f"{name:18s} {ms:8.1f} ms   {ratio:.2f}x the speed of {backend} fp32")
    result = {
        "network": given.network,
        "size_hw": size,
        "threads": given.threads,
        "samples_ms": samples,
        "libraries": {name: engine.library for name, engine in engines.items()},
        "cpu": {"model": facts.cpu, "features": list(facts.features), "cores": facts.cores},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"latency-{given.network}.json").write_text(json.dumps(result, indent=1) + "\n")


def write_graphs(network: str, size: tuple[int, int], folder: Path) -> None:
    """float.onnx and int8-cpu.onnx of an untrained network of 19 classes, calibrated on noise."""
    torch.manual_seed(0)
    student = networks.build(network, 19)
    classes = tuple(f"class-{i}" for i in range(19))
    contract = Contract(size_hw=size, classes=classes, colors=((0, 0, 0),) * 19, mean=MEAN, std=STD)
    student.eval()
    onnx_file.write(deploy(student), contract, folder / "float.onnx")
    graph = qat.prepare(student, input_scale=1 / 128)
    qat.calibrate(graph, [torch.randn(1, 3, *size)])
    onnx_file.write(deploy(graph), contract, folder / "int8.onnx")
    onnx_file.save(cpu_form(onnx.load(folder / "int8.onnx")), folder / "int8-cpu.onnx")


def open_engine(folder: Path, backend: str, precision: str, form: str, threads: int) -> backends.Engine:
    """As ``load`` opens what ``build`` writes."""
    module = backends.get(backend)
    if backend == "openvino":
        return module.OpenvinoEngine(folder / f"{form}.onnx", precision, threads)
    model = onnx.load(folder / f"{form}.onnx")
    module.prefer_integers(model)
    onnx.save(model, folder / f"{form}-onnxruntime.onnx")
    return module.OnnxRuntimeEngine(folder / f"{form}-onnxruntime.onnx", threads)


def take_turns(engines: dict[str, backends.Engine], pixels: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per form and round: the fastest of three calls, after one that wakes its threads."""
    samples: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            time.sleep(PAUSE_S)
            engine(pixels)
            calls = []
            for _ in range(3):
                start = time.perf_counter()
                engine(pixels)
                calls.append((time.perf_counter() - start) * 1e3)
            samples[name].append(min(calls))
    return samples


if __name__ == "__main__":
    main()
