"""The flags that several commands share, each spelled and explained once."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgeseg.errors import UserError

TRAINING = "Training"  # headings in --help
ANYWHERE = "Every command"
GPU_TARGETS = {"trt", "trt-rtx", "torch-trt"}

DEFAULT_LOSSES = ("kl=1", "cwd=3")
DEFAULT_LABEL_LOSSES = ("cross-entropy=1",)

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document; all else goes to stderr.", rich_help_panel=ANYWHERE),
]
Seed = Annotated[int, typer.Option(help="Decides everything random.", rich_help_panel=ANYWHERE)]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where the network runs; auto is the GPU where there is one.", rich_help_panel=ANYWHERE),
]
# A script may pass the same flags to every command; where there is nothing for them to decide, the help says so.
NoSeed = Annotated[int, typer.Option(help="Accepted; nothing here is random.", rich_help_panel=ANYWHERE)]
NoDevice = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Accepted; no network runs here.", rich_help_panel=ANYWHERE)
]
ChainSeed = Annotated[int, typer.Option(help="Accepted; each table says its own.", rich_help_panel=ANYWHERE)]
ChainDevice = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Accepted; each table says its own.", rich_help_panel=ANYWHERE)
]
EngineDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="The target decides; cpu or cuda insist on it.", rich_help_panel=ANYWHERE),
]
MachineDevice = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="cuda insists on a GPU.", rich_help_panel=ANYWHERE)
]

Data = Annotated[
    str,
    typer.Option(
        metavar="KIND:PATH", help="camvid:PATH, cityscapes:PATH, folder:PATH (images/ and masks/), synthetic:street."
    ),
]
OutRun = Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")]
TeacherRuns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN|KIND:WHERE",
        help="A finished run, or a network from elsewhere: smp:ARCH/ENCODER:WEIGHTS, torchvision:NAME, hf:MODEL, "
        "onnx:FILE, python:MODULE:FUNCTION. Repeat it to average several.",
    ),
]
ClassMap = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Which of the data's classes each of the teacher's is, under [classes]."),
]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=WEIGHT",
        help="Repeatable: kl=1, cwd=3, nfd=0.7, skd.pair=10; kl=10,T=8:4:1,ramp=0.3 has a temperature in stages and a "
        f"weight that grows over that share of the steps. Default: {' and '.join(DEFAULT_LOSSES)}.",
    ),
]
Taps = Annotated[
    list[str] | None,
    typer.Option(
        "--tap",
        metavar="student.A=teacher.B",
        help="Repeatable: modules whose features learn from each other. Default: the deepest of each stride.",
    ),
]
LabelLosses = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=WEIGHT",
        help=f"Repeatable, on labels: cross-entropy=1, balanced=1, ohem=1, dice=1. Default: {DEFAULT_LABEL_LOSSES[0]}.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Read the teacher's answers from what 'edgeseg cache' made, instead of asking it each step."
    ),
]
Semi = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD[=WEIGHT]",
        help="Repeatable: learn from frames without labels by mean-teacher, mean-teacher=1,mix=cutmix,ramp=0.2, "
        "cross-pseudo, unimatch, …",
    ),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(metavar="KIND:PATH", help="Those frames, such as images:PATH; labels are not looked at."),
]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Learn from labels too, or from the teacher alone.")]
Flip = Annotated[bool, typer.Option("--flip", help="The teacher also looks at the mirrored frame.")]
Scales = Annotated[
    list[float] | None,
    typer.Option("--scale", min=0.1, help="Repeatable: the teacher also looks at the frame resized by this."),
]
Init = Annotated[Path | None, typer.Option(metavar="RUN", help="Start from the weights of this run.")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Of DECODER:BACKBONE: start from the backbone's own weights.")
]
Width = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="A student's factor on its channels (0.5), a U-Net's channels (32)."),
]
Network = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Repeatable: the network's other options, such as attention=true."),
]
EnginePrecision = Annotated[Literal["int8", "bf16", "fp32", "fp16"], typer.Option(help="What the engine computes in.")]

ComputeCapabilities = Annotated[
    str | None,
    typer.Option("--sm", metavar="NN[,…]", help="Compute capabilities to build trt-rtx plans for, such as 86,89."),
]


def _training(
    *,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.", rich_help_panel=TRAINING)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", rich_help_panel=TRAINING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Frames per step, of all processes together.", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel=TRAINING)] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="HxW", help="Training crop, such as 256x384.", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto is bf16 where the machine multiplies in it.", rich_help_panel=TRAINING),
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that prepare batches; 0 is a thread.", rich_help_panel=TRAINING)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from where a stopped run was saved.", rich_help_panel=TRAINING)
    ] = False,
    split: Annotated[
        str,
        typer.Option(
            help="Frames to learn from; train+val leaves none to score the network on.", rich_help_panel=TRAINING
        ),
    ] = "train",
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:PATH",
            help="Repeatable: more frames of the same classes, such as a folder: of 'edgeseg label'.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    evenly: Annotated[
        bool,
        typer.Option(
            "--evenly",
            help="Of --also: where these are more, show frames of --data so often that they are a half.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Of --unlabelled: how strongly colours change in the look that is to be told the same; "
            "1 is for large pretrained networks.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.5,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out unusable files, and list them.", rich_help_panel=TRAINING)
    ] = False,
    freeze_backbone: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Of DECODER:BACKBONE: leave the backbone as it is for this share of the steps.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
) -> dict[str, Any]:
    """The fields of :class:`edgeseg.train.Options`; ``training`` gives them to a command."""
    return dict(locals())


def training(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the training flags in place of its ``options`` parameter, a :class:`edgeseg.train.Options`."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]
    shared = list(inspect.signature(_training, eval_str=True).parameters.values())

    @functools.wraps(command)
    def run(**values: Any) -> None:
        from edgeseg.train import Options

        chosen = _training(**{p.name: values.pop(p.name) for p in shared})
        if chosen["crop"] is not None:
            chosen["crop"] = height_width("--crop", chosen["crop"])
        chosen["also"] = tuple(chosen["also"] or ())
        command(**values, options=Options(**chosen))

    parameters = [*own, *shared]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads the flags here
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def height_width(flag: str, text: str) -> tuple[int, int]:
    """``256x384`` -> (256, 384)."""
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text)
    if not found:
        raise UserError(f"{flag} expects HEIGHTxWIDTH in pixels, such as 256x384, got {text!r}")
    return int(found[1]), int(found[2])


def comma_list(flag: str, text: str) -> list[str]:
    """``openvino,onnxruntime`` -> two names, without blanks or repeats."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"{flag} expects names separated by commas, such as openvino,onnxruntime, got {text!r}")
    return names


def network_options(width: str | None, given: list[str] | None) -> dict[str, Any]:
    """``--width 0.5 --network blocks=3`` -> {"width": 0.5, "blocks": 3}."""
    texts = [f"width={width}"] if width is not None else []
    return dict(_name_value("--network", text) for text in [*texts, *(given or [])])


def _name_value(flag: str, text: str) -> tuple[str, Any]:
    """Numbers, true and false as such, the rest as text."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals and value):
        raise UserError(f"{flag} expects NAME=VALUE, such as blocks=3, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def on_engine(device: str, target: str) -> None:
    """Refuse a device that the target does not run on, rather than ignore it."""
    on_gpu = [name for name in target.split(",") if name.strip() in GPU_TARGETS]
    if device == "cuda" and not on_gpu:
        raise UserError(f"target {target!r} runs on the CPU: leave --device out, or say --device cpu")
    if device == "cpu" and on_gpu:
        raise UserError(f"target {on_gpu[0]!r} runs on a GPU: leave --device out, or say --device cuda")
