"""``report``, ``doctor``, ``run``: the commands around all the others."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated

import typer

from edgeseg.cli import flags, screen, tables
from edgeseg.errors import UserError


def report(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE.json…", help="What bench and eval kept with --out.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="report.html, or .md.")],
    title: Annotated[str, typer.Option(help="The heading.")] = "edgeseg report",
    seed: flags.NoSeed = 0,
    device: flags.NoDevice = "auto",
    json: flags.Json = False,
) -> None:
    """Write one self-contained page from measurements and evaluations."""
    from edgeseg.report import report as write

    with screen.working("report"):
        write(files, out=out, title=title)
    screen.answer({"report": str(out), "files": [str(f) for f in files]}, as_json=json, closing=f"Next: open {out}")


def run(
    *,
    chain: Annotated[Path, typer.Argument(metavar="CHAIN.toml", help="One table per verb, its keys the flags.")],
    seed: flags.NoSeed = 0,
    device: flags.NoDevice = "auto",
    json: flags.Json = False,
) -> None:
    """Run a whole chain, or go on with it where it stopped."""
    from edgeseg import pipeline

    with screen.working("run") as watch:
        steps = pipeline.run_chain(chain, listen=watch)
    screen.answer(steps, as_json=json, closing="")


def doctor(*, seed: flags.NoSeed = 0, device: flags.MachineDevice = "auto", json: flags.Json = False) -> None:
    """Say what this machine can build and run, and the pip line for what it lacks."""
    from edgeseg.doctor import examine

    found = examine()
    if device == "cuda" and not found.gpus:
        raise UserError("no NVIDIA GPU here: nvidia-smi is not installed, or lists none")
    if found.targets:
        closing = (
            f"Ready for {', '.join(found.targets)}. Next: edgeseg bench BUNDLE --target {found.targets[0]} --fps 30"
        )
    else:
        closing = "No engine is ready. Next: pip install 'edgeseg[openvino]'"
    screen.answer(json_.loads(found.to_json()), as_json=json, closing=closing, table=tables.checkup(found))
