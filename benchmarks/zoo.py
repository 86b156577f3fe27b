"""Every student side by side: what the paper says, what this one has, and what engines make of it.

    python benchmarks/zoo.py                       # all that results/zoo.json does not hold yet, then ZOO.md
    python benchmarks/zoo.py ddrnet-23-slim        # these, anew
    python benchmarks/zoo.py --table               # only ZOO.md, from what is there

Each network has 19 classes and random weights, with batch statistics and activation scales of drawn street frames: what
an engine takes of time and how it rounds does not depend on training, its accuracy does and is not looked at here. It
is quantized, exported at 512x1024, built for OpenVINO and ONNX Runtime, checked for TensorRT, and built by TensorRT-RTX
where that is installed. Frame to labels is timed in rounds in which OpenVINO's fp32 and int8 take turns. Each network
has a process of its own; one that fails is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from untrained import CLASSES, untrained

from edgeseg import backends, networks, plans, students
from edgeseg.bundle import Bundle
from edgeseg.check import check
from edgeseg.checkpoint import Run
from edgeseg.contract import Contract
from edgeseg.data import open_dataset
from edgeseg.errors import BackendMissing, EdgesegError
from edgeseg.graph import export
from edgeseg.measure.host import Host
from edgeseg.pixels import resize
from edgeseg.segmenter import Segmenter
from edgeseg.target import Target

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "zoo.json", HERE / "ZOO.md"
SIZE, SMALL = (512, 1024), (360, 480)
ROUNDS, DEVICE = 15, "sm86"
ENGINES = (("openvino", "fp32"), ("openvino", "int8"), ("onnxruntime", "int8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="STUDENT")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # in the process of its own
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [] if given.table else given.networks or [name for name in students.names() if name not in found]
    for name in wanted:
        print(name, flush=True)
        found[name] = in_its_own_process(name)
        print("  ", found[name].get("failed") or found[name]["engines"], flush=True)
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(found))


def in_its_own_process(name: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str) -> dict[str, Any]:
    network = networks.build(name, CLASSES)
    found: dict[str, Any] = {
        "parameters": networks.parameters(network),
        "gmacs": {f"{h}x{w}": networks.macs(network, (h, w)) / 1e9 for h, w in (SIZE, SMALL)},
        "stride": network.stride,
        "host": Host().facts().cpu,
    }
    dataset = open_dataset("synthetic:street", "val")
    frames = [resize(dataset[i].image, SIZE) for i in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        untrained(name, frames, torch.device("cpu"), Path(folder) / "run", dataset.spec)
        run = Run.load(Path(folder) / "run")
        contract = Contract(
            size_hw=SIZE, classes=run.classes, colors=run.colors, stride=network.stride, mean=run.mean, std=run.std
        )
        bundle = export.write(run, contract, dataset, Path(folder) / "bundle", half="int8")
        found["engines"] = on_cpu(bundle)
        found["milliseconds"] = timed(bundle, frames)
        found["tensorrt"] = {target: before_tensorrt(bundle, target) for target in ("trt", "trt-rtx")}
        found["rtx"] = by_rtx(bundle)
    return found


def on_cpu(bundle: Bundle) -> dict[str, Any]:
    """Of each engine: labels as the network's, and its convolutions; or why it was refused."""
    found = {}
    for backend, precision in ENGINES:
        target = Target(backend=backend, precision=precision, min_agreement=0.0)
        try:
            plan = plans.folder_of(bundle, target)
            engine = backends.get(backend)
            engine.build(bundle, target, plan)
            seen = plans.verify(bundle, engine.load(plan, target), target)
            found[target.name] = {
                "agreement": seen.agreement,
                "convolutions": seen.convolutions,
                "fell_back": seen.fell_back,
            }
            plans.note(replace(seen, fell_back=()), target, plan)  # timed all the same: the table says what fell back
        except EdgesegError as e:
            found[target.name] = {"refused": str(e)}
    return found


def timed(bundle: Bundle, frames: list[np.ndarray]) -> dict[str, list[float]]:
    """Frame to labels, one thread, in rounds in which the forms take turns."""
    made = {
        f"openvino-{precision}": Segmenter.load(
            bundle, Target(backend="openvino", precision=precision, threads=1, min_agreement=0.0)
        )
        for precision in ("fp32", "int8")
    }
    took: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(ROUNDS + 2):
        for name, segmenter in made.items():
            began = time.perf_counter()
            segmenter(frames[turn % len(frames)])
            if turn >= 2:  # the first ones warm up
                took[name].append(1000 * (time.perf_counter() - began))
    return took


def before_tensorrt(bundle: Bundle, target: str) -> dict[str, list[str]]:
    """The checker's gravest words, by severity: rules, each once."""
    report = check(bundle, target, versions=("8.6", "10", "11") if target == "trt" else ())
    found: dict[str, set[str]] = {}
    for finding in (f for graph in report.graphs for f in graph.findings):
        found.setdefault(finding.severity, set()).add(finding.rule)
    return {severity: sorted(rules) for severity, rules in found.items()}


def by_rtx(bundle: Bundle) -> dict[str, Any]:
    """Plan sizes in bytes, or what TensorRT-RTX said."""
    found: dict[str, Any] = {}
    for precision in ("fp16", "int8"):
        try:
            plan = plans.build_ahead(bundle, Target(backend="trt-rtx", precision=precision), DEVICE)
            found[precision] = (plan / "model.plan").stat().st_size
        except BackendMissing:
            return {"failed": "not installed here"}
        except EdgesegError as e:
            found[precision] = str(e)
    return found


def page(found: dict[str, Any]) -> str:
    head = (
        "# The zoo\n\nGenerated by `python benchmarks/zoo.py`, raw results in `results/zoo.json`. 19 classes; GMACs "
        "are multiply-adds of all convolutions; milliseconds are medians from camera frame to label map at 512x1024 on "
        "one thread in OpenVINO; labels: share of golden pixels that the int8 engine labels as the quantized network "
        "does (random weights: most pixels are close calls); int8: convolutions that run in it.\n\n"
    )
    hosts = sorted({entry["host"] for entry in found.values() if "host" in entry})
    headings = ["student", "params M", "paper's", "GMACs 512x1024", "360x480", "stride", "fp32 ms", "int8 ms"]
    headings += ["int8 OpenVINO", "labels OpenVINO", "labels ONNX Runtime", "TensorRT", "RTX plan MB fp16, int8"]
    lines = [line(name, found[name]) for name in sorted(found)]
    rows = [headings, ["---"] * len(headings), *lines]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{head}Machine: {', '.join(hosts)}.\n\n{body}\n"


def line(name: str, entry: dict[str, Any]) -> list[str]:
    if "failed" in entry:
        return [name, entry["failed"], *[""] * 11]
    ov, ort = entry["engines"]["openvino-int8"], entry["engines"]["onnxruntime-int8"]
    ms = {key: statistics.median(values) for key, values in entry["milliseconds"].items()}
    stops = sorted(
        {f"{rule}" for found in entry["tensorrt"].values() for s in ("refused", "wrong") for rule in found.get(s, [])}
    )
    rtx = entry["rtx"]
    sizes = [f"{size / 1e6:.1f}" if isinstance(size, int) else "refused" for size in rtx.values()]
    return [
        name,
        f"{entry['parameters'] / 1e6:.2f}",
        published(name),
        f"{entry['gmacs']['512x1024']:.2f}",
        f"{entry['gmacs']['360x480']:.2f}",
        str(entry["stride"]),
        f"{ms['openvino-fp32']:.0f}",
        f"{ms['openvino-int8']:.0f}",
        "refused" if "refused" in ov else f"{ov['convolutions'] - len(ov['fell_back'])}/{ov['convolutions']}",
        "" if "refused" in ov else f"{ov['agreement']:.2%}",
        "refused" if "refused" in ort else f"{ort['agreement']:.2%}",
        ", ".join(stops) or "parses",
        ", ".join(sizes) if "failed" not in rtx else rtx["failed"],
    ]


def published(name: str) -> str:
    """The paper's own count, from the family's file: PUBLISHED = {"name": "5.7 M, 36.3 G at 1024x2048"}."""
    module = sys.modules[students.get(name).__module__]
    return str(getattr(module, "PUBLISHED", {}).get(name, ""))


if __name__ == "__main__":
    main()
