"""Result files as ``edgeseg bench`` and ``edgeseg eval`` keep them, made up."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from edgeseg.measure.accuracy import Evaluation
from edgeseg.measure.host import Facts, Reading
from edgeseg.measure.latency import Samples
from edgeseg.measure.measurement import Baseline, Golden, Measurement
from edgeseg.target import Target

DIGEST = "c0ffee" + "0" * 58


def _samples(ms):
    ns = [round(x * 1e6) for x in ms]
    tenth = tuple(n // 10 for n in ns)
    return Samples(
        started_ns=tuple(np.cumsum([0, *ns])[:-1].tolist()),
        prepare_ns=tenth,
        infer_ns=tuple(n - 2 * (n // 10) for n in ns),
        labels_ns=tenth,
    )


@pytest.fixture
def measured():
    """Makes a measurement on a quiet host: int8 in ``ms`` a frame, fp32 in ``float_ms`` for a third as many."""

    def make(backend="openvino", ms=(10.0,) * 300, float_ms=40.0, deadline_ms=20.0, **changes):
        golden = Golden(agreements=(0.9991,), miou=0.7)
        m = Measurement(
            target=Target(backend=backend, deadline_ms=deadline_ms),
            bundle="street",
            bundle_digest=DIGEST,
            library=f"{backend} 1.2",
            threads=2,
            frame_hw=(360, 480),
            input_hw=(384, 480),
            warmup=10,
            samples=_samples(ms),
            golden=golden,
            baselines={"fp32": Baseline(samples=_samples([float_ms] * 100), golden=golden, model_bytes=22_000_000)},
            model_bytes=5_900_000,
            peak_rss_bytes=10**8,
            facts=Facts(
                cpu="Test CPU",
                cores=2,
                features=("avx512_vnni",),
                governor="performance",
                clock="cpufreq",
                virtual=False,
                quota_cores=None,
                platform="Linux-test",
                python="3.10.0",
                versions={"numpy": "2.0"},
                date="2026-01-02T03:04:05+00:00",
            ),
            readings=(
                Reading(at_ns=0, own_s=0.0, busy_s=0.0, stolen_s=0.0, mhz=(3000.0,), loadavg=0.5),
                Reading(at_ns=10**10, own_s=15.0, busy_s=15.2, stolen_s=0.0, mhz=(2950.0,), loadavg=1.5),
            ),
        )
        return replace(m, **changes)

    return make


@pytest.fixture
def evaluated():
    """Makes an evaluation of a target, "torch-float" or "openvino-int8", at a given mIoU."""

    def make(target, miou, **changes):
        torch = target.startswith("torch")
        precision = "fp32" if target.endswith(("float", "fp32")) else "int8"
        fields = {
            "name": f"{precision}-net",
            "subject": "network" if torch else "engine",
            "target": target,
            "precision": precision,
            "miou": miou,
            "per_class": {"sky": miou, "road <b>": min(1.0, miou + 0.1), "car": None},
            "pixel_accuracy": 0.9,
            "frames": 101,
            "agreement": None if torch else 0.9993,
            "bundle_digest": None if torch else DIGEST,
            "data": "camvid:here",
            "split": "val",
        }
        return Evaluation(**{**fields, **changes})

    return make


def png(color):
    """A picture of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(color))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def files(tmp_path, measured, evaluated):
    """Two measurements, three evaluations and the panels of two frames, one of them without a teacher."""
    folder = tmp_path / "results"
    folder.mkdir()
    measured().write(folder / "bench-openvino.json")
    measured("onnxruntime", ms=[25.0] * 300).write(folder / "bench-onnxruntime.json")
    evaluated("torch-float", 0.72).write(folder / "eval-float.json")
    evaluated("torch-int8", 0.71).write(folder / "eval-int8.json")
    evaluated("openvino-int8", 0.709).write(folder / "eval-openvino.json")
    panels = []
    for frame, roles in (("f1", ["int8", "frame", "truth", "teacher"]), ("f2", ["frame", "truth", "int8", "edges"])):
        for role in roles:
            (folder / f"{frame}-{role}.png").write_bytes(png((1, 2, 3)))
            panels.append({"frame": frame, "role": role, "png": f"{frame}-{role}.png"})
    (folder / "panels.json").write_text(json.dumps({"kind": "panels", "panels": panels}))
    return sorted(folder.glob("*.json"))
