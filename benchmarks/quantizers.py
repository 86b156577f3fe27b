"""Our fake quantization beside torchao's and NNCF's: what a step costs, what it learns, what the engines make of it.

    pip install torchao==0.18.0 nncf==3.4.0
    python benchmarks/quantizers.py [--data camvid:PATH] [--init RUN] [--steps 30] [--rounds 8] [--threads 2]

All start from one float student, a run given by ``--init`` or one trained here for ``--float-steps``, and see the same
batches under the same loss, optimizer and schedule. They take their steps in turns, the float student too: the ratio of
a step to float's of the same turn, by the clock and by CPU time, survives a busy machine. Auxiliary heads are left out,
so that all compute the same network. Engines get each quantizer's network as its own library exports it, torchao's also
through our u8 pass, and take turns with a float engine. Our weights and torchao's have 7 bits, NNCF chooses for itself.
A library that is not installed is skipped and says so; what fails is recorded with its error. Raw samples go to
``benchmarks/results/quantizers.json``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gc
import inspect
import json
import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from latency import take_turns
from torch import Tensor, nn

from edgeseg import backends, losses, networks
from edgeseg.backends.onnxruntime import OnnxRuntimeEngine, prefer_integers
from edgeseg.backends.openvino import OpenvinoEngine
from edgeseg.batches import normalize
from edgeseg.checkpoint import Run
from edgeseg.compress import qat
from edgeseg.contract import Contract
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import EdgesegError
from edgeseg.graph import onnx_file, passes
from edgeseg.graph.deploy import Logits, deploy
from edgeseg.graph.export import cpu_form
from edgeseg.measure.accuracy import Confusion
from edgeseg.measure.host import Host
from edgeseg.outputs import Batch, Outputs
from edgeseg.pipeline import input_scale
from edgeseg.recipes import segmentation
from edgeseg.train import adamw, freeze_batch_norm, poly

RESULTS = Path(__file__).parent / "results"
WARM_UP = 2  # turns that are trained on and not counted: threads start, memory is first asked for
CLIP = 5.0


class Float:
    """The student as it is: trained on like the others, and what they are compared with."""

    def __init__(self, student: nn.Module, calibration: Sequence[Tensor], contract: Contract) -> None:
        self.contract = contract
        self.network = Logits(student).train()

    def freeze(self) -> None:
        freeze_batch_norm(self.network)

    def finish(self) -> None:
        self.network.eval()

    def write(self, folder: Path) -> dict[str, Path]:
        onnx_file.write(deploy(self.network.student), self.contract, folder / "float.onnx")
        return dict.fromkeys(("openvino", "onnxruntime"), folder / "float.onnx")


class Ours:
    """edgeseg.compress.qat, exported by edgeseg.graph."""

    def __init__(self, student: nn.Module, calibration: Sequence[Tensor], contract: Contract) -> None:
        self.contract = contract
        self.graph = qat.prepare(student, input_scale=input_scale(contract.mean, contract.std))
        qat.calibrate(self.graph, calibration)
        self.network = Logits(self.graph).train()

    def freeze(self) -> None:
        freeze_batch_norm(self.network)

    def finish(self) -> None:
        self.network.eval()

    def write(self, folder: Path) -> dict[str, Path]:
        onnx_file.write(deploy(self.graph), self.contract, folder / "int8.onnx")
        model = cpu_form(onnx.load(folder / "int8.onnx"))
        onnx_file.save(model, folder / "openvino.onnx")
        prefer_integers(model)
        onnx_file.save(model, folder / "onnxruntime.onnx")
        return {b: folder / f"{b}.onnx" for b in ("openvino", "onnxruntime")}


class Torchao:
    """torchao pt2e: prepare_qat_pt2e on the exported program, with the quantizer below."""

    def __init__(self, student: nn.Module, calibration: Sequence[Tensor], contract: Contract) -> None:
        from torchao.quantization import pt2e
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

        self.size_hw = contract.size_hw
        shape = {0: torch.export.Dim("n", min=1, max=64), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        program = torch.export.export(
            Logits(student).train(), (calibration[0],), dynamic_shapes=({**shape},), strict=False
        )
        # Where a pooled map is one pixel high at this size, the guards forbid sizes at which it is higher.
        self.network = prepare_qat_pt2e(program.module(check_guards=False), symmetric_quantizer())
        pt2e.allow_exported_model_train_eval(self.network)
        self.network.apply(pt2e.enable_observer).apply(pt2e.disable_fake_quant).eval()
        with torch.no_grad():
            for images in calibration:
                self.network(images)
        self.network.apply(pt2e.enable_fake_quant).train()

    def freeze(self) -> None:
        from torchao.quantization import pt2e

        pt2e.move_exported_model_to_eval(self.network)  # batch norm has no module to freeze; there is no dropout
        self.network.apply(pt2e.disable_observer)

    def finish(self) -> None:
        self.freeze()

    def write(self, folder: Path) -> dict[str, Path]:
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        converted = convert_pt2e(copy.deepcopy(self.network))
        example = torch.zeros(1, 3, *self.size_hw)
        file = folder / "torchao.onnx"
        torch.onnx.export(
            converted, (example,), file, dynamo=True, opset_version=20, external_data=False, verbose=False
        )
        return dict.fromkeys(("openvino", "onnxruntime"), file)


def symmetric_quantizer() -> Any:
    """Our grid for torchao: s8, zero-point 0, 7-bit weights per channel, both inputs of a sum, logits in float."""
    from torchao.quantization import pt2e
    from torchao.quantization.pt2e import quantizer as q

    aten = torch.ops.aten
    bn, relu, add = {aten.batch_norm.default}, {aten.relu.default, aten.relu_.default}, {aten.add.Tensor}
    resize = {aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default}
    pool = {aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default}

    def spec(low: int, high: int, scheme: torch.qscheme, observer: Any, axis: int | None) -> Any:
        # Not the fused one: from one-sided values it takes another scale than convert_pt2e does.
        rounding = pt2e.FakeQuantize.with_args(observer=observer, eps=2**-12)
        return q.QuantizationSpec(torch.int8, rounding, low, high, scheme, axis, False)

    class Symmetric(q.Quantizer):
        def annotate(self, model: Any) -> Any:
            value = spec(-128, 127, torch.per_tensor_symmetric, pt2e.MovingAverageMinMaxObserver, None)
            weight = spec(-63, 63, torch.per_channel_symmetric, pt2e.MovingAveragePerChannelMinMaxObserver, 0)
            for node in model.graph.nodes:
                if node.target is aten.conv2d.default:
                    mark(chain(node, bn, relu), {node.args[0]: value, node.args[1]: weight}, value)
                elif node.target in add and all(isinstance(x, torch.fx.Node) for x in node.args[:2]):
                    mark(chain(node, relu), dict.fromkeys(node.args[:2], value), value)
                elif node.target in resize | pool:
                    mark([node], {node.args[0]: value}, value)
                elif node.target is aten.cat.default:
                    first, *others = node.args[0]
                    shared = q.SharedQuantizationSpec((first, node))
                    mark([node], {first: value, **dict.fromkeys(others, shared)}, shared)
            return model

        def validate(self, model: Any) -> None:
            pass

    def chain(node: Any, *then: set[Any]) -> list[Any]:
        found = [node]
        for targets in then:
            users = list(found[-1].users)
            if len(users) == 1 and users[0].target in targets:
                found.append(users[0])
        return found

    def mark(nodes: list[Any], inputs: dict[Any, Any], output: Any) -> None:
        returned = any(user.op == "output" for user in nodes[-1].users)
        for node in nodes:
            node.meta["quantization_annotation"] = q.QuantizationAnnotation(
                input_qspec_map=inputs if node is nodes[0] else {},
                output_qspec=output if node is nodes[-1] and not returned else None,
                _annotated=True,
            )

    return Symmetric()


class Nncf:
    """NNCF: nncf.quantize on the torch module with its defaults, trained on, converted by OpenVINO."""

    def __init__(self, student: nn.Module, calibration: Sequence[Tensor], contract: Contract) -> None:
        import nncf

        self.size_hw = contract.size_hw
        self.network = nncf.quantize(Logits(student).eval(), nncf.Dataset(calibration)).train()

    def freeze(self) -> None:
        freeze_batch_norm(self.network)

    def finish(self) -> None:
        self.network.eval()

    def write(self, folder: Path) -> dict[str, Path]:
        import nncf
        import openvino as ov

        example = torch.zeros(1, 3, *self.size_hw)
        model = ov.convert_model(nncf.strip(self.network, example_input=example), example_input=example)
        model.reshape([1, 3, *self.size_hw])
        ov.save_model(model, folder / "nncf.xml", compress_to_fp16=False)
        return {"openvino": folder / "nncf.xml"}


WAYS: dict[str, type[Any]] = {"float": Float, "ours": Ours, "torchao": Torchao, "nncf": Nncf}
USER_CODE: dict[str, tuple[Any, ...]] = {"ours": (Ours,), "torchao": (Torchao, symmetric_quantizer), "nncf": (Nncf,)}
PIP = {"torchao": "pip install torchao==0.18.0", "nncf": "pip install nncf==3.4.0"}
ENGINES = {"openvino": OpenvinoEngine, "onnxruntime": OnnxRuntimeEngine}


def main() -> None:
    given = parse()
    torch.set_num_threads(given.threads)
    quiet()
    load = [os.getloadavg()[0]]
    data = open_dataset(given.data, "train"), open_dataset(given.data, "val")
    student, contract = float_student(given, *data)
    frames = Frames(data[1], contract, given.val_frames)
    found: dict[str, dict[str, Any]] = {name: {} for name in WAYS}
    batches = views(given, data[0], contract)
    ways = prepare(student, [batches.batch(i).images for i in range(4)], contract, found)
    train(ways, [batches.batch(i) for i in range(given.steps)], given.lr, found)
    load.append(os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as folder:
        score(ways, frames, found)
        engines = export(ways, Path(folder), given.threads, found)
        judge(engines, frames, found)
        time_engines(engines, frames.images[0], given.rounds, found)
    load.append(os.getloadavg()[0])
    for name, sources in USER_CODE.items():
        found[name]["code_lines"] = code_lines(*sources)
    report(found)
    write(given, contract, found, load)


def parse() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", default="synthetic:street?frames=64")
    arguments.add_argument("--init", type=Path, help="an edgeseg run: the float student")
    arguments.add_argument("--network", default="ddrnet-23-slim", help="without --init")
    arguments.add_argument("--width", type=float, default=0.5, help="without --init")
    arguments.add_argument("--float-steps", type=int, default=150, help="without --init")
    arguments.add_argument("--crop", default="160x256")
    arguments.add_argument("--batch-size", type=int, default=8)
    arguments.add_argument("--steps", type=int, default=30, help="of training under fake quantization")
    arguments.add_argument("--lr", type=float, default=2e-4)
    arguments.add_argument("--val-frames", type=int, default=24)
    arguments.add_argument("--rounds", type=int, default=8, help="of timing the engines")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    return arguments.parse_args()


def quiet() -> None:
    """Exporters and rivals log and warn of their own affairs."""
    warnings.simplefilter("ignore")
    for name in ("nncf", "torch.onnx", "torch.export", "torch._export", "torchao", "torch.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def float_student(given: argparse.Namespace, train: Dataset, val: Dataset) -> tuple[nn.Module, Contract]:
    """The student without auxiliary heads, and the contract of engines that take whole validation frames."""
    torch.manual_seed(given.seed)
    mean, std = segmentation.MEAN, segmentation.STD
    if given.init:
        run = Run.load(given.init)
        if run.classes != train.classes:
            raise EdgesegError("the run and the data must have the same classes, in the same order")
        student, mean, std = run.float_network(), run.mean, run.std
        given.network, given.width = run.facts["network"]["name"], run.facts["network"].get("width", 1.0)
    else:
        student = networks.build(given.network, len(train.classes), width=given.width)
    student.auxiliary = None
    student.to(memory_format=torch.channels_last)
    size = val[0].image.shape[:2]
    contract = Contract(size_hw=size, classes=train.classes, colors=train.colors, mean=mean, std=std)
    if not given.init:
        batches = views(given, train, contract)
        way = Float(student, [], contract)
        train_steps = [batches.batch(i) for i in range(given.float_steps)]
        run_steps({"float": way}, train_steps, 2e-3, freeze_at=given.float_steps, found={"float": {}})
    return student.eval(), contract


def views(given: argparse.Namespace, dataset: Dataset, contract: Contract) -> Any:
    height, width = (int(n) for n in given.crop.split("x"))
    found = segmentation.batches(dataset, crop_hw=(height, width), batch_size=given.batch_size, seed=given.seed)
    found.mean, found.std = contract.mean, contract.std
    return found


class Frames:
    """Validation frames as a network takes them, (1, 3, H, W), with their labels."""

    def __init__(self, dataset: Dataset, contract: Contract, count: int) -> None:
        samples = [dataset[i] for i in range(min(count, len(dataset)))]
        self.classes = len(contract.classes)
        self.images = [normalize(s.image[None], contract.mean, contract.std).contiguous().numpy() for s in samples]
        self.truth = [s.mask for s in samples]

    def labels(self, network: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        found = []
        for image in self.images:
            logits = torch.from_numpy(np.array(network(image)))
            upsampled = F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
            found.append(upsampled.argmax(1)[0].numpy().astype(np.uint8))
        return found

    def miou(self, labels: list[np.ndarray]) -> float:
        confusion = Confusion(self.classes)
        for given, truth in zip(labels, self.truth, strict=True):
            confusion.add(given, truth)
        return confusion.miou


def attempt(stage: str, found: dict[str, Any], work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or None: then ``found`` says what is missing or what went wrong."""
    try:
        return work()
    except ModuleNotFoundError as e:
        name = next((n for n in PIP if (e.name or "").startswith(n)), None)
        found["skipped"] = f"{e.name} is not installed: {PIP[name] if name else f'pip install {e.name}'}"
        print(f"skipped: {found['skipped']}", flush=True)
    except Exception as e:  # whatever a rival raises is its result
        found.setdefault("errors", {})[stage] = text = " <- ".join(map(said, causes(e)))
        print(f"{stage} failed: {text[:300]}", flush=True)
    return None


def causes(e: BaseException) -> list[BaseException]:
    return [e, *causes(e.__cause__)] if e.__cause__ else [e]


def said(e: BaseException) -> str:
    """An error's text without this machine's folders, colours and most of its length."""
    text = re.sub(r"(?<![\w.:/])/[\w./+-]+/|\x1b\[\d*m", "", str(e))
    return f"{type(e).__name__}: {' '.join(text.split())[:400]}"


def prepare(
    student: nn.Module, calibration: Sequence[Tensor], contract: Contract, found: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    ways = {}
    for name, way in WAYS.items():
        start = time.process_time()
        made = attempt("prepare", found[name], partial(way, copy.deepcopy(student), calibration, contract))
        found[name]["prepare_cpu_s"] = time.process_time() - start
        if made is not None:
            ways[name] = made
            print(f"{name}: prepared in {found[name]['prepare_cpu_s']:.0f} s of CPU time", flush=True)
    return ways


def train(ways: dict[str, Any], batches: Sequence[Batch], lr: float, found: dict[str, dict[str, Any]]) -> None:
    """All in turns; batch statistics stay as they are for the last half, as in the recipe of QAT."""
    run_steps(ways, batches, lr, freeze_at=len(batches) // 2, found=found)
    for name, way in list(ways.items()):
        attempt("finish", found[name], way.finish)
        if "errors" in found[name]:
            del ways[name]


def run_steps(
    ways: dict[str, Any], batches: Sequence[Batch], lr: float, *, freeze_at: int, found: dict[str, dict[str, Any]]
) -> None:
    optimizers = {}
    for name, way in ways.items():
        optimizers[name] = adamw([p for p in way.network.parameters() if p.requires_grad], lr)
        found[name].update(step_wall_s=[], step_cpu_s=[], losses=[])
    for i, batch in enumerate(batches):
        rate = lr * poly(i, len(batches))
        for name, way in ways.items():
            if "errors" in found[name]:
                continue
            if i == freeze_at:
                attempt("freeze", found[name], way.freeze)
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            loss = attempt("step", found[name], partial(step, way.network, optimizers[name], rate, batch))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            for key, value in (("step_wall_s", wall), ("step_cpu_s", cpu), ("losses", loss)):
                found[name][key].append(value)
        if (i + 1) % 10 == 0:
            print(f"step {i + 1}/{len(batches)}", {n: round(found[n]["losses"][-1], 3) for n in ways}, flush=True)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, rate: float, batch: Batch) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = losses.cross_entropy(Outputs(network(batch.images)), None, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], CLIP)
    optimizer.step()
    return loss.item()


def score(ways: dict[str, Any], frames: Frames, found: dict[str, dict[str, Any]]) -> None:
    """mIoU of each trained network in torch, and its labels, for the engines to be compared with."""
    for name, way in ways.items():
        labels = attempt("score", found[name], partial(frames.labels, partial(run_torch, way.network)))
        if labels is not None:
            found[name].update(labels=labels, miou=frames.miou(labels))


@torch.no_grad()
def run_torch(network: nn.Module, image: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(image)).numpy()


def export(
    ways: dict[str, Any], folder: Path, threads: int, found: dict[str, dict[str, Any]]
) -> dict[tuple[str, str], backends.Engine]:
    """Engines by (way, backend); torchao's file also through our u8 pass, as "onnxruntime-u8" and "openvino-u8"."""
    engines = {}
    for name, way in ways.items():
        (folder / name).mkdir()
        files = attempt("export", found[name], partial(way.write, folder / name)) or {}
        if name == "torchao" and files:
            files |= attempt("u8 pass", found[name], partial(as_u8, files["onnxruntime"])) or {}
        for backend, file in files.items():
            precision = ("fp32" if name == "float" else "int8",) if backend.startswith("openvino") else ()
            engine = ENGINES[backend.removesuffix("-u8")]
            opened = attempt(f"open in {backend}", found[name], partial(engine, file, *precision, threads))
            if opened is not None:
                engines[name, backend] = opened
    return engines


def as_u8(file: Path) -> dict[str, Path]:
    """What our passes make of another's s8 file."""
    model = passes.to_u8(onnx.load(file))
    onnx_file.save(model, file.with_name("openvino-u8.onnx"))
    prefer_integers(model)
    onnx_file.save(model, file.with_name("onnxruntime-u8.onnx"))
    return {b: file.with_name(f"{b}.onnx") for b in ("openvino-u8", "onnxruntime-u8")}


def judge(engines: dict[tuple[str, str], backends.Engine], frames: Frames, found: dict[str, dict[str, Any]]) -> None:
    """Each engine's mIoU, its agreement with its own network in torch, and how many convolutions run in int8."""
    for (name, backend), engine in list(engines.items()):
        labels = attempt(f"run in {backend}", found[name], partial(frames.labels, engine))
        if labels is None:
            del engines[name, backend]
            continue
        convs = [layer.precision for layer in engine.layers() if layer.op == "conv"]
        same = np.mean([a == b for a, b in zip(labels, found[name]["labels"], strict=True)])
        found[name].setdefault("engines", {})[backend] = {
            "agreement": float(same),
            "miou": frames.miou(labels),
            "int8_convs": f"{convs.count('int8')}/{len(convs)}",
        }


def time_engines(
    engines: dict[tuple[str, str], backends.Engine], image: np.ndarray, rounds: int, found: dict[str, dict[str, Any]]
) -> None:
    samples = take_turns({f"{name} {backend}": e for (name, backend), e in engines.items()}, image, rounds)
    for name, backend in engines:
        found[name]["engines"][backend]["samples_ms"] = samples[f"{name} {backend}"]


def code_lines(*sources: Any) -> int:
    """Lines that a user would write: neither blank, nor a comment, nor a docstring of one line."""
    lines = [line.strip() for source in sources for line in inspect.getsource(source).splitlines()]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in lines)


def ratio(samples: Sequence[float], base: Sequence[float], skip: int = 0) -> float:
    return float(np.median(np.array(samples[skip:]) / np.array(base[skip:])))


def report(found: dict[str, dict[str, Any]]) -> None:
    """Fill in the ratios and print them."""
    base = found["float"]
    for name, facts in found.items():
        facts.pop("labels", None)
        if "skipped" in facts or "miou" not in facts:
            print(f"{name}: {facts.get('skipped') or facts.get('errors')}")
            continue
        skip = WARM_UP if len(facts["losses"]) > WARM_UP else 0
        for clock in ("wall", "cpu"):
            key = f"step_{clock}_s"
            facts[f"step_{clock}_ratio"] = ratio(facts[key], base[key], skip)
        print(
            f"{name:8s} step {facts['step_wall_ratio']:.2f}x by the clock, {facts['step_cpu_ratio']:.2f}x CPU   "
            f"mIoU {facts['miou']:.4f}   {facts.get('code_lines', 0)} lines   {facts.get('errors', '')}"
        )
        for backend, engine in facts.get("engines", {}).items():
            reference = base["engines"][backend.removesuffix("-u8")]["samples_ms"]
            engine["ratio"] = ratio(engine["samples_ms"], reference)
            median = np.median(engine["samples_ms"])
            print(
                f"    {backend:15s} {median:7.1f} ms  {engine['ratio']:.2f} of fp32   "
                f"agreement {engine['agreement']:.2%}   mIoU {engine['miou']:.4f}   "
                f"int8 convolutions {engine['int8_convs']}"
            )


def write(
    given: argparse.Namespace, contract: Contract, found: dict[str, dict[str, Any]], load: Sequence[float]
) -> None:
    facts = dataclasses.asdict(Host().facts())
    settings = {k: v for k, v in vars(given).items() if k not in ("init", "data")}
    # Where the frames and the run lie is this machine's business.
    settings |= {"data": given.data if given.data.startswith("synthetic:") else given.data.partition(":")[0]}
    settings |= {"student": "given by --init" if given.init else f"trained for {given.float_steps} steps"}
    result = {
        "settings": settings,
        "engine_size_hw": contract.size_hw,
        "warm_up_steps": WARM_UP,
        "ways": found,
        "load_average": dict(zip(("start", "after training", "end"), load, strict=True)),
        "versions": {name: version(name) for name in ("torch", "torchao", "nncf", "openvino", "onnxruntime", "onnx")},
        "cpu": {"model": facts["cpu"], "features": facts["features"], "cores": facts["cores"]},
        "date": facts["date"],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quantizers.json").write_text(json.dumps(result, indent=1) + "\n")


def version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    try:
        main()
    except EdgesegError as e:
        raise SystemExit(f"error: {e}") from e
