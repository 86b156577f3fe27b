"""The one training loop, and the recipe that decides what comes out of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import nn

from edgeseg import processes
from edgeseg.backbones import Trunk
from edgeseg.batches import Batches
from edgeseg.cache import Answers
from edgeseg.checkpoint import Progress
from edgeseg.data import Dataset
from edgeseg.errors import EdgesegError, RunError, UserError
from edgeseg.synced import synced

Precision = Literal["auto", "fp32", "bf16"]
SAVE_SECONDS = 60.0  # the most work that a kill can cost, roughly


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may say about any training; None leaves it to the recipe."""

    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    crop: tuple[int, int] | None = None
    precision: Precision = "auto"
    workers: int = 0
    resume: bool = False
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    split: str = "train"
    also: tuple[str, ...] = ()  # more datasets of the same classes
    evenly: bool = False  # frames of the first are shown as often as those of all others
    strength: float = 0.5  # of the second looks of frames without labels, edgeseg.strong
    skip_bad: bool = False
    freeze_backbone: float = 0.0  # share of the steps

    def __post_init__(self) -> None:
        if not 0 <= self.freeze_backbone <= 1:
            raise UserError(f"freeze_backbone is a share of the steps, between 0 and 1, got {self.freeze_backbone}")
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength lies between 0, colours as they are, and 1, got {self.strength:g}")
        if self.evenly and not self.also:
            raise UserError("--evenly says how often frames are shown beside those of --also: give that as well")
        if self.steps is not None and self.epochs is not None:
            raise UserError("say --steps or --epochs, not both")
        for name in ("steps", "epochs", "batch_size", "lr"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name} must be positive, got {value}")


class Event(NamedTuple):
    """Something that happened in a long call: a training step, or the start of a stage."""

    step: int
    steps: int
    losses: dict[str, float]
    note: str


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that does nothing."""


def poly(step: int, steps: int, *, power: float = 0.9, warmup: float = 0.02) -> float:
    """Linear warm-up, then (1 - t)^power, as real-time segmentation networks are usually trained."""
    ramp = min(1.0, (step + 1) / max(1.0, warmup * steps))
    return ramp * (1 - step / steps) ** power


def step_lr(step: int, steps: int, *, every: int, gamma: float) -> float:
    """The rate times ``gamma`` after each ``every`` steps."""
    return gamma ** (step // every)


def adam(parameters: list[nn.Parameter], lr: float, *, weight_decay: float = 1e-4) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def adamw(parameters: list[nn.Parameter], lr: float, *, weight_decay: float = 1e-2) -> torch.optim.Optimizer:
    """AdamW with decay on convolution weights only, not on norms and biases."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def unchanged(student: nn.Module, batches: Batches) -> nn.Module:
    return student


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights of a student, and nothing else.

    Holds functions and partials: writing one loads no weights and reads no data. Same recipe, same machine, same
    weights. ``transform`` gets the student and the batches (to calibrate fake quantization, to prune) and returns what
    is trained; ``freeze_bn`` is the share of the steps after which batch statistics stay as they are, and
    ``freeze_backbone`` that before which a pretrained backbone does, so that what is new does not spoil it at first.
    """

    student: Callable[[], nn.Module]
    objective: Callable[[nn.Module], nn.Module]
    batches: Callable[[], Batches]
    steps: int
    lr: float
    optimizer: Callable[..., torch.optim.Optimizer] = adamw
    schedule: Callable[[int, int], float] = poly
    transform: Callable[[nn.Module, Batches], nn.Module] = unchanged
    freeze_bn: float = 1.0
    freeze_backbone: float = 0.0
    clip: float = 5.0  # norm of the gradient
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0


def describe(x: object) -> object:
    """A recipe as plain JSON values, for provenance and for telling two recipes apart."""
    if isinstance(x, functools.partial):
        named: dict[str, object] = {k: describe(v) for k, v in x.keywords.items()}
        return {"call": describe(x.func), **({"args": describe(x.args)} if x.args else {}), **named}
    if isinstance(x, Dataset):
        more = {**({"also": list(x.also)} if x.also else {}), **({"again": len(x.again)} if x.again else {})}
        return {"spec": x.spec, "split": x.split, "frames": len(x), **more}
    if isinstance(x, Answers):
        return {"cache": x.cache.digest, "teachers": x.cache.teachers}
    if isinstance(x, nn.Module):
        return type(x).__name__
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: describe(getattr(x, f.name)) for f in dataclasses.fields(x)}
    if isinstance(x, dict):
        return {str(k): describe(v) for k, v in x.items()}
    if isinstance(x, tuple | list):
        return [describe(v) for v in x]
    if isinstance(x, Path):
        return str(x)
    if callable(x):
        return f"{x.__module__}:{x.__qualname__}"
    return x


class Trained(NamedTuple):
    """What training hands back: the student (transformed, if the recipe says so), how long it took, and the objective
    with all else that was trained."""

    student: nn.Module
    steps: int
    seconds: float
    objective: nn.Module


def join(device: str) -> None:
    """Make one group of the processes that torchrun or accelerate started, if they did, and begin a training in it."""
    several = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    # Asked for GPUs where there are none, Accelerate would let each process train alone.
    PartialState(cpu=device == "cpu" or (several and not torch.cuda.is_available()))
    processes.meet()
    if several:  # of weights of 1x1 convolutions, whose strides have two names: nothing is slower
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")


def train(recipe: Recipe, out: Path, *, device: str = "auto", workers: int = 0, listen: Listener = silent) -> Trained:
    """Run a recipe, keeping what is needed to resume under ``out/resume`` and carrying on from it where it exists.

    Where several processes run it together, each computes its part of every batch, and the weights are those of one:
    gradients are averaged, batches normalised as a whole. The first of them writes; ``listen`` is called in each.

    Raises EdgesegError where the loss stops being finite. On Ctrl-C or SIGTERM, in whichever process, all stop at the
    same step; the state is saved first, then KeyboardInterrupt goes on.
    """
    join(device)
    torch.manual_seed(recipe.seed)
    batches = recipe.batches()
    mixed = "bf16" if recipe.precision == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # what a training before this one, in the same process, had asked for
    accelerator = Accelerator(
        mixed_precision=mixed,
        cpu=device == "cpu",
        # Not every loss has a gradient for everything: auxiliary heads may learn nothing.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    listen(Event(0, recipe.steps, {}, "preparing"))
    student = recipe.transform(recipe.student(), batches)
    objective = recipe.objective(student).to(accelerator.device, memory_format=torch.channels_last).train()
    for pair in getattr(objective, "pairs", ()):
        listen(Event(0, recipe.steps, {}, str(pair)))
    trunks = backbones_of(student) if recipe.freeze_backbone else []
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = recipe.optimizer(parameters, recipe.lr)
    rates = [group["lr"] for group in optimizer.param_groups]
    progress = Progress(out)
    if processes.count() > 1:  # made alike, from here on each with its own chance
        processes.draw_apart(recipe.seed, 0)
    start = progress.load(objective, optimizer, recipe.seed)
    if len(processes.stacked(torch.tensor(start)).unique()) > 1:
        raise RunError(f"not all processes see the same {progress.folder}: machines must share the folder of the run")
    forward, stepper = accelerator.prepare(objective, optimizer)
    began = saved = time.monotonic()
    log = out / "log.jsonl"
    if processes.first():
        keep_log_until(log, start)
    batches = batches.shared()
    batches.workers = workers  # who makes a batch does not change it
    step = start
    with (
        processes.company(),
        synced(objective),
        stop_signal() as stopped,
        (log if processes.first() else Path(os.devnull)).open("a") as lines,
    ):
        for batch in batches.iterate(start, recipe.steps):
            frozen = step < recipe.freeze_backbone * recipe.steps
            for trunk in trunks:
                trunk.train(not frozen)
            if step >= recipe.freeze_bn * recipe.steps:
                freeze_batch_norm(objective)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * recipe.schedule(step, recipe.steps)
            objective.progress = step / recipe.steps
            batch = send_to_device(batch, accelerator.device, non_blocking=True)
            with accelerator.autocast():
                losses = forward(batch)
            stepper.zero_grad(set_to_none=True)
            accelerator.backward(torch.stack(list(losses.values())).sum())
            for p in [p for trunk in trunks for p in trunk.parameters()] if frozen else ():
                p.grad = None  # what has no gradient, no optimiser changes, nor decays
            accelerator.clip_grad_norm_(parameters, recipe.clip)
            stepper.step()
            step += 1
            values = dict(zip(losses, processes.means([loss.item() for loss in losses.values()]), strict=True))
            if not math.isfinite(sum(values.values())):
                raise EdgesegError(f"the loss is no longer finite at step {step} ({values}): lower --lr")
            lines.write(json.dumps({"step": step, **values}) + "\n")
            listen(Event(step, recipe.steps, values, ""))
            stop, due = processes.any_of(stopped(), time.monotonic() - saved > SAVE_SECONDS)
            if stop or due:
                lines.flush()
                progress.save(step, objective, optimizer)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    processes.part()
    return Trained(student, recipe.steps, time.monotonic() - began, objective)


def backbones_of(student: nn.Module) -> list[nn.Module]:
    """Raises UserError where there is none that comes from elsewhere."""
    found: list[nn.Module] = [m for m in student.modules() if isinstance(m, Trunk)]
    if not found:
        raise UserError("there is no backbone to freeze: it is for DECODER:BACKBONE, such as linknet:mobilenetv2_100")
    return found


def freeze_batch_norm(module: nn.Module) -> None:
    """Use and keep the running statistics: the network trains as it will be folded."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()


def keep_log_until(log: Path, step: int) -> None:
    """Drop the lines that a killed run wrote after the state it resumes from."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[:step]))


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into an answer to "stopped?", so that a step is never cut in two.

    A second one acts at once. Only the main thread can ask for signals; elsewhere nothing is caught.
    """
    received: list[int] = []

    def note(signum: int, frame: Any) -> None:
        received.append(signum)
        if len(received) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def precision_of(wanted: Precision, device: str) -> Literal["fp32", "bf16"]:
    """``auto`` is bf16 where the device multiplies in it, else fp32."""
    if wanted != "auto":
        return wanted
    if device != "cpu" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
