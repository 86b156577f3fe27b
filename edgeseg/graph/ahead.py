"""What is done for a GPU that is not in this machine: plans where the library builds ahead, a script where not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from edgeseg import backends, cuda
from edgeseg.bundle import Bundle
from edgeseg.check import check
from edgeseg.errors import BackendMissing, BuildRefused, DeviceError, DeviceMissing
from edgeseg.plans import VERIFIED, build_ahead
from edgeseg.target import Precision, Target

ON_A_GPU = ("trt", "trt-rtx")
SCRIPT = "build_on_device.sh"


def gpu_here() -> str | None:
    """The compute capability of this machine's GPU; None where it has none or cannot reach it."""
    try:
        return cuda.capability()
    except (BackendMissing, DeviceMissing, DeviceError):
        return None


def builds_here(target: str) -> bool:
    """Whether a target's plans can be built, run and verified on this machine."""
    if target not in ON_A_GPU:
        return True
    try:
        backends.get(target)
    except BackendMissing:
        return False
    return gpu_here() is not None


def refuse_unparsable(bundle: Bundle, target: str) -> None:
    """Raise BuildRefused where the target's parser would refuse one of the bundle's graphs, or read it as another."""
    report = check(bundle, target)
    if report.stopped:
        stops = [f for graph in report.graphs for f in graph.findings if f.severity in ("refused", "wrong")]
        raise BuildRefused(f"{report.sentence}: {stops[0].message}")


def prepare(bundle: Bundle, target: str, devices: Sequence[str], precisions: Sequence[Precision]) -> None:
    """Everything that can be done for a GPU target without the GPU.

    With ``devices`` TensorRT-RTX builds a plan for each, whichever of the two targets was asked for: its parser is the
    same, so what it builds TensorRT reads. For ``trt`` a script is written that builds on the device.
    """
    for device in devices:
        for precision in precisions:
            build_ahead(bundle, Target(backend="trt-rtx", precision=precision), device)
    if target == "trt":
        write_script(bundle, "int8" if "int8" in precisions else "fp16")


def write_script(bundle: Bundle, precision: Precision) -> Path:
    """``plans/trt/build_on_device.sh``, with the bundle's digest in it."""
    text = (Path(__file__).parent / SCRIPT).read_text()
    file = bundle.path / "plans" / "trt" / SCRIPT
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("@PRECISION@", precision).replace("@DIGEST@", bundle.digest))
    file.chmod(0o755)
    return file


def remains(bundle: Path, targets: Sequence[str]) -> list[str]:
    """What is left to do on the device, a sentence per target; nothing for one that is built and verified."""
    plans = {plan.parent for plan in (bundle / "plans").glob("*/plan.json")}
    waiting = sorted(plan.name for plan in plans if not (plan / VERIFIED).exists())
    found = []
    for target in targets:
        names = {f"{target}-{precision}" for precision in get_args(Precision)}
        if target not in ON_A_GPU or any(p.name.rpartition("-")[0] in names and p.name not in waiting for p in plans):
            continue
        script = f", or bash {bundle}/plans/trt/{SCRIPT}" if target == "trt" else ""
        ready = f" ({', '.join(waiting)} are built and await their GPU)" if waiting else ""
        found.append(f"on the device, edgeseg build {bundle} --target {target}{script}{ready}")
    return found
