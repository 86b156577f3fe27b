"""Building a bundle's plan for a target, and refusing one whose engine does not say what the network said."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg import backends, pixels
from edgeseg.backends import Engine, Layer
from edgeseg.bundle import Bundle
from edgeseg.errors import BuildRefused, PlanError, UserError
from edgeseg.target import Target

VERIFIED = "verified.json"  # in a plan's folder, once its engine has answered the golden frames on its device


@dataclass(frozen=True)
class Verification:
    """What an engine does with a bundle: its golden frames and its convolutions."""

    agreement: float  # share of golden pixels labelled as the network labelled them
    convolutions: int
    fell_back: tuple[str, ...]  # convolutions of a quantized graph that do not run in int8


def folder_of(bundle: Bundle, target: Target, device: str | None = None) -> Path:
    """Where a target's plan lies, for this machine's GPU or for another ``device``: ``plans/trt-int8-sm87``."""
    if device is None:
        backend: Any = backends.get(target.backend)
        device = backend.device() if hasattr(backend, "device") else ""
    return bundle.path / "plans" / (f"{target.name}-{device}" if device else target.name)


def plan_of(bundle: Bundle, target: Target) -> Path:
    """The bundle's plan for a target; built first where there is none, verified first where nobody has yet.

    Raises PlanError where there is one, but for another bundle.
    """
    plan = folder_of(bundle, target)
    if not plan.is_dir():
        return build_plan(bundle, target)
    if (why := stale(bundle, plan)) is not None:
        raise PlanError(f"{why}: rebuild it with 'edgeseg build {bundle.path} --target {target.backend}'")
    if not (plan / VERIFIED).exists():
        note(verify(bundle, backends.get(target.backend).load(plan, target), target), target, plan)
    return plan


def ensure_plan(bundle: Bundle, target: Target, *, rebuild: bool = False, **options: Any) -> tuple[Path, bool]:
    """A target's plan, verified and fit for this machine, and whether it was built just now.

    One that is there is used again where it is this bundle's, this library's and this device's; otherwise, or with
    ``rebuild``, it is replaced once the new one has been verified.
    """
    plan = folder_of(bundle, target)
    if plan.is_dir() and not rebuild:
        try:
            backends.get(target.backend).load(plan_of(bundle, target), target)
            return plan, False
        except PlanError:  # of another bundle, version or machine: that is what building anew is for
            pass
    return build_plan(bundle, target, **options), True


def stale(bundle: Bundle, plan: Path) -> str | None:
    """Why a plan is not this bundle's; None where it is."""
    try:
        built_for = json.loads((plan / "plan.json").read_text())["bundle_digest"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as e:
        return f"{plan} is damaged ({e})"
    if built_for != bundle.digest:
        return f"plan {plan} was built for bundle {built_for[:12]}, this one is {bundle.digest[:12]}"
    return None


def build_plan(bundle: Bundle, target: Target, **options: Any) -> Path:
    """Build a plan, verify its engine, and put it under ``plans/``; nothing is left there if either fails.

    ``options`` are the backend's own. Raises BuildRefused where golden frames come out differently, or a quantized
    convolution runs in float.
    """
    backend = backends.get(target.backend)
    plan = folder_of(bundle, target)
    with beside(plan) as folder:
        built = backend.build(bundle, target, folder / "plan", **options)
        note(verify(bundle, backend.load(built, target), target), target, built)
        replace(built, plan)
    return plan


def build_ahead(bundle: Bundle, target: Target, device: str) -> Path:
    """Build a plan for a GPU that is not here, and put it under ``plans/``.

    Its golden frames wait for the device, where :func:`plan_of` runs them; what its kernels compute in is known
    already. Raises BuildRefused where a quantized convolution would run in float, UserError where the target's plans
    are built on their device.
    """
    backend: Any = backends.get(target.backend)
    if not getattr(backend, "ahead", False):
        raise UserError(f"{target.backend} builds on its device alone: run 'edgeseg build' there")
    plan = folder_of(bundle, target, device)
    with beside(plan) as folder:
        built = backend.build(bundle, target, folder / "plan", device=device)
        convolutions, fell_back = fallen_back(bundle, target, backend.layers(built))
        refuse_if_float(target, convolutions, fell_back)
        replace(built, plan)
    return plan


@contextmanager
def beside(plan: Path) -> Iterator[Path]:
    """A folder beside a plan to build it in, gone again at the end."""
    plan.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=plan.parent, prefix=".building-") as folder:
        yield Path(folder)


def replace(built: Path, plan: Path) -> None:
    if plan.is_dir():
        shutil.rmtree(plan)
    built.replace(plan)


def verify(bundle: Bundle, engine: Engine, target: Target) -> Verification:
    """Run the golden frames, and read from the engine what its convolutions run in."""
    convolutions, fell_back = fallen_back(bundle, target, engine.layers())
    return Verification(
        agreement=golden_agreement(bundle, engine, target), convolutions=convolutions, fell_back=fell_back
    )


def fallen_back(bundle: Bundle, target: Target, layers: Iterable[Layer]) -> tuple[int, tuple[str, ...]]:
    """How many convolutions there are, and which of them run in float though they should run in int8."""
    convolutions = [layer for layer in layers if layer.op == "conv"]
    if target.precision != "int8":
        return len(convolutions), ()
    sorts = bundle.provenance["convolutions"]
    form = backends.get(target.backend).FORM[target.precision]
    may_be_float = {*sorts["float"], *(sorts.get("depthwise", ()) if form == "int8-fp16" else ())}
    return len(convolutions), tuple(
        c.name for c in convolutions if c.precision != "int8" and c.name not in may_be_float
    )


def golden_agreement(bundle: Bundle, engine: Engine, target: Target) -> float:
    """Share of golden pixels that the engine labels as the network did."""
    golden, contract = bundle.golden(), bundle.contract
    same = []
    for frame, reference in zip(golden.frames, golden.logits(target.precision)):
        answer = engine(pixels.frame_to_input(frame, contract))
        ours, theirs = (pixels.labels_of(x, contract.size_hw, contract) for x in (answer, reference[None]))
        same.append(np.mean(ours == theirs))
    return float(np.mean(same))


def note(found: Verification, target: Target, plan: Path) -> None:
    """Keep with the plan that its engine was found right. Raises BuildRefused where it was not."""
    refuse_if_wrong(found, target)
    writing = plan / f".{VERIFIED}"
    writing.write_text(json.dumps(dataclasses.asdict(found), indent=2, sort_keys=True) + "\n")
    writing.replace(plan / VERIFIED)


def refuse_if_wrong(found: Verification, target: Target) -> None:
    if target.backend == "null":  # answers nothing; it is there to time everything but the engine
        return
    if found.agreement < target.min_agreement:
        raise BuildRefused(
            f"{target.name} labels {found.agreement:.2%} of the golden pixels as the network does, "
            f"less than the {target.min_agreement:.2%} asked for: the build is refused"
        )
    refuse_if_float(target, found.convolutions, found.fell_back)


def refuse_if_float(target: Target, convolutions: int, fell_back: tuple[str, ...]) -> None:
    if fell_back:
        names = ", ".join(fell_back[:5]) + (", …" if len(fell_back) > 5 else "")
        raise BuildRefused(
            f"{target.name} runs {len(fell_back)} of {convolutions} convolutions in float that should run "
            f"in int8 ({names}): it would be slower than it should be; the build is refused"
        )
