"""Time a bundle on a target, frame to labels, beside its float form, and note everything that could spoil it.

Frames go through one after another, one in flight: what is measured is latency, and the rate of a loop that never
waits for its camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgeseg import backends
from edgeseg.bundle import Bundle
from edgeseg.bundle import Golden as GoldenFrames
from edgeseg.errors import ContractError, UserError
from edgeseg.measure.accuracy import Confusion, agreement
from edgeseg.measure.host import Facts, Host, Reading, peak_rss_bytes
from edgeseg.measure.latency import Clock, Stopwatch
from edgeseg.measure.measurement import Baseline, Golden, Measurement
from edgeseg.pixels import labels_of
from edgeseg.plans import plan_of
from edgeseg.segmenter import Segmenter
from edgeseg.target import Precision, Target

ROUNDS = 5  # each form is timed in so many blocks, in turns
MIN_FRAMES = 300
MIN_BASELINE_FRAMES = 50
Frames = Sequence[np.ndarray] | np.ndarray
OnFrame = Callable[[int, int], None]  # (frames timed so far, frames in all)


def bench(
    bundle: Bundle | Path | str,
    *,
    target: Target,
    frames: int | None = None,
    warmup: int = 10,
    source: Frames | None = None,
    out: Path | None = None,
    clock: Clock = time.perf_counter_ns,
    host: Host | None = None,
    pause_s: float = 0.1,
    on_frame: OnFrame | None = None,
) -> Measurement:
    """Measure ``bundle`` on ``target`` and return the samples; :func:`edgeseg.measure.judge` says what they mean.

    ``source`` holds uint8 frames (H, W, 3) of one size, cycled as often as needed; by default the bundle's golden
    frames. ``frames`` of them are timed, by default 300 or as many as the target's percentile needs. The answers to
    the golden frames are compared with the network's before anything is timed.

    An int8 target is timed beside the same network in fp32 and, where the CPU has it, bf16, on the same engine: a
    third as many frames for each, 50 at the least, enough for the medians that are compared. The forms take turns in
    five blocks, so that a machine that warms up or is disturbed treats them alike. ``warmup`` untimed frames open
    each block in which the form changes, after a pause of ``pause_s``: the worker threads of one session spin for a
    while after their last frame and would slow the next.

    Where ``out`` is given the measurement is written there as JSON. ``on_frame(done, of)`` is called between timed
    frames. ``clock`` (nanoseconds) and ``host`` are there to be replaced in tests. Raises BundleError, PlanError and
    BackendMissing as :meth:`Segmenter.load` does, UserError where there is nothing to time.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    host = host or Host()
    facts, golden = host.facts(), bundle.golden()
    source = golden.frames if source is None else source
    frames = max(target.min_samples, MIN_FRAMES) if frames is None else frames
    frame_hw = _check(source, frames, warmup)

    subject = _open(bundle, target, golden, frames, clock)
    peak = peak_rss_bytes()  # now, while no baseline has been loaded
    rivals = {
        p: _open(bundle, replace(target, precision=p), golden, max(MIN_BASELINE_FRAMES, frames // 3), clock)
        for p in float_forms(target, facts)
    }
    readings = _take_turns([subject, *rivals.values()], source, warmup, pause_s, host, on_frame)

    origin = subject.stopwatch.ticks[0][0]
    measurement = Measurement(
        target=target,
        bundle=bundle.path.resolve().name,
        bundle_digest=bundle.digest,
        library=subject.segmenter.engine.library,
        threads=subject.segmenter.engine.threads,
        frame_hw=frame_hw,
        input_hw=bundle.contract.size_hw,
        warmup=warmup,
        samples=subject.stopwatch.samples(origin),
        golden=subject.golden,
        baselines={
            p: Baseline(samples=r.stopwatch.samples(origin), golden=r.golden, model_bytes=r.model_bytes)
            for p, r in rivals.items()
        },
        model_bytes=subject.model_bytes,
        peak_rss_bytes=peak,
        facts=facts,
        readings=tuple(readings),
    )
    if out is not None:
        measurement.write(Path(out))
    return measurement


def float_forms(target: Target, facts: Facts) -> list[Precision]:
    """The float precisions that int8 must beat on this engine and CPU; none for a float target."""
    if target.precision != "int8":
        return []
    supported = backends.get(target.backend).FORM
    wanted: list[Precision] = ["fp32", "fp16"]  # fp16: what a GPU takes without any training
    if facts.has_bf16:
        wanted.append("bf16")
    return [p for p in wanted if p in supported]


def golden_check(segmenter: Segmenter, golden: GoldenFrames) -> Golden:
    """The answers to the golden frames, against the reference network's and, where it is known, the truth."""
    contract = segmenter.contract
    reference = golden.logits(segmenter.target.precision)
    confusion = Confusion(len(contract.classes), contract.ignore_label)
    agreements = []
    for frame, logits, truth in zip(golden.frames, reference, golden.truth, strict=True):
        labels = segmenter(frame)
        agreements.append(agreement(labels, labels_of(logits[None], contract.size_hw, contract)))
        confusion.add(labels, truth)
    return Golden(agreements=tuple(agreements), miou=confusion.miou if confusion.pixels else None)


@dataclass
class _Form:
    """One precision of the network, loaded and checked."""

    segmenter: Segmenter
    golden: Golden
    model_bytes: int
    frames: int
    stopwatch: Stopwatch = field(init=False)
    clock: Clock

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.segmenter, self.clock)


def _open(bundle: Bundle, target: Target, golden: GoldenFrames, frames: int, clock: Clock) -> _Form:
    segmenter = Segmenter.load(bundle, target)
    plan = plan_of(bundle, target)
    model_bytes = sum(f.stat().st_size for f in plan.rglob("*") if f.is_file() and f.suffix != ".json")
    return _Form(segmenter, golden_check(segmenter, golden), model_bytes, frames, clock=clock)


def _take_turns(
    forms: Sequence[_Form], source: Frames, warmup: int, pause_s: float, host: Host, on_frame: OnFrame | None
) -> list[Reading]:
    """Time all forms, the first one first, and return the host's counters around the blocks."""
    readings: list[Reading] = []
    of, done = sum(form.frames for form in forms), 0
    blocks = [(form, size) for turn in range(ROUNDS) for form in forms if (size := _share(form.frames, turn))]
    previous = None
    for form, size in blocks:
        if form is not previous:
            if previous is not None:
                time.sleep(pause_s)
            for i in range(warmup):
                form.segmenter(source[i % len(source)])
            previous = form
        if not readings:
            readings.append(host.read())  # after warm-up: an idle CPU's clock is no reference
        for _ in range(size):
            form.stopwatch.time(source[len(form.stopwatch.ticks) % len(source)])
            done += 1
            if on_frame is not None:
                on_frame(done, of)
        readings.append(host.read())
    return readings


def _share(frames: int, turn: int) -> int:
    """How many of a form's frames are timed in this turn: the shares differ by one at most."""
    return frames // ROUNDS + (turn < frames % ROUNDS)


def _check(source: Frames, frames: int, warmup: int) -> tuple[int, int]:
    """(H, W) of the frames. Raises UserError or ContractError where a measurement could not come of them."""
    if frames < 1 or warmup < 0:
        raise UserError(f"expected at least 1 frame and 0 of warm-up, got frames={frames}, warmup={warmup}")
    if not len(source):
        raise UserError("there are no frames to time: give some, or leave source out to use the bundle's golden frames")
    sizes = sorted({(f.shape[0], f.shape[1]) for f in source})
    if len(sizes) > 1:
        raise ContractError(f"frames of one size are timed together, got {', '.join(f'{h}x{w}' for h, w in sizes)}")
    return sizes[0]
