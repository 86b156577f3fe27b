"""``edgeseg build``: a bundle's plan, built where it will run, with the base install and the engine's library."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg import backends
from edgeseg.bundle import Bundle
from edgeseg.errors import UserError
from edgeseg.plans import VERIFIED, build_ahead, ensure_plan
from edgeseg.target import Precision, Target


@dataclass(frozen=True)
class Built:
    plans: tuple[Path, ...]
    fresh: bool  # built just now; otherwise they were there and fit
    agreement: float | None  # share of golden pixels labelled as the network labels them; None where no GPU could say


def build(
    bundle: Bundle | Path | str,
    *,
    target: str,
    precision: Precision = "int8",
    devices: str = "",
    rebuild: bool = False,
    timing_cache: Path | None = None,
) -> Built:
    """A target's plan under ``plans/``, verified on the golden frames; one that is there and fits is used again.

    ``devices`` ("86,89") are compute capabilities of GPUs that are not here, for a library that builds ahead.
    ``timing_cache`` is TensorRT's; by default one per version and GPU in the user's cache. Raises BuildRefused where
    the engine does not say what the network said, DeviceMissing and BackendMissing where something is not here.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    wanted = Target(backend=target, precision=precision)
    backend: Any = backends.get(target)
    if precision not in backend.FORM:
        raise UserError(f"target {target!r} computes in {', '.join(backend.FORM)}, not in {precision}")
    if devices:
        return Built(tuple(build_ahead(bundle, wanted, d) for d in compute_capabilities(devices)), True, None)
    options = {"timing_cache": timing_cache or default_cache(backend)} if target == "trt" else {}
    if timing_cache and not options:
        raise UserError(f"target {target!r} keeps no timing cache: leave --timing-cache out")
    plan, fresh = ensure_plan(bundle, wanted, rebuild=rebuild, **options)
    return Built((plan,), fresh, float(json.loads((plan / VERIFIED).read_text())["agreement"]))


def compute_capabilities(text: str) -> list[str]:
    """``86,8.9`` -> sm86, sm89. Raises UserError for what is no compute capability."""
    found = []
    for item in filter(None, (part.strip().lower().removeprefix("sm").replace(".", "") for part in text.split(","))):
        if not item.isdigit() or not 50 <= int(item) <= 999:
            raise UserError(f"--sm expects compute capabilities, such as 86,89, got {text!r}")
        found.append(f"sm{item}")
    return list(dict.fromkeys(found))


def default_cache(backend: Any) -> Path:
    """Where the timings of this library on this GPU are kept: in ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "edgeseg" / f"{backend.LIBRARY.replace(' ', '-')}-{backend.device()}.timing"
