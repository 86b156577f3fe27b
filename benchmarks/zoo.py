"""Every student side by side: what the paper says, what this one has, and what engines make of it.

    python benchmarks/zoo.py --work WORK                   # all that results/zoo.json does not hold yet, then ZOO.md
    python benchmarks/zoo.py --work WORK ddrnet-23-slim    # these, anew
    python benchmarks/zoo.py --work WORK --time            # only the latencies, anew: on an idle machine
    python benchmarks/zoo.py --table                       # only ZOO.md, from what is there

Each network is trained for a few steps on drawn streets, quantized and trained on for a few more, exported at 512x1024,
built for OpenVINO and ONNX Runtime, checked for TensorRT, and built by TensorRT-RTX where that is installed. What an
engine takes of time and how it rounds does not depend on how well a network is trained; mean IoU on CamVid is that of
front.py. Frame to labels is timed in rounds in which OpenVINO's fp32 and int8 take turns. Each network has a process of
its own; one that fails is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgeseg import backends, networks, pipeline, plans, students
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
from edgeseg.train import Options

HERE = Path(__file__).resolve().parent
RESULTS, FRONT, PAGE = HERE / "results" / "zoo.json", HERE / "results" / "front-small.json", HERE / "ZOO.md"
SIZE, SMALL, CLASSES = (512, 1024), (360, 480), 19
DATA = "synthetic:street?frames=16&size=96x192"
FLOAT = Options(steps=40, batch_size=4, device="cpu", resume=True)
QAT = replace(FLOAT, steps=12)
ROUNDS, DEVICE = 15, "sm86"
ENGINES = (("openvino", "fp32"), ("openvino", "int8"), ("onnxruntime", "int8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="STUDENT")
    parser.add_argument("--work", type=Path, help="folder for runs and bundles")
    parser.add_argument("--time", action="store_true", help="measure latencies and nothing else")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # in the process of its own
    given = parser.parse_args()
    if given.one:
        print(json.dumps((timed if given.time else measure)(given.one, given.work)))
        return
    if given.work is None and not given.table:
        parser.error("say where runs and bundles go: --work WORK")
    found = read(RESULTS)
    wanted = given.networks or [name for name in students.names() if given.time or name not in found]
    for name in [] if given.table else wanted:
        print(name, flush=True)
        measured = in_its_own_process(name, given.work, given.time)
        found = read(RESULTS)  # others may write beside this one
        found[name] = {**found.get(name, {}), **measured} if given.time else measured
        print("  ", measured, flush=True)
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(found, read(FRONT)))


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def in_its_own_process(name: str, work: Path, only_time: bool) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    command = [sys.executable, __file__, "--one", name, "--work", str(work), *(["--time"] if only_time else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, work: Path) -> dict[str, Any]:
    with torch.device("meta"):
        network = networks.build(name, CLASSES)
    found: dict[str, Any] = {
        "parameters": networks.parameters(network),
        "gmacs": {f"{h}x{w}": networks.macs(network, (h, w)) / 1e9 for h, w in (SIZE, SMALL)},
        "stride": network.stride,
    }
    if (paper := published(name)) and paper[1]:
        found["gmacs"]["{}x{}".format(*paper[2])] = networks.macs(network, paper[2]) / 1e9
    bundle = made(name, work / name)
    found["engines"] = on_cpu(bundle)
    found["tensorrt"] = {target: before_tensorrt(bundle, target) for target in ("trt", "trt-rtx")}
    found["rtx"] = by_rtx(bundle)
    return {**found, **timed(name, work)}


def made(name: str, work: Path) -> Bundle:
    """A trained and quantized network as a bundle; what is there already is kept."""
    if (work / "bundle").exists():
        return Bundle.load(work / "bundle")
    pipeline.train(model=name, data=DATA, out=work / "float", options=FLOAT)
    run = Run.load(pipeline.qat(work / "float", data=DATA, out=work / "int8", options=QAT).path)
    contract = Contract(
        size_hw=SIZE, classes=run.classes, colors=run.colors, stride=run.network().stride, mean=run.mean, std=run.std
    )
    beside = work / ".bundle.writing"
    if beside.exists():
        shutil.rmtree(beside)
    export.write(run, contract, open_dataset(DATA, "val"), beside, half="int8")
    beside.replace(work / "bundle")
    return Bundle.load(work / "bundle")


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


def timed(name: str, work: Path) -> dict[str, Any]:
    """Milliseconds from frame to labels, one thread, in rounds in which the forms take turns."""
    bundle, dataset = Bundle.load(work / name / "bundle"), open_dataset(DATA, "val")
    frames = [resize(dataset[i].image, SIZE) for i in range(2)]
    made = {
        f"openvino-{precision}": Segmenter.load(
            bundle, Target(backend="openvino", precision=precision, threads=1, min_agreement=0.0)
        )
        for precision in ("fp32", "int8")
    }
    took: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(ROUNDS + 2):
        for form, segmenter in made.items():
            began = time.perf_counter()
            segmenter(frames[turn % len(frames)])
            if turn >= 2:  # the first ones warm up
                took[form].append(round(1000 * (time.perf_counter() - began), 2))
    return {"milliseconds": took, "host": Host().facts().cpu}


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


def page(found: dict[str, Any], trained: dict[str, Any]) -> str:
    head = (
        "# The zoo\n\nGenerated by `python benchmarks/zoo.py`, raw results in `results/zoo.json` and "
        "`results/front-small.json`.\n\n"
        "- 19 classes. A paper without a number for them has none here. GMACs are multiply-adds of convolutions and "
        "matrix products.\n"
        "- Milliseconds: medians from camera frame to label map at 512x1024, one thread, OpenVINO.\n"
        "- mIoU: CamVid val, quantized, after the same short training from scratch (`front.py`); empty: not trained "
        "here; **bold**: on the front, nothing here is both faster and more accurate.\n"
        "- int8: convolutions that run in it, of all. Labels: share of the golden frames' pixels that the int8 engine "
        "labels as the quantized network does, after a short training.\n"
        "- TensorRT: what the checker says that one of the versions would refuse or compute wrongly, or that all "
        "parse. RTX: plans built ahead for one architecture.\n\n"
    )
    hosts = sorted({entry["host"] for entry in found.values() if "host" in entry})
    headings = ["student", "paper: M, GMACs at", "here: M, GMACs there", "GMACs 512x1024", "360x480", "stride"]
    headings += ["fp32 ms", "int8 ms", "mIoU", "int8 in OpenVINO", "in ONNX Runtime", "labels OpenVINO"]
    headings += ["labels ONNX Runtime", "TensorRT 8.6 to 11", "RTX plan MB fp16, int8"]
    best = front(found, trained)
    rows = [headings, ["---"] * len(headings), *(line(n, found[n], trained.get(n), n in best) for n in sorted(found))]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{head}Machine: {', '.join(hosts)}.\n\n{body}\n"


def line(name: str, entry: dict[str, Any], trained: dict[str, Any] | None, best: bool) -> list[str]:
    if "engines" not in entry:
        return [name, entry["failed"], *[""] * 13]
    ms = milliseconds(entry)
    accuracy = f"{100 * miou(trained):.1f}" if trained else ""
    stops = {rule for found in entry["tensorrt"].values() for s in ("refused", "wrong") for rule in found.get(s, [])}
    rtx = entry["rtx"]
    sizes = [f"{size / 1e6:.1f}" if isinstance(size, int) else "refused" for size in rtx.values()]
    return [
        name,
        *beside_the_paper(name, entry),
        f"{entry['gmacs']['512x1024']:.2f}",
        f"{entry['gmacs']['360x480']:.2f}",
        str(entry["stride"]),
        f"{ms['openvino-fp32']:.0f}",
        f"{ms['openvino-int8']:.0f}",
        f"**{accuracy}**" if best else accuracy,
        *(in_int8(entry["engines"][engine]) for engine in ("openvino-int8", "onnxruntime-int8")),
        *(labels(entry["engines"][engine]) for engine in ("openvino-int8", "onnxruntime-int8")),
        ", ".join(sorted(stops)) or "parses",
        ", ".join(sizes) if "failed" not in rtx else rtx["failed"],
    ]


def in_int8(engine: dict[str, Any]) -> str:
    if "refused" in engine:
        return "refused"
    return f"{engine['convolutions'] - len(engine['fell_back'])}/{engine['convolutions']}"


def labels(engine: dict[str, Any]) -> str:
    return "refused" if "refused" in engine else f"{100 * engine['agreement']:.2f} %"


def milliseconds(entry: dict[str, Any]) -> dict[str, float]:
    return {form: statistics.median(samples) for form, samples in entry["milliseconds"].items()}


def miou(trained: dict[str, Any]) -> float:
    return statistics.mean(seed["int8"]["miou"] for seed in trained.values())


def front(found: dict[str, Any], trained: dict[str, Any]) -> set[str]:
    """Networks than which none is both faster in int8 and more accurate."""
    points = {
        name: (milliseconds(found[name])["openvino-int8"], miou(trained[name]))
        for name in trained
        if "milliseconds" in found.get(name, {})
    }
    return {
        name for name, (ms, accuracy) in points.items() if not any(m < ms and a > accuracy for m, a in points.values())
    }


def beside_the_paper(name: str, entry: dict[str, Any]) -> tuple[str, str]:
    ours = f"{entry['parameters'] / 1e6:.2f}"
    if not (paper := published(name)):
        return "", ours
    parameters, gmacs, size = paper
    said = "-" if parameters is None else f"{parameters:g}"
    if gmacs is None:
        return said, ours
    at = "{}x{}".format(*size)
    return f"{said}, {gmacs:g} at {at}", f"{ours}, {entry['gmacs'][at]:.1f}"


def published(name: str) -> tuple[float | None, float | None, tuple[int, int] | None] | None:
    """M parameters, G multiply-adds and the size they are counted at: what the paper says, from the family's file."""
    module = sys.modules[students.get(name).__module__]
    found: dict[str, Any] = getattr(module, "PUBLISHED", {})
    return found.get(name)


if __name__ == "__main__":
    main()
