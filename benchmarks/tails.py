"""The last stage alone: coarse logits to full-size labels, by our kernel and inside each engine's graph.

Logits are made of real label maps: each class's share of every 8x8 pixels, its logarithm, smoothed over three cells as
a network's are, with smooth noise on top that moves boundaries. For more classes than the data has, each class is split
into strips of the frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import pipelines
import torch
import torch.nn.functional as F

from edgeseg.contract import Contract
from edgeseg.data import Dataset
from edgeseg.pixels import upsample_argmax

STRIDE, CALLS, FRAMES = 8, 3, 4
CASES = [((512, 1024), k) for k in (2, 19, 60, 150)] + [((1024, 2048), 19)]
NOISE = 0.5
Tail = Callable[[np.ndarray], np.ndarray]


def measure(dataset: Dataset, rounds: int) -> list[dict[str, Any]]:
    """Per size and number of classes: milliseconds of each way, round by round, and how far labels agree."""
    return [case(dataset, size_hw, classes, rounds) for size_hw, classes in CASES]


def case(dataset: Dataset, size_hw: tuple[int, int], classes: int, rounds: int) -> dict[str, Any]:
    ways = {"ours, 1 thread": Ours(size_hw)} | {
        f"{name}, {threads} thread{'s' * (threads > 1)}": make(size_hw, classes, threads)
        for threads in (1, 2)
        for name, make in (("openvino", Openvino), ("onnxruntime", OnnxRuntime), ("torch", Torch))
    }
    logits = [logits_of(dataset[i].mask, size_hw, classes, seed=i) for i in range(FRAMES)]
    want = [ways["torch, 1 thread"](x) for x in logits]
    samples: dict[str, list[float]] = {name: [] for name in ways}
    same = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in ways.items():
            time.sleep(0.05)
            x, reference = logits[turn % FRAMES], want[turn % FRAMES]
            same[name].append(float(np.mean(way(x) == reference)))
            took = []
            for _ in range(CALLS):
                start = time.perf_counter()
                way(x)
                took.append((time.perf_counter() - start) * 1e3)
            samples[name].append(float(np.median(took)))
    agree = {name: float(np.mean(shares)) for name, shares in same.items()}
    return {"size_hw": size_hw, "classes": classes, "samples_ms": samples, "agreement_with_torch": agree}


def logits_of(mask: np.ndarray, size_hw: tuple[int, int], classes: int, seed: int) -> np.ndarray:
    """float32 (K, h, w) at an eighth of the size."""
    rows, cols = ((np.arange(n) * m // n) for n, m in zip(size_hw, mask.shape, strict=True))
    labels = mask[rows[:, None], cols].astype(np.int64) % min(classes, 12)
    strips = max(1, classes // 12)
    labels += 12 * (np.arange(size_hw[1]) * strips // size_hw[1]) if strips > 1 else 0
    one_hot = F.one_hot(torch.from_numpy(labels % classes), classes).permute(2, 0, 1)[None].float()
    y = F.avg_pool2d(torch.log(F.avg_pool2d(one_hot, STRIDE) + 0.01), 3, 1, 1)
    coarse = torch.randn(1, classes, *(n // 2 for n in y.shape[2:]), generator=torch.Generator().manual_seed(seed))
    y += NOISE * F.interpolate(coarse, y.shape[2:], mode="bilinear")
    return y[0].contiguous().numpy()


class Ours:
    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw, self.out = size_hw, np.empty(size_hw, np.uint8)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return upsample_argmax(logits, self.size_hw, out=self.out)


class Torch:
    def __init__(self, size_hw: tuple[int, int], classes: int, threads: int) -> None:
        self.size_hw, self.threads = size_hw, threads

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            full = F.interpolate(torch.from_numpy(logits)[None], self.size_hw, mode="bilinear")
            labels: np.ndarray = full.argmax(1)[0].to(torch.uint8).numpy()
        return labels


class Openvino:
    def __init__(self, size_hw: tuple[int, int], classes: int, threads: int) -> None:
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        model = ov.Core().read_model(graph(size_hw, classes).SerializeToString())
        self.request = ov.Core().compile_model(model, "CPU", options).create_infer_request()

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        self.request.infer({0: logits[None]}, share_inputs=True)
        labels: np.ndarray = self.request.get_output_tensor(0).data[0]
        return labels


class OnnxRuntime:
    def __init__(self, size_hw: tuple[int, int], classes: int, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = ort.InferenceSession(
            graph(size_hw, classes).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self.session.run(None, {"logits": logits[None]})[0][0]
        return labels


def graph(size_hw: tuple[int, int], classes: int) -> Any:
    """An ONNX model that is nothing but the tail."""
    names = tuple(map(str, range(classes)))
    contract = Contract(size_hw=size_hw, classes=names, colors=((0, 0, 0),) * classes, stride=STRIDE)
    return pipelines.with_tail(pipelines.identity(contract), contract)


def report(cases: list[dict[str, Any]]) -> None:
    for found in cases:
        print(f"\nlabels alone, {'x'.join(map(str, found['size_hw']))}, {found['classes']} classes")
        for name, ms in found["samples_ms"].items():
            ours = np.array(found["samples_ms"]["ours, 1 thread"])
            times = float(np.median(np.array(ms) / ours))
            same = found["agreement_with_torch"][name]
            print(f"  {name:24s} {np.median(ms):8.2f} ms  {times:6.1f}x ours  labels as torch on {same:.4%}")


def plot(cases: list[dict[str, Any]], file: Path) -> None:
    """Time over the number of classes, at 512x1024, one thread each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    chosen = [c for c in cases if tuple(c["size_hw"]) == (512, 1024)]
    for name in ("ours, 1 thread", "openvino, 1 thread", "onnxruntime, 1 thread", "torch, 1 thread"):
        axes.plot([c["classes"] for c in chosen], [np.median(c["samples_ms"][name]) for c in chosen], "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="classes", ylabel="ms, 512x1024", title="Coarse logits to labels")
    axes.set_xticks([c["classes"] for c in chosen], [str(c["classes"]) for c in chosen])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)
