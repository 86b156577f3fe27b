"""A small bundle, an engine that answers it at a cost we choose, and measurements that we made up."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from fakes import FACTS, QUIET, Clock, FakeHost, samples

from edgeseg import pixels
from edgeseg.backends import Plan, machine
from edgeseg.bundle import Bundle, seal
from edgeseg.contract import Contract
from edgeseg.measure.measurement import Baseline, Golden, Measurement
from edgeseg.target import Target

CONTRACT = Contract(size_hw=(16, 24), classes=("road", "sky", "car"), colors=((1, 1, 1), (2, 2, 2), (3, 3, 3)))


def _answer(given):
    """A network: the mean of each colour over 8x8 pixels is the logit of a class."""
    _, h, w, k = given.shape
    return given.reshape(1, h // 8, 8, w // 8, 8, k).mean((2, 4), dtype=np.float32).transpose(0, 3, 1, 2)


@pytest.fixture
def bundle(tmp_path):
    """Two random golden frames, all of whose truth is what the network says."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (2, *CONTRACT.size_hw, 3), dtype=np.uint8)
    logits = np.concatenate([_answer(pixels.frame_to_input(f, CONTRACT)) for f in frames])
    truth = np.stack([pixels.upsample_argmax(x, CONTRACT.size_hw) for x in logits])
    (folder / "contract.json").write_text(CONTRACT.to_json())
    for form in ("float", "int8", "int8-cpu"):
        (folder / f"{form}.onnx").write_text(form)
    np.savez(folder / "golden.npz", frames=frames, truth=truth, logits_float=logits, logits_int8=logits)
    seal(folder, {"convolutions": {"float": []}})
    return Bundle.load(folder)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(monkeypatch, clock):
    """A backend ``fake.engine``: ``cost_ns`` per precision; the ``wrong`` answer upside down; ``calls`` is a log."""
    module = ModuleType("fake.engine")
    module.FORM = {"fp32": "float", "bf16": "float", "int8": "int8-cpu"}
    module.cost_ns = {"int8": 1_000_000, "bf16": 2_000_000, "fp32": 3_000_000}
    module.wrong, module.calls = set(), []

    class Engine:
        library, threads = "fake 1.0", 2

        def __init__(self, precision):
            self.precision = precision

        def __call__(self, given):
            clock.now += module.cost_ns[self.precision]
            module.calls.append(self.precision)
            return -_answer(given) if self.precision in module.wrong else _answer(given)

        def layers(self):
            return []

    def build(bundle, target, out):
        out.mkdir(parents=True)
        (out / "weights").write_bytes(b"x" * (10 if target.precision == "int8" else 40))
        plan = Plan(
            backend=target.backend,
            precision=target.precision,
            bundle_digest=bundle.digest,
            library="fake 1.0",
            machine=machine(),
        )
        plan.write(out)
        return out

    module.build = build
    module.load = lambda plan, target: Engine(target.precision)
    monkeypatch.setitem(sys.modules, "fake", ModuleType("fake"))
    monkeypatch.setitem(sys.modules, "fake.engine", module)
    return module


@pytest.fixture
def host():
    return FakeHost()


@pytest.fixture
def measured():
    """Makes a measurement of int8 on a quiet host; keywords replace its fields, baselines are {precision: ms}."""

    def make(totals_ms=(10.0,) * 300, *, deadline_ms=20.0, baselines=None, base_golden=None, **changes):
        golden = Golden(agreements=(1.0, 0.999), miou=0.70)
        timed = {
            p: Baseline(samples=samples(ms), golden=base_golden or golden, model_bytes=4000)
            for p, ms in (baselines or {}).items()
        }
        m = Measurement(
            target=Target(backend="fake.engine", deadline_ms=deadline_ms),
            bundle="street",
            bundle_digest="ab" * 32,
            library="fake 1.0",
            threads=2,
            frame_hw=(16, 24),
            input_hw=(16, 24),
            warmup=10,
            samples=samples(totals_ms),
            golden=golden,
            baselines=timed,
            model_bytes=1000,
            peak_rss_bytes=10**8,
            facts=FACTS,
            readings=QUIET,
        )
        return replace(m, **changes)

    return make
