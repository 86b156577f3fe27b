"""How far each layer of an engine is from what the machine could do.

A convolution cannot take less than its multiplications over the machine's highest measured rate of them, and no layer
less than the bytes it reads and writes over the measured bandwidth. Both are taken in the same run, on one thread, with
OpenVINO's own kernels: the rate from the fastest of several large int8 convolutions, the bandwidth from copying an
array of the size of the student's feature maps (which fits a cache, as they do).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

WARM_UP, CALLS = 2, 15
SHAPES = ((64, 128, 128), (128, 64, 128), (256, 32, 64), (512, 16, 32))  # channels in and out, height, width
COPIED = 2 << 20  # bytes


@dataclass(frozen=True)
class Layer:
    """One node of the engine's run-time graph."""

    name: str
    kind: str
    precision: str
    ms: float
    macs: int
    moved: int  # bytes read and written, weights among them

    def floor_ms(self, macs_per_s: float, bytes_per_s: float) -> float:
        return 1e3 * max(self.macs / macs_per_s, self.moved / bytes_per_s)


def measure(model: ov.Model | Path, pixels: np.ndarray) -> dict[str, Any]:
    """The machine's peaks and the layers of one int8 model, with their time over their floor."""
    peaks = {"macs_per_s": peak_macs(), "bytes_per_s": bandwidth()}
    rows = []
    for layer in layers(model, pixels):
        floor = layer.floor_ms(**peaks)
        rows.append({**asdict(layer), "floor_ms": floor})
    return {"peaks": peaks, "layers": rows}


def layers(model: ov.Model | Path, pixels: np.ndarray) -> list[Layer]:
    compiled = _compile(model, PERF_COUNT=True)
    request = compiled.create_infer_request()
    times: dict[str, list[float]] = {}
    for i in range(WARM_UP + CALLS):
        request.infer({0: pixels})
        if i >= WARM_UP:
            for entry in request.profiling_info:
                times.setdefault(entry.node_name, []).append(entry.real_time.total_seconds() * 1e3)
    found = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = {key: value.astype(str) for key, value in op.get_rt_info().items()}
        kind, name = info["layerType"], op.get_friendly_name()
        ms = float(np.median(times.get(name, [0.0])))
        if kind in ("Input", "Output", "Const") or ms == 0:
            continue
        outputs = op.outputs()
        moved = sum(_bytes(port.get_source_output()) for port in op.inputs()) + sum(map(_bytes, outputs))
        found.append(Layer(name, kind, info["runtimePrecision"], ms, _macs(op, kind), moved))
    return found


def _macs(op: ov.Node, kind: str) -> int:
    """Every output value is a sum over the weights of its channel."""
    if kind not in ("Convolution", "GroupConvolution"):
        return 0
    _, channels, h, w = op.output(0).get_shape()
    return int(h * w * np.prod(op.input(1).get_source_output().get_shape()))


def _bytes(output: ov.Output) -> int:
    return int(np.prod(output.get_shape())) * output.get_element_type().size


def peak_macs() -> float:
    """Multiplications and additions per second of the fastest of several int8 convolutions, one thread."""
    rates = []
    for channels, h, w in SHAPES:
        request = _compile(_int8_convolution(channels, h, w)).create_infer_request()
        pixels = np.random.default_rng(0).integers(0, 256, (1, channels, h, w), dtype=np.uint8)
        best = _best_s(functools.partial(request.infer, {0: pixels}, share_inputs=True))
        rates.append(channels * channels * 9 * h * w / best)
    return max(rates)


def bandwidth() -> float:
    """Bytes read and written per second by a copy, one thread."""
    source = np.zeros(COPIED, np.uint8)
    into = np.empty_like(source)
    return 2 * COPIED / _best_s(functools.partial(np.copyto, into, source))


def _best_s(call: Callable[[], object]) -> float:
    took = []
    for _ in range(WARM_UP + CALLS):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took[WARM_UP:])


def _int8_convolution(channels: int, h: int, w: int) -> ov.Model:
    """3x3, u8 in and u8 out, 7-bit weights, as the students' are."""
    weights = np.random.default_rng(0).integers(-63, 64, (channels, channels, 3, 3), dtype=np.int8)
    constants = {
        "w_q": weights,
        "w_s": np.full(channels, 2**-6, np.float32),
        "w_z": np.zeros(channels, np.int8),
        "x_s": np.float32(2**-7),
        "y_s": np.float32(2**-2),
        "z": np.uint8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_s", "z"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"], axis=0),
        helper.make_node("Conv", ["x_d", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["y", "y_s", "z"], ["y_q"]),
    ]
    shape = [1, channels, h, w]
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y_q", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ov.Core().read_model(model.SerializeToString())


def _compile(model: ov.Model | Path, **options: object) -> ov.CompiledModel:
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return ov.Core().compile_model(model, "CPU", {**hints, **options})


def report(name: str, found: dict[str, Any]) -> None:
    """The machine's peaks, and per kind of layer its time, its floor and what lies between; then the worst layers."""
    peaks, rows = found["peaks"], found["layers"]
    total, least = (sum(row[key] for row in rows) for key in ("ms", "floor_ms"))
    print(f"\n{name}: {total:.1f} ms in layers, floor {least:.1f} ms ({total / least:.2f}x), one thread;")
    print(f"  peak {peaks['macs_per_s'] / 1e9:.0f} G int8 MAC/s, {peaks['bytes_per_s'] / 1e9:.0f} GB/s")
    kinds = {row["kind"]: [r for r in rows if r["kind"] == row["kind"]] for row in rows}
    for kind, members in sorted(kinds.items(), key=lambda item: -_above(item[1])):
        ms = sum(row["ms"] for row in members)
        print(f"  {kind:16s} {len(members):3d} layers {ms:7.2f} ms, {_above(members):6.2f} ms above the floor")
    for row in sorted(rows, key=lambda row: -_above([row]))[:12]:
        print(f"    {row['ms']:6.2f} ms, {row['ms'] / row['floor_ms']:5.1f}x its floor  {row['kind']} {row['name']}")


def _above(rows: list[dict[str, Any]]) -> float:
    return sum(row["ms"] - row["floor_ms"] for row in rows)
