"""Time a bundle on a target, frame to labels, and note everything that could spoil it.

What is timed depends on the scenario (:mod:`edgeseg.measure.scenario`); the engine runs in a process of its own, whose
samples outlive it.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgeseg import backends
from edgeseg.bundle import Bundle
from edgeseg.errors import ContractError, EdgesegError, UserError
from edgeseg.measure import journal, nvml, pace, quality
from edgeseg.measure.engine_process import EngineProcess
from edgeseg.measure.host import Facts, Host
from edgeseg.measure.latency import Clock
from edgeseg.measure.measurement import Measurement, Quality
from edgeseg.measure.pace import Frames
from edgeseg.measure.runner import Runner
from edgeseg.measure.scenario import Scenario
from edgeseg.measure.taking import Form, OnFrame, Taking
from edgeseg.pixels import labels_of
from edgeseg.target import Precision, Target

MIN_FRAMES = 400  # p99 has bounds on both sides from 368 on
SOAK_S = 600.0


@dataclass(frozen=True)
class Labelled:
    """Frames with their truth, in the contract's colour order, and what they are called."""

    frames: quality.Labelled
    data: str
    split: str


def bench(
    bundle: Bundle | Path | str,
    *,
    target: Target,
    scenario: Scenario | None = None,
    frames: int | None = None,
    warmup: int | None = None,
    source: Frames | None = None,
    labelled: Labelled | None = None,
    out: Path | None = None,
    isolated: bool = True,
    clock: Clock = time.perf_counter_ns,
    wait: pace.Wait | None = None,
    host: Host | None = None,
    pause_s: float = 0.1,
    on_frame: OnFrame | None = None,
) -> Measurement:
    """Measure ``bundle`` on ``target`` and return the samples; :func:`edgeseg.measure.judge` says what they mean.

    ``source`` holds uint8 frames (H, W, 3) of one size, cycled as often as needed; by default the bundle's golden
    frames. ``frames`` of them are timed, of each camera where there are several: by default as many as the scenario's
    seconds hold, or else 400 or as many as the target needs to be shown met. The answers to the golden frames are
    compared with the network's before anything is timed; mIoU, outlines and flicker are taken on ``labelled`` frames
    after it, or on the golden ones.

    In scenario ``latency`` an int8 target is timed beside the same network in fp32 and, where the CPU has it, bf16, on
    the same engine, as far as the bundle holds their graphs: a third as many frames for each, 50 at the least, enough
    for the medians that are compared. The forms take turns in five blocks, so that a machine that warms up or is
    disturbed treats them alike. A pause of ``pause_s`` and ten frames of warm-up come before each block in which the
    form changes: the worker threads of one engine spin for a while after their last frame and would slow the next.

    Warm-up at the beginning lasts until latencies stay at one level (:mod:`edgeseg.measure.warmup`), two thousand
    frames or twenty seconds at the most, or ``warmup`` frames. They are kept too.

    Where ``out`` is given the measurement is written there as JSON, and samples lie in ``OUT.journal`` meanwhile
    (where everything was killed, they stay there, and as ``OUT.journal.kept`` after another run).
    Where the engine's process is killed, the engine fails or the user interrupts, what was timed is kept and says so
    (``cut_short``); an interrupt is raised again after that. ``on_frame(done, of)`` is called as frames are timed.
    Engines run in this process where ``isolated`` is False, as they must with a ``clock`` or ``wait`` of one's own.
    Raises BundleError, PlanError and BackendMissing as :meth:`Segmenter.load` does, UserError where there is nothing
    to time, EngineDied where the engine's process ended before anything was timed.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    host, scenario = host or host_of(target), scenario or Scenario()
    golden, facts = bundle.golden(), host.facts()
    source = golden.frames if source is None else source
    frames = frames_of(scenario, target) if frames is None else frames
    frame_hw = check(source, frames, warmup)
    interrupted: KeyboardInterrupt | None = None
    forms: list[Form] = []
    with _beside(out) as folder, contextlib.ExitStack() as stack:

        def start(wanted: Target, workers: int = 1) -> Form:
            path = (
                folder / f"{out.name if out else 'bench'}{'' if wanted == target else '-' + wanted.precision}.journal"
            )
            runner: Runner | EngineProcess = (
                EngineProcess(bundle.path, wanted, path, workers=workers)
                if isolated
                else Runner(bundle, wanted, path, workers=workers, clock=clock, wait=wait)
            )
            stack.callback(runner.close)
            runner.show(source)
            forms.append(Form(wanted, runner, path))
            return forms[-1]

        def started(wanted: Target) -> Form:
            return next((form for form in forms if form.target == wanted), None) or start(wanted)

        subject = start(target, scenario.workers)
        rivals = [start(replace(target, precision=p)) for p in float_forms(bundle, target, facts, scenario)]
        host.pids.update(form.runner.opened.pid for form in (subject, *rivals))
        taken = Taking(subject, rivals, scenario, frames, warmup, pause_s, host, on_frame)
        try:
            taken.run()
            taken.quality = _quality(subject, labelled, bundle, started)
        except EdgesegError as e:
            taken.cut_short = str(e)
            if not len(taken.timed):
                raise
        except KeyboardInterrupt as e:
            taken.cut_short, interrupted = "interrupted", e
            if not len(taken.timed):
                raise
        measurement = taken.measurement(bundle, facts, frame_hw)
        if out is not None:
            measurement.write(Path(out))
    if interrupted is not None:
        raise interrupted
    return measurement


def host_of(target: Target) -> Host:
    """This machine, with its GPU watched too where the target runs on one."""
    return Host(gpu=nvml.first_visible() if hasattr(backends.get(target.backend), "device") else None)


def frames_of(scenario: Scenario, target: Target) -> int:
    """How many frames, of each camera: as many as the seconds hold, or as the target needs to be shown met."""
    seconds = SOAK_S if scenario.kind == "soak" and scenario.seconds is None else scenario.seconds
    if seconds is not None and scenario.fps is not None:
        return max(1, math.ceil(seconds * scenario.fps))
    if seconds is not None:
        return max(1, math.ceil(seconds * target.fps))  # as many as would be asked for in that time
    return max(target.min_samples, MIN_FRAMES)


def float_forms(bundle: Bundle, target: Target, facts: Facts, scenario: Scenario) -> list[Precision]:
    """The float precisions that int8 must beat on this engine and CPU, of those whose graphs the bundle has; none for a
    float target, or under a camera."""
    if target.precision != "int8" or scenario.kind != "latency":
        return []
    graphs = backends.get(target.backend).FORM
    wanted: list[Precision] = ["fp32", "fp16"]  # fp16: what a GPU takes without any training
    if facts.has_bf16:
        wanted.append("bf16")
    return [p for p in wanted if graphs.get(p) in bundle.forms]


def _quality(
    subject: Form, labelled: Labelled | None, bundle: Bundle, start: Callable[[Target], Form]
) -> Quality | None:
    """On the given frames, beside fp32 on the same engine where the bundle has its graph; or on the golden ones beside
    the network itself.

    None where the golden frames have no truth.
    """
    contract, golden, target = bundle.contract, bundle.golden(), subject.target
    if labelled is not None:
        reference = None
        if target.precision != "fp32" and backends.get(target.backend).FORM.get("fp32") in bundle.forms:
            reference = "fp32 on the same engine", start(replace(target, precision="fp32")).runner.label
        given = labelled.frames
        return quality.assess(
            subject.runner.label, given, contract, data=labelled.data, split=labelled.split, reference=reference
        )
    if (golden.truth == contract.ignore_label).all():
        return None
    answers = iter(golden.logits(target.precision))
    network = ("the bundle's network", lambda frame: labels_of(next(answers)[None], contract.size_hw, contract))
    frames = zip(golden.frames, golden.truth, strict=True)
    return quality.assess(
        subject.runner.label, frames, contract, data="golden frames", split="golden", reference=network
    )


@contextlib.contextmanager
def _beside(out: Path | None) -> Iterator[Path]:
    """Where journals lie: beside the result, until it is written; elsewhere for a moment where none is wanted."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
            yield Path(folder)
        return
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for file in out.parent.glob(f"{out.name}*.journal"):
        if journal.done(file):  # of a run that was killed as a whole
            file.rename(file.with_name(f"{file.name}.kept"))
    try:
        yield out.parent
    except BaseException:
        for file in out.parent.glob(f"{out.name}*.journal"):
            if not journal.done(file):
                file.unlink()
        raise
    for file in out.parent.glob(f"{out.name}*.journal"):
        file.unlink()


def check(source: Frames, frames: int, warmup: int | None) -> tuple[int, int]:
    """(H, W) of the frames. Raises UserError or ContractError where a measurement could not come of them."""
    if frames < 1 or (warmup or 0) < 0:
        raise UserError(f"expected at least 1 frame and 0 of warm-up, got frames={frames}, warmup={warmup}")
    if not len(source):
        raise UserError("there are no frames to time: give some, or leave source out to use the bundle's golden frames")
    sizes = sorted({(f.shape[0], f.shape[1]) for f in source})
    if len(sizes) > 1:
        raise ContractError(f"frames of one size are timed together, got {', '.join(f'{h}x{w}' for h, w in sizes)}")
    return sizes[0]
