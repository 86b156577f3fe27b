"""Building a bundle's plan for a target, and refusing one whose engine does not say what the network said."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg import backends, pixels
from edgeseg.backends import Engine
from edgeseg.bundle import Bundle
from edgeseg.errors import BuildRefused, PlanError
from edgeseg.target import Target


@dataclass(frozen=True)
class Verification:
    """What an engine does with a bundle: its golden frames and its convolutions."""

    agreement: float  # share of golden pixels labelled as the network labelled them
    convolutions: int
    fell_back: tuple[str, ...]  # convolutions of a quantized graph that do not run in int8


def plan_of(bundle: Bundle, target: Target) -> Path:
    """The bundle's plan for a target; built and verified first where there is none.

    Raises PlanError where there is one, but for another bundle.
    """
    plan = bundle.path / "plans" / target.name
    if not plan.is_dir():
        return build_plan(bundle, target)
    try:
        built_for = json.loads((plan / "plan.json").read_text())["bundle_digest"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as e:
        raise PlanError(f"{plan} is damaged ({e}): remove that folder, and it is built anew") from e
    if built_for != bundle.digest:
        raise PlanError(
            f"plan {plan} was built for bundle {built_for[:12]}, this one is {bundle.digest[:12]}: "
            "remove that folder, and it is built anew"
        )
    return plan


def build_plan(bundle: Bundle, target: Target) -> Path:
    """Build a plan, verify its engine, and put it under ``plans/``; nothing is left there if either fails.

    Raises BuildRefused where golden frames come out differently, or a quantized convolution runs in float.
    """
    backend = backends.get(target.backend)
    plan = bundle.path / "plans" / target.name
    plan.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=plan.parent, prefix=".building-") as folder:
        built = backend.build(bundle, target, Path(folder) / "plan")
        found = verify(bundle, backend.load(built, target), target)
        refuse_if_wrong(found, target)
        if plan.is_dir():
            shutil.rmtree(plan)
        built.replace(plan)
    return plan


def verify(bundle: Bundle, engine: Engine, target: Target) -> Verification:
    """Run the golden frames, and read from the engine what its convolutions run in."""
    convolutions = [layer for layer in engine.layers() if layer.op == "conv"]
    may_be_float = set(bundle.provenance["convolutions"]["float"])
    fell_back = [c.name for c in convolutions if c.precision != "int8" and c.name not in may_be_float]
    return Verification(
        agreement=golden_agreement(bundle, engine, target),
        convolutions=len(convolutions),
        fell_back=tuple(fell_back) if target.precision == "int8" else (),
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


def refuse_if_wrong(found: Verification, target: Target) -> None:
    if target.backend == "null":  # answers nothing; it is there to time everything but the engine
        return
    if found.agreement < target.min_agreement:
        raise BuildRefused(
            f"{target.name} labels {found.agreement:.2%} of the golden pixels as the network does, "
            f"less than the {target.min_agreement:.2%} asked for: the build is refused"
        )
    if found.fell_back:
        names = ", ".join(found.fell_back[:5]) + (", …" if len(found.fell_back) > 5 else "")
        raise BuildRefused(
            f"{target.name} runs {len(found.fell_back)} of {found.convolutions} convolutions in float that should run "
            f"in int8 ({names}): it would be slower than it should be; the build is refused"
        )
