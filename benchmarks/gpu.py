"""From camera frame to label map on an NVIDIA GPU: whatever engine runs here, beside torch with the same weights.

    python benchmarks/gpu.py --work build/gpu --prepare        # bundles and engines, once: minutes
    python benchmarks/gpu.py --work build/gpu --out benchmarks/results/gpu
    python benchmarks/gpu.py --device cpu --quick --size 64x128 --out /tmp/gpu      # does it run? not for numbers

Networks have random weights, with batch statistics of real frames so that they answer more than one class; kernels take
the same time whatever they multiply. Give ``--run NAME=RUN`` (a run of ``edgeseg qat``) and ``--data`` for trained
ones. Agreement of labels with eager float32 means something for those only: on random weights most pixels are close
calls.

Every pipeline is tried, and one that cannot run is recorded with what it said. Each takes its turn in every round,
after a pause and one call that wakes it; a sample is the median of ``--calls`` calls. What a call takes is host time
from the frame in host memory to the labels in host memory; what its part on the device takes is from CUDA events
around copies and kernels. A network in int8 runs in int8 only in an engine: fake quantization in torch is slower than
float, so it is no pipeline here. ``samples.json`` in ``--out`` is written anew after every round, so a run that is cut
off has lost nothing. ``--minutes`` is divided over the cases; what is not built in half of a case's share is left out,
and named.

A GPU machine needs this tree with its native kernels ('make native'), torch, and the engines:

    pip install torch onnx onnxscript safetensors accelerate pillow rich typer numpy
    pip install tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116      # target trt-rtx
    pip install torch-tensorrt nvidia-modelopt                                               # target torch-trt

One without a network gets its wheels as files, and one that takes only small files gets a large wheel (that of the
libraries has 233 MB) in pieces, put together in their order:

    pip download --no-deps -d build/wheels tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116
    cd build/wheels && for w in *libs*.whl; do sha256sum $w > $w.sha256; split -b 56M -d $w $w.; done
    # over there, as each piece arrives, and then:
    cat build/wheels/*libs*.whl.0? > $(basename build/wheels/*libs*.whl.sha256 .sha256)
    sha256sum -c build/wheels/*.sha256 && pip install --no-deps *libs*.whl build/wheels/*bindings*.whl
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_pipelines import MODES, Captured, Compiled, Eager, Network, Ours
from untrained import untrained

from edgeseg import backends
from edgeseg.bundle import Bundle
from edgeseg.checkpoint import Run
from edgeseg.contract import Contract
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import EdgesegError, UserError
from edgeseg.graph import export
from edgeseg.measure.accuracy import agreement
from edgeseg.measure.host import Host
from edgeseg.pixels import resize
from edgeseg.target import Target

RESULTS = Path(__file__).parent / "results" / "gpu"
NETWORKS, SIZES = ("ddrnet-23-slim", "fast-scnn"), ("512x1024", "1024x2048")
TARGETS, PRECISIONS = ("trt", "trt-rtx", "torch-trt"), ("int8", "fp16", "bf16", "fp32")
PAUSE_S, FRAMES = 0.02, 4
REFERENCE = "torch eager fp32"
QUERY = "name,driver_version,compute_cap,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw,utilization.gpu"
Pipeline = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    given = parse()
    warnings.simplefilter("ignore")
    torch.backends.cudnn.benchmark = True  # sizes never change
    if given.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"torch {torch.__version__} sees no CUDA GPU: --device cpu --quick shows only that this runs")
    dataset = open_dataset(given.data, "val")
    found: dict[str, Any] = {"conditions": conditions(given), "pipelines": []}
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        for size in given.size:
            h, w = (int(n) for n in size.split("x"))
            for name in given.network:
                case = Case(name, (h, w), dataset, given, work)
                if given.prepare:
                    report_engines(case)
                    continue
                for result in case.measure():
                    write({**found, "pipelines": [*found["pipelines"], result]}, given.out)
                found["pipelines"].append(result)
                report(result)


def parse() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=RESULTS, help="folder for samples.json")
    arguments.add_argument("--work", type=Path, help="folder where bundles and their engines are kept between calls")
    arguments.add_argument("--prepare", action="store_true", help="make the bundles and engines, and measure nothing")
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--network", action="append", help=f"default: {' and '.join(NETWORKS)}")
    arguments.add_argument("--size", action="append", help=f"default: {' and '.join(SIZES)}")
    arguments.add_argument("--run", action="append", default=[], metavar="NAME=RUN", help="trained weights")
    arguments.add_argument("--data", default="synthetic:street", help="frames are those of its val")
    arguments.add_argument("--target", action="append", help=f"default: {', '.join(TARGETS)}")
    arguments.add_argument("--rounds", type=int, help="default: 15; 3 with --quick")
    arguments.add_argument("--calls", type=int, help="in each round; default: 10; 2 with --quick")
    arguments.add_argument("--minutes", type=float, default=9.0, help="for all cases together")
    arguments.add_argument("--autotune", action="store_true", help="torch.compile in max-autotune too: minutes each")
    arguments.add_argument("--quick", action="store_true", help="few rounds and calls, and little of torch.compile")
    given = arguments.parse_args()
    given.run = dict(pair.split("=", 1) for pair in given.run)
    given.network = given.network or list(given.run) or list(NETWORKS)
    given.size, given.target = given.size or list(SIZES), given.target or list(TARGETS)
    given.rounds = given.rounds or (3 if given.quick else 15)
    given.calls = given.calls or (2 if given.quick else 10)
    given.seconds = 60 * given.minutes / (len(given.network) * len(given.size))
    return given


def conditions(given: argparse.Namespace) -> dict[str, Any]:
    facts = Host().facts()
    return {
        "device": given.device,
        "gpu": gpu(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cpu": {"model": facts.cpu, "features": list(facts.features), "cores": facts.cores},
        "rounds": given.rounds,
        "calls": given.calls,
        "weights": "trained" if given.run else "random",
        "data": given.data if given.data.startswith("synthetic:") else given.data.partition(":")[0],
    }


def gpu() -> dict[str, str]:
    """What the driver says now: name, driver, clocks, temperature, power; empty where there is no GPU."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        return {"error": (done.stdout + done.stderr).strip()}
    return dict(zip(QUERY.split(","), (value.strip() for value in done.stdout.split(",")), strict=True))


class Case:
    """One network at one size: its weights, its bundle, and every pipeline that runs."""

    def __init__(
        self, name: str, size_hw: tuple[int, int], dataset: Dataset, given: argparse.Namespace, work: Path
    ) -> None:
        self.name, self.size_hw, self.dataset, self.given = name, size_hw, dataset, given
        self.began, self.device = time.monotonic(), torch.device(given.device)
        self.work = work / f"{name}-{size_hw[0]}x{size_hw[1]}"
        numbers = np.linspace(0, len(dataset) - 1, min(FRAMES, len(dataset))).astype(int)
        self.frames = [resize(dataset[int(i)].image, size_hw) for i in numbers]
        self.missing: dict[str, str] = {}

    @functools.cached_property
    def run(self) -> Run:
        if self.name in self.given.run:
            return Run.load(Path(self.given.run[self.name]))
        if not (self.work / "run" / "run.json").is_file():
            untrained(self.name, self.frames, self.device, self.work / "run", self.dataset.spec)
        return Run.load(self.work / "run")

    @functools.cached_property
    def contract(self) -> Contract:
        run = self.run
        stride = int(run.network().stride)
        return Contract(
            size_hw=self.size_hw, classes=run.classes, colors=run.colors, stride=stride, mean=run.mean, std=run.std
        )

    @functools.cached_property
    def bundle(self) -> Bundle:
        path = self.work / "bundle"
        if not path.is_dir():
            self.work.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.work) as folder:
                made = Path(folder) / "bundle"
                export.write(
                    self.run, self.contract, self.dataset, made, half="int8", programs="torch-trt" in self.given.target
                )
                made.replace(path)
        bundle = Bundle.load(path)
        if bundle.provenance["run"]["weights_sha256"] != self.run.identity()["weights_sha256"]:
            raise UserError(f"{path} was made of other weights: give another --work, or remove it")
        return bundle

    def engines(self) -> Iterator[tuple[str, Callable[[], Pipeline]]]:
        """Ours: each target and precision that the bundle has a graph for."""
        for target in self.given.target:
            try:
                forms = backends.get(target).FORM
            except (EdgesegError, ImportError, OSError) as e:  # not installed, or its libraries do not load
                self.missing[f"ours, {target}"] = str(e)
                continue
            for precision in (p for p in PRECISIONS if p in forms):
                # On random weights most pixels are close calls; what came of it is recorded either way.
                least = {} if self.given.run else {"min_agreement": 0.0}
                wanted = Target(backend=target, precision=precision, **least)
                yield f"ours, {target} {precision}", functools.partial(self.ours, wanted)

    def ours(self, target: Target) -> Pipeline:
        return Ours(self.bundle, target)

    def rivals(self) -> Iterator[tuple[str, Callable[[], Pipeline]]]:
        """torch, the more telling first: what there is no time for is left out."""

        def network(mode: str, coarse: bool = False) -> Network:
            return Network(self.run.float_network(), self.contract, MODES[mode], coarse=coarse)

        device = self.device
        where = {False: "labels on the GPU", True: "coarse logits back, our kernel"}
        for mode in ("tf32", "fp16", "bf16", "fp16, contiguous", "fp16 autocast"):
            yield f"torch eager {mode}", lambda mode=mode: Eager(network(mode), device)
        yield "torch eager fp16, pinned", lambda: Eager(network("fp16"), device, pinned=True)
        yield "torch eager fp16, pinned, our kernel", lambda: Eager(network("fp16", True), device, pinned=True)
        for coarse in (False, True):
            for mode in ("fp16", "bf16", "tf32"):
                name = f"torch CUDA graph {mode}, {where[coarse]}"
                yield name, lambda mode=mode, coarse=coarse: Captured(network(mode, coarse), device)
        compiled = [("fp16", False), ("fp16", True), ("tf32", False), ("bf16", False), ("fp32", False)]
        for how in ("reduce-overhead", *(["max-autotune"] if self.given.autotune else [])):
            for mode, coarse in compiled[: 1 if self.given.quick else None]:
                name = f"torch.compile {how} {mode}, {where[coarse]}"
                yield name, lambda mode=mode, coarse=coarse, how=how: Compiled(network(mode, coarse), device, how)

    def build(self) -> dict[str, Pipeline]:
        """Every pipeline that runs, after a call; the others go to ``missing`` with the reason."""
        eager = Network(self.run.float_network(), self.contract, MODES["fp32"], coarse=False)
        made: dict[str, Pipeline] = {REFERENCE: Eager(eager, self.device)}
        for name, make in (*self.engines(), *self.rivals()):
            if time.monotonic() - self.began > self.given.seconds / 2:
                self.missing[name] = f"not built: {self.given.seconds / 2:.0f} s were up"
                continue
            try:
                pipeline = make()
                pipeline(self.frames[0])
            except Exception as e:  # whatever a library raises: that it does not run here is the finding
                self.missing[name] = f"{type(e).__name__}: {e}".strip().splitlines()[0]
                print(f"  {name}: {self.missing[name]}", flush=True)
            else:
                made[name] = pipeline
        return made

    def measure(self) -> Iterator[dict[str, Any]]:
        """The result so far, after every round."""
        made = self.build()
        labels = {name: [call(frame).copy() for frame in self.frames] for name, call in made.items()}
        result: dict[str, Any] = {
            "network": self.name,
            "size_hw": self.size_hw,
            "classes": len(self.contract.classes),
            "gpu_before": gpu(),
            "samples_ms": {name: [] for name in made},
            "device_ms": {name: [] for name in made},
            "stages_ms": {n: {s: [] for s in Ours.STAGES} for n, p in made.items() if isinstance(p, Ours)},
            "libraries": {name: p.library for name, p in made.items() if isinstance(p, Ours)},
            "missing": self.missing,
            "agreement_with_eager_fp32": {
                name: float(np.mean([agreement(a, b) for a, b in zip(answers, labels[REFERENCE], strict=True)]))
                for name, answers in labels.items()
            },
            "classes_answered": len(np.unique(labels[REFERENCE])),
        }
        for turn in range(self.given.rounds):
            if turn >= 3 and time.monotonic() - self.began > self.given.seconds:
                break  # fewer rounds, and as many as the samples say
            take_turn(made, self.frames, turn, self.given.calls, result)
            result["gpu_after"] = gpu()
            yield result


def take_turn(
    made: Mapping[str, Pipeline], frames: Sequence[np.ndarray], turn: int, calls: int, result: dict[str, Any]
) -> None:
    """One round: each pipeline's medians are appended to the result."""
    for name, pipeline in made.items():
        time.sleep(PAUSE_S)
        pipeline(frames[turn % len(frames)])
        took, device, parts = [], [], []
        for i in range(calls):
            frame = frames[(turn + i) % len(frames)]
            if isinstance(pipeline, Ours):
                parts.append(timed_stages(pipeline, frame))
                took.append(sum(parts[-1]))
                continue
            start = time.perf_counter()
            pipeline(frame)
            took.append((time.perf_counter() - start) * 1e3)
            device.append(pipeline.device_ms)  # type: ignore[attr-defined]
        result["samples_ms"][name].append(float(np.median(took)))
        if device and None not in device:
            result["device_ms"][name].append(float(np.median(device)))
        for stage, ms in zip(result["stages_ms"].get(name, ()), np.median(parts, 0) if parts else (), strict=True):
            result["stages_ms"][name][stage].append(float(ms))


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


def report_engines(case: Case) -> None:
    """Build what is not there yet, and say what came of it."""
    for name, make in case.engines():
        start = time.monotonic()
        try:
            make()
        except Exception as e:  # as in Case.build
            print(f"{case.work.name} {name}: {type(e).__name__}: {e}", flush=True)
        else:
            print(f"{case.work.name} {name}: ready after {time.monotonic() - start:.0f} s", flush=True)
    for name, why in case.missing.items():
        print(f"{case.work.name} {name}: {why}", flush=True)


def report(result: Mapping[str, Any]) -> None:
    samples = result["samples_ms"]
    print(f"\n{result['network']}, {'x'.join(map(str, result['size_hw']))}, {result['classes']} classes")
    for name, ms in sorted(samples.items(), key=lambda item: float(np.median(item[1]))):
        device = result["device_ms"][name]
        inside = f"{np.median(device):8.3f} on the device" if device else " " * 22
        same = result["agreement_with_eager_fp32"][name]
        print(f"  {name:62s} {np.median(ms):8.3f} ms {inside}  labels as eager fp32 on {same:.2%}")
    for name, stages in result["stages_ms"].items():
        print(f"  {name}: " + ", ".join(f"{stage} {np.median(ms):.3f}" for stage, ms in stages.items()) + " ms")
    for name, why in result["missing"].items():
        print(f"  did not run: {name}: {why}")


def write(found: Mapping[str, Any], out: Path) -> None:
    """Beside, and then renamed: whoever is cut off leaves the round before."""
    out.mkdir(parents=True, exist_ok=True)
    beside = out / ".samples.json.writing"
    beside.write_text(json.dumps(found, indent=1, default=str) + "\n")
    beside.replace(out / "samples.json")


if __name__ == "__main__":
    try:
        main()
    except EdgesegError as e:
        raise SystemExit(f"error: {e}") from e
