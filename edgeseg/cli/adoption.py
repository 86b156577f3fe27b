"""``adopt``: the command around a network from elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeseg.cli import flags, screen
from edgeseg.errors import UserError


def adopt(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file, or the .xml of an OpenVINO IR.")],
    classes: Annotated[Path, typer.Option(metavar="FILE", help="Names of the classes, one a line; or classes.toml.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder for the bundle.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="KIND:PATH", help="Real frames for the proof, such as images:FOLDER; labels are used."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    mean: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Subtracted from pixels / 255, where the model does not itself.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="A,B,C", help="What is left is divided by it.")] = None,
    color: Annotated[Literal["rgb", "bgr"], typer.Option(help="Channel order that the model takes.")] = "rgb",
    fit: Annotated[
        Literal["stretch", "letterbox"], typer.Option(help="How a frame of another size is brought to the model's.")
    ] = "stretch",
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Input size of a model that takes any.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which output; default: the first that can be labels or logits.")
    ] = None,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="Add an int8 form, if it is as right as float and faster.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option(min=0, help="mIoU that int8 may lose, in points, where the frames have labels.")
    ] = 0.5,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pixels that int8 must label as float does, without labels.")
    ] = 0.97,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is already there.")] = False,
    seed: flags.NoSeed = 0,
    device: flags.EngineDevice = "auto",
    json: flags.Json = False,
) -> int:
    """Make a bundle of a network from any framework. Exit code 1 where int8 was asked for and is not worth having."""
    from edgeseg.adopt import Limits
    from edgeseg.adopt import adopt as take

    flags.on_engine(device, "adopt")
    with screen.working("adopt") as watch:
        found = take(
            model,
            classes=classes,
            out=out,
            data=data,
            split=split,
            mean=_triple("--mean", mean),
            std=_triple("--std", std),
            color=color,
            fit=fit,
            size=flags.height_width("--size", size) if size else None,
            output=output,
            quantize=Limits(max_drop / 100, min_agreement) if quantize else None,
            overwrite=overwrite,
            listen=lambda note: watch(screen.Tick(0, note=note)),
        )
    contract = found.bundle.contract
    document = {
        "bundle": str(found.bundle.path),
        "digest": found.bundle.digest,
        "forms": found.bundle.forms,
        "cut": found.cut,
        "left": found.left,
        "color": contract.color,
        "mean": contract.mean,
        "std": contract.std,
        **dataclasses.asdict(found.proof),
        "int8": dataclasses.asdict(found.int8) if found.int8 else None,
    }
    precision = "int8" if "int8-cpu" in found.bundle.forms else "fp32"
    engine = f"--target openvino --precision {precision}"
    screen.answer(document, as_json=json, closing=f"{found.sentence}. Next: edgeseg bench {out} {engine} --fps 30")
    return 1 if found.int8 and found.int8.refused else 0


def _triple(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """``0.485,0.456,0.406`` -> three numbers; one number stands for three."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise UserError(f"{flag} expects three numbers separated by commas, such as 0.485,0.456,0.406, got {text!r}")
    first, second, third = values * (3 // len(values))
    return first, second, third
