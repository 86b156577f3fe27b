"""What a way of training costs beside a baseline: time of its steps, in turns with the baseline's, and memory."""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch
from accelerate.utils import send_to_device

from edgeseg.measure.host import Host
from edgeseg.train import Recipe

ROUNDS = 7
WARM_UP = 2


def measured(recipe: Callable[[str], Recipe], name: str, device: str, *, base: str) -> dict[str, Any]:
    """Milliseconds of steps of ``base`` and of ``name``, in turns, each with the making of its batch; and the memory
    that ``name`` adds to the peak, in MiB. In a process of its own, which ``recipe`` is sent to.

    What a method computes once, before training, is in neither.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(recipe, name, device, base, sender))
    process.start()
    sender.close()  # a process that dies ends the wait
    try:
        found: dict[str, Any] = receiver.recv()
    finally:
        process.join()
    return found


def measure(recipe: Callable[[str], Recipe], name: str, device: str, base: str, answer: Connection) -> None:
    on = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    steps = {base: warm(milliseconds(recipe(base), on))}
    before = peak_mib(on)
    if name != base:
        steps[name] = warm(milliseconds(recipe(name), on))
    samples: dict[str, list[float]] = {key: [] for key in steps}
    for _ in range(ROUNDS):
        for key, step in steps.items():
            samples[key].append(next(step))
    ran_on = {"gpu": torch.cuda.get_device_name()} if on.type == "cuda" else {"cpu": Host().facts().cpu}
    more = peak_mib(on) - before
    answer.send({"samples_ms": samples, "more_mib": more, **ran_on, "threads": torch.get_num_threads()})


def milliseconds(recipe: Recipe, device: torch.device) -> Iterator[float]:
    """Of training steps, without end; as they are midway: every method has begun, and frames were read before."""
    objective = recipe.objective(recipe.student()).to(device, memory_format=torch.channels_last).train()
    objective.progress = 0.5
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = recipe.optimizer(parameters, recipe.lr)
    batches = recipe.batches()
    for number in itertools.cycle(range(WARM_UP)):
        began = time.perf_counter()
        batch = send_to_device(batches.batch(number), device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            losses = objective(batch)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield 1000 * (time.perf_counter() - began)


def warm(steps: Iterator[float]) -> Iterator[float]:
    for _ in range(WARM_UP):
        next(steps)
    return steps


def peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def columns(tried: Mapping[str, Any], base: str) -> list[str]:
    """Step and memory, as a table shows them: those of the base in full, of others beside it; empty where they were
    not measured."""
    if "cost" not in tried:
        return ["", ""]
    samples = tried["cost"]["samples_ms"]
    others = [ms for name, ms in samples.items() if name != base]
    if not others:
        return [f"{statistics.median(samples[base]):.0f} ms", ""]
    ratio = statistics.median(b / a for a, b in zip(samples[base], others[0], strict=True))
    return [f"{ratio:.2f}x", f"+{tried['cost']['more_mib']:.0f} MiB"]
