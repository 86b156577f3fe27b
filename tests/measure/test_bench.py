"""The harness on an engine whose cost we choose, with a clock that only it moves."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from fakes import FACTS, FakeHost

from edgeseg.bundle import Bundle, seal
from edgeseg.errors import BundleError, ContractError, UserError
from edgeseg.measure import bench, journal, judge
from edgeseg.measure.bench import Labelled
from edgeseg.measure.journal import TIMED, Journal
from edgeseg.measure.measurement import Measurement
from edgeseg.target import Target

INT8 = Target(backend="fake.engine", deadline_ms=5.0)


@pytest.fixture
def timed(bundle, engine, clock, host):
    def run(**options):
        return bench(
            bundle, **{"target": INT8, "clock": clock, "host": host, "pause_s": 0, "isolated": False, **options}
        )

    return run


def test_int8_is_timed_beside_its_float_forms(timed, bundle):
    m = timed()
    assert set(m.samples.total_ns) == {1_000_000} and len(m.samples) == 400
    assert {p: set(b.samples.total_ns) for p, b in m.baselines.items()} == {"fp32": {3_000_000}, "bf16": {2_000_000}}
    assert [len(b.samples) for b in m.baselines.values()] == [133, 133]
    assert (m.model_bytes, m.baselines["fp32"].model_bytes) == (10, 40)
    assert (m.bundle, m.bundle_digest, m.library, m.threads) == ("bundle", bundle.digest, "fake 1.0", 2)
    assert m.golden.agreements == (1.0, 1.0) and m.golden.miou == 1.0 and m.frame_hw == (16, 24)
    verdict = judge(m)
    assert verdict.status == "MET" and verdict.int8_is_a_win is True


def test_forms_take_turns_in_blocks_that_open_with_warm_up(timed, engine):
    timed(frames=10, warmup=4)
    engine.calls.clear()  # the plans are built now; there follow two golden frames a form, the blocks, two to be scored
    timed(frames=10, warmup=4)
    runs = [(precision, len(list(group))) for precision, group in groupby(engine.calls)]
    checks, blocks, scored = runs[:3], runs[3:-1], runs[-1]
    assert checks == [("int8", 2), ("fp32", 2), ("bf16", 2)] and scored == ("int8", 2)
    assert blocks == [("int8", 4 + 2), ("fp32", 4 + 10), ("bf16", 4 + 10)] * 5


def test_warm_up_is_not_among_the_samples(timed, engine, clock):
    slow = []

    def start(done, of):
        slow.append(done)
        engine.cost_ns["int8"] = 1

    engine.cost_ns["int8"] = 10**9
    m = timed(
        target=replace(INT8, precision="int8"),
        frames=5,
        warmup=3,
        host=FakeHost(replace(FACTS, features=())),
        on_frame=start,
    )
    assert m.samples.total_ns == (10**9, 1, 1, 1, 1)  # the first callback comes after the first timed frame
    assert slow == list(range(1, 5 + 50 + 1))


def test_a_float_target_has_no_baseline(timed, engine):
    m = timed(target=replace(INT8, precision="fp32"), frames=7)
    assert m.baselines == {} and set(engine.calls) == {"fp32"} and len(m.samples) == 7


def test_a_bundle_without_a_float_graph_is_timed_alone_and_says_so(bundle, engine, clock, host):
    (bundle.path / "float.onnx").unlink()
    seal(bundle.path, {"convolutions": {"float": []}})
    bundle = Bundle.load(bundle.path)
    given = Labelled(list(zip(bundle.golden().frames, bundle.golden().truth, strict=True)), data="street", split="val")
    m = bench(bundle, target=INT8, labelled=given, clock=clock, host=host, pause_s=0, isolated=False)
    verdict = judge(m)
    assert m.baselines == {} and m.quality.reference is None
    assert verdict.status == "MET" and verdict.int8_is_a_win is None
    assert "INT8 was not compared with a float form: none was timed beside it" in verdict.notes
    with pytest.raises(BundleError, match=r"holds no float graph.*--precision int8"):
        bundle.graph("float")


def test_bf16_only_where_the_cpu_has_it(timed):
    m = timed(frames=5, host=FakeHost(replace(FACTS, features=("avx2",))))
    assert set(m.baselines) == {"fp32"}


def test_frames_default_to_what_the_percentile_needs(timed):
    m = timed(target=replace(INT8, precision="fp32", percentile=99.5))
    assert len(m.samples) == 598


def test_wrong_answers_are_measured_and_judged_invalid(timed, engine):
    timed(frames=1)  # builds the plans while the engine is right
    engine.wrong = {"int8"}
    m = timed()
    assert m.golden_agreement < 0.5 and m.baselines["fp32"].golden.agreement == 1.0
    assert judge(m).status == "INVALID"


def test_the_host_is_read_after_warm_up_and_after_every_block(timed, host):
    m = timed(frames=10, warmup=1)
    assert len(m.readings) == 1 + 5 * 3 and m.before.at_ns == 10**9 and m.after.at_ns == 16 * 10**9


def test_frames_of_ones_own_are_cycled_at_their_own_size(timed, engine):
    source = np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    m = timed(source=source, frames=7)
    assert m.frame_hw == (20, 30) and m.input_hw == (16, 24) and len(m.samples) == 7


def test_the_result_is_written_whole(timed, tmp_path):
    out = tmp_path / "results" / "bench.json"
    m = timed(frames=5, out=out)
    assert Measurement.from_json(out.read_text()) == m
    assert [p.name for p in out.parent.iterdir()] == ["bench.json"]


def test_samples_of_a_run_that_was_killed_as_a_whole_are_kept(timed, tmp_path):
    left = Journal(tmp_path / "bench.json.journal")
    left.append((TIMED, 0, 0, 0, 1, 2, 3, 4, 0, 0))
    left.close()
    timed(frames=5, out=tmp_path / "bench.json")
    assert len(journal.read(tmp_path / "bench.json.journal.kept")) == 1
    assert {p.name for p in tmp_path.glob("bench*")} == {"bench.json", "bench.json.journal.kept"}


def test_a_bundle_without_truth_has_no_golden_miou(timed, bundle, monkeypatch):
    golden = replace(bundle.golden(), truth=np.full((2, 16, 24), 255, np.uint8))
    monkeypatch.setattr(type(bundle), "golden", lambda self: golden)
    assert timed(frames=5).golden.miou is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"frames": 0}, UserError, "at least 1 frame"),
        ({"source": []}, UserError, "no frames"),
        ({"source": [np.zeros((2, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)]}, ContractError, "2x3, 4x3"),
    ],
)
def test_what_cannot_be_timed_is_refused_before_anything_is_loaded(timed, engine, options, error, message):
    with pytest.raises(error, match=message):
        timed(**options)
    assert engine.calls == []


@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_real_engines(tiny_bundle, host, library):
    """Through the whole path: plans are built, int8 and float answer as their networks do."""
    pytest.importorskip(library)
    m = bench(tiny_bundle, target=Target(backend=library, threads=1), frames=5, warmup=1, host=host, pause_s=0)
    assert m.golden_agreement >= 0.998 and m.baselines["fp32"].golden.agreement >= 0.998
    assert m.golden.miou > 0.9 and m.library.startswith(library) and m.threads == 1
    assert len(m.samples) == 5 and min(m.samples.infer_ns) > 0 and m.model_bytes > 100
    assert judge(m).why.startswith("5 frames cannot show p99")
