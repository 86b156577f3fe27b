"""From camera frame to label map: ours beside what people do otherwise, with the same weights, in one run.

    python benchmarks/frame_to_labels.py --data camvid:PATH --run ddrnet-23-slim=RUN --run fast-scnn=RUN \
        [--size 512x1024] [--size 1024x2048] [--threads 2] [--rounds 10] [--yolo yolo26n-sem.yaml]

RUN is a run of ``edgeseg qat``; weights must be trained, since how fast labels are made depends on how the classes lie.
Frames are those of the data's ``val``, resized. NNCF and Ultralytics are left out, and named, where they are not
installed (``pip install nncf ultralytics``; Ultralytics is AGPL-3.0 and used only here).

Every pipeline takes its turn in every round, after a pause in which the threads of the one before go to sleep and one
call that wakes its own; ratios are medians over rounds. Raw samples, layers and plots go to
``benchmarks/results/frame-to-labels/``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import floor
import numpy as np
import pipelines
import tails
import torch
from pipelines import Ours

from edgeseg.backends import openvino
from edgeseg.batches import normalize
from edgeseg.bundle import Bundle
from edgeseg.checkpoint import Run
from edgeseg.contract import Contract
from edgeseg.data import Dataset, open_dataset
from edgeseg.graph import export
from edgeseg.measure.accuracy import Confusion, agreement
from edgeseg.measure.boundary import boundary_f1
from edgeseg.measure.host import Host
from edgeseg.pixels import resize
from edgeseg.target import Precision

RESULTS = Path(__file__).parent / "results" / "frame-to-labels"
PAUSE_S, CALLS, TIMED_FRAMES, SCORED_FRAMES = 0.1, 3, 8, 24
Pipeline = Callable[[np.ndarray], np.ndarray]
OURS = ("ours, openvino int8", "ours, onnxruntime int8")
CHEAP = "openvino int8, argmax at the coarse stride"  # not the same labels, so no rival in speed
SCORED, SCORED_SIZE = (OURS[0], CHEAP), (512, 1024)


def main() -> None:
    given = parse()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    dataset = open_dataset(given.data, "val")
    found: dict[str, Any] = {"conditions": conditions(given), "labels": tails.measure(dataset, given.rounds)}
    tails.report(found["labels"])
    write(found)
    found["pipelines"], found["layers"] = [], {}
    for size in given.size or ["512x1024", "1024x2048"]:
        size_hw = tuple(int(n) for n in size.split("x"))
        for name, path in (run.split("=") for run in given.run):
            with tempfile.TemporaryDirectory() as folder:
                result = compare(name, Run.load(Path(path)), size_hw, dataset, given, Path(folder))  # type: ignore[arg-type]
                if size_hw == SCORED_SIZE:
                    frame = frames_of(dataset, size_hw, 1)[0]
                    model = openvino.as_run(openvino.core().read_model(Path(folder) / "int8-cpu.onnx"))
                    found["layers"][name] = floor.measure(model, frame[None])
            report(result)
            found["pipelines"].append(result)
            write(found)
    for name, result in found["layers"].items():
        floor.report(name, result)
    tails.plot(found["labels"], RESULTS / "labels.svg")


def parse() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--run", action="append", required=True, metavar="NAME=RUN")
    arguments.add_argument("--size", action="append", help="default: 512x1024 and 1024x2048")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--yolo", default="yolo26n-sem.yaml", help="Ultralytics' model: weights or a description")
    return arguments.parse_args()


def conditions(given: argparse.Namespace) -> dict[str, Any]:
    facts = Host().facts()
    libraries = ("openvino", "onnxruntime", "torch", "nncf", "ultralytics", "numpy")
    return {
        "threads": given.threads,
        "rounds": given.rounds,
        "cpu": {"model": facts.cpu, "features": list(facts.features), "cores": facts.cores},
        "load": os.getloadavg()[0],
        "libraries": {
            name: importlib.metadata.version(name) for name in libraries if importlib.util.find_spec(name) is not None
        },
    }


def frames_of(dataset: Dataset, size_hw: tuple[int, int], count: int) -> list[np.ndarray]:
    spaced = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    return [resize(dataset[int(i)].image, size_hw) for i in spaced]


def compare(
    name: str, run: Run, size_hw: tuple[int, int], dataset: Dataset, given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Samples of every pipeline for one network and size, and what the cheap way out loses."""
    contract = Contract(
        size_hw=size_hw, classes=run.classes, colors=run.colors, stride=run.network().stride, mean=run.mean, std=run.std
    )
    bundle = export.write(run, contract, dataset, folder / "bundle")
    (folder / "int8-cpu.onnx").write_bytes(bundle.graph("int8-cpu").read_bytes())
    made, missing = build(run, bundle, dataset, given, folder)
    frames = frames_of(dataset, size_hw, TIMED_FRAMES)
    samples, stages = take_turns(made, frames, given.rounds)
    labels = {pipeline: [call(frame).copy() for frame in frames] for pipeline, call in made.items()}
    return {
        "network": name,
        "size_hw": size_hw,
        "classes": len(run.classes),
        "samples_ms": samples,
        "stages_ms": stages,
        "missing": missing,
        "agreement": {
            pipeline: float(np.mean([agreement(a, b) for a, b in zip(answers, labels[OURS[0]], strict=True)]))
            for pipeline, answers in labels.items()
            if answers[0].shape == size_hw and "Ultralytics" not in pipeline and "adopted" not in pipeline
        },
        "accuracy": {p: accuracy(made[p], dataset, contract) for p in SCORED if size_hw == SCORED_SIZE},
    }


def build(
    run: Run, bundle: Bundle, dataset: Dataset, given: argparse.Namespace, folder: Path
) -> tuple[dict[str, Pipeline], dict[str, str]]:
    """Every pipeline by name, and those that are not here with the reason."""
    contract, threads = bundle.contract, given.threads
    real, integer = run.float_network(), run.network()
    int8 = pipelines.int8_graph(integer, contract)
    logits = pipelines.float_graph(real, contract)

    def in_openvino(model: Any, name: str, precision: Precision, **options: bool) -> Pipeline:
        """With the tail in OpenVINO's own operations, whose TopK is faster than what becomes of ONNX's ArgMax."""
        tailed = pipelines.tailed_openvino(pipelines.openvino_model(model, folder, name), contract, **options)
        return pipelines.OpenvinoGraph(tailed, contract, threads, precision=precision, **options)

    def as_exported(model: Any, name: str, precision: Precision) -> Pipeline:
        tailed = pipelines.openvino_model(pipelines.with_tail(model, contract), folder, name)
        return pipelines.OpenvinoGraph(tailed, contract, threads, precision=precision)

    def in_onnxruntime(model: Any, **options: bool) -> Pipeline:
        framed = pipelines.with_tail(pipelines.with_frame(model, contract), contract, **options)
        return pipelines.OnnxRuntimeGraph(framed, threads, stride=contract.stride if options else 1)

    made: dict[str, Pipeline] = {
        OURS[0]: Ours(bundle.path, "openvino", "int8", threads),
        OURS[1]: Ours(bundle.path, "onnxruntime", "int8", threads),
        "ours, openvino fp32": Ours(bundle.path, "openvino", "fp32", threads),
        "openvino int8, tail in the graph": in_openvino(int8, "int8", "int8"),
        "openvino int8, tail in the graph as ONNX has it": as_exported(int8, "exported", "int8"),
        "openvino fp32, tail in the graph": in_openvino(logits, "fp32", "fp32"),
        CHEAP: in_openvino(int8, "coarse", "int8", coarse=True),
        "onnxruntime int8, tail in the graph": in_onnxruntime(int8),
        "torch.compile fp32": pipelines.Compiled(real, contract),
    }
    missing = {}
    if importlib.util.find_spec("nncf") is not None:
        images = [
            normalize(f[None], contract.mean, contract.std).numpy() for f in frames_of(dataset, contract.size_hw, 24)
        ]
        source = pipelines.openvino_model(logits, folder, "nncf")
        quantized = pipelines.tailed_openvino(pipelines.nncf_int8(source, images), contract)
        made["NNCF int8 in openvino, tail in the graph"] = pipelines.OpenvinoGraph(
            quantized, contract, threads, precision="int8"
        )
    else:
        missing["NNCF int8"] = "pip install nncf"
    if importlib.util.find_spec("ultralytics") is not None:
        made |= pipelines.ultralytics(given.yolo, contract.size_hw, given.data, threads, folder)
    else:
        missing["Ultralytics"] = "pip install ultralytics"
    return made, missing


def take_turns(
    made: Mapping[str, Pipeline], frames: Sequence[np.ndarray], rounds: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, list[float]]]]:
    """Milliseconds per pipeline, the median of a few calls in each round; and of our own stages, likewise."""
    samples: dict[str, list[float]] = {name: [] for name in made}
    stages: dict[str, dict[str, list[float]]] = {
        name: {"prepare": [], "infer": [], "labels": []} for name, p in made.items() if isinstance(p, Ours)
    }
    for pipeline in made.values():
        pipeline(frames[0])
    for turn in range(rounds):
        for name, pipeline in made.items():
            time.sleep(PAUSE_S)
            pipeline(frames[turn % len(frames)])
            took, parts = [], []
            for i in range(CALLS):
                frame = frames[(turn + i) % len(frames)]
                if isinstance(pipeline, Ours):
                    parts.append(timed_stages(pipeline, frame))
                    took.append(sum(parts[-1]))
                else:
                    start = time.perf_counter()
                    pipeline(frame)
                    took.append((time.perf_counter() - start) * 1e3)
            samples[name].append(float(np.median(took)))
            for stage, ms in zip(stages.get(name, ()), np.median(parts, 0) if parts else (), strict=True):
                stages[name][stage].append(float(ms))
    return samples, stages


def timed_stages(pipeline: Ours, frame: np.ndarray) -> tuple[float, float, float]:
    segmenter, clock = pipeline.segmenter, time.perf_counter
    start = clock()
    given = segmenter.prepare(frame)
    prepared = clock()
    logits = segmenter.infer(given)
    inferred = clock()
    segmenter.labels(logits, frame.shape[:2])
    end = clock()
    return (prepared - start) * 1e3, (inferred - prepared) * 1e3, (end - inferred) * 1e3


def accuracy(pipeline: Pipeline, dataset: Dataset, contract: Contract) -> dict[str, float]:
    """mIoU and boundary F1 at the contract's size, truth enlarged to it."""
    confusion, outlines = Confusion(len(contract.classes)), []
    for i in np.unique(np.linspace(0, len(dataset) - 1, min(SCORED_FRAMES, len(dataset))).astype(int)):
        sample = dataset[int(i)]
        labels = pipeline(resize(sample.image, contract.size_hw))
        rows, cols = ((np.arange(n) * m // n) for n, m in zip(contract.size_hw, sample.mask.shape, strict=True))
        truth = sample.mask[rows[:, None], cols]
        confusion.add(labels, truth)
        outlines.append(boundary_f1(labels, truth, len(contract.classes)))
    return {"miou": confusion.miou, "boundary_f1": float(np.mean(outlines))}


def ratio(samples: Mapping[str, list[float]], slower: str, faster: str) -> float:
    return float(np.median(np.array(samples[slower]) / np.array(samples[faster])))


def report(result: Mapping[str, Any]) -> None:
    samples, ours = result["samples_ms"], OURS[0]
    print(f"\n{result['network']}, {'x'.join(map(str, result['size_hw']))}, {result['classes']} classes")
    for name, ms in sorted(samples.items(), key=lambda item: float(np.median(item[1]))):
        same = result["agreement"].get(name)
        print(
            f"  {name:50s} {np.median(ms):8.2f} ms  {ratio(samples, name, ours):5.2f}x ours"
            + (f"  same labels on {same:.2%}" if same is not None else "  (another network)")
        )
    for name, stages in result["stages_ms"].items():
        parts = ", ".join(f"{stage} {np.median(ms):.2f}" for stage, ms in stages.items())
        whole = float(np.median(np.array(samples[name]) / np.array(stages["infer"])))
        print(f"  {name}: {parts} ms; whole / engine {whole:.3f}")
    for name, scores in result["accuracy"].items():
        print(f"  {name}: mIoU {scores['miou']:.2%}, boundary F1 {scores['boundary_f1']:.2%}")


def write(found: Mapping[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "samples.json").write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
