"""The chain in calls, one per verb: train, distill, qat, export, evaluate. The command line is thin over these."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgeseg import distill as distillation
from edgeseg import labelling, networks, score, taps, validate
from edgeseg import losses as supervision
from edgeseg import semi as semi_supervision
from edgeseg.bundle import Bundle
from edgeseg.cache import missing as missing_shards
from edgeseg.checkpoint import Run, load_weights
from edgeseg.committee import same_classes, teachers
from edgeseg.data import Dataset, open_dataset, with_more
from edgeseg.errors import DataError, RunError, UserError
from edgeseg.graph.export import Depthwise
from edgeseg.graph.export import export as write_bundle
from edgeseg.labelling import Labeller, Plan, Request, folder
from edgeseg.labelling.folder import Labelled
from edgeseg.measure.accuracy import Evaluation
from edgeseg.objectives import Loss, Weight
from edgeseg.panels import pictures
from edgeseg.recipes import segmentation
from edgeseg.running import device_of, evaluate_network
from edgeseg.running import into as run_into
from edgeseg.target import Precision
from edgeseg.train import Event, Listener, Options, silent

ROLES = {"train": "teacher", "distill": "student", "qat": "qat"}  # what a run's pictures are called
# Of those that any teacher and a cache can give, the ones that gain most in benchmarks/DISTILLATION.md, 1200 steps.
DEFAULT_LOSSES = ("kl=1", "cwd=3")
DEFAULT_LABEL_LOSSES = ("cross-entropy=1",)


def train(
    *,
    model: str,
    data: str,
    out: Path | str,
    label_loss: Sequence[str] = DEFAULT_LABEL_LOSSES,
    network: Mapping[str, Any] | None = None,
    init: Path | None = None,
    pretrained: bool | Path | str = False,
    semi: Sequence[str] = (),
    unlabelled: str | None = None,
    options: Options | None = None,
    listen: Listener = silent,
) -> Run:
    """Train a network on labels: a teacher, or any other. ``network`` holds its own options (width, attention, ...).

    ``label_loss`` holds texts such as ``"cross-entropy=1"``, ``"ohem=1"`` or ``"dice=0.5"``, which are summed. Where
    ``model`` is ``DECODER:BACKBONE``, ``pretrained`` starts from the backbone's weights, its library's or a file's.
    ``semi`` holds methods, ``"mean-teacher=1,mix=cutmix"``, that learn from the frames of ``unlabelled``, a dataset
    whose labels, if it has any, are not looked at.
    """
    options = options or Options()
    dataset = open_training(data, options)
    spec = network_spec(model, dataset, network)
    recipe = segmentation.on_labels(
        fresh(spec, init, pretrained), dataset, options, from_labels(label_loss), footage(semi, unlabelled, options)
    )
    return run_into("train", recipe, spec, dataset, Path(out), options, listen, parents={"init": _identity(init)})


def distill(
    *,
    teacher: Sequence[Path | str],
    student: str,
    data: str,
    out: Path | str,
    loss: Sequence[str] = DEFAULT_LOSSES,
    tap: Sequence[str] = (),
    labels: bool = True,
    label_loss: Sequence[str] = DEFAULT_LABEL_LOSSES,
    baseline: bool = False,
    online: str | None = None,
    cache: Path | str | None = None,
    network: Mapping[str, Any] | None = None,
    init: Path | None = None,
    pretrained: bool | Path | str = False,
    classes: Path | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    semi: Sequence[str] = (),
    unlabelled: str | None = None,
    options: Options | None = None,
    listen: Listener = silent,
) -> Run:
    """Train a student under one or several teachers, averaged; with ``baseline``, the identical recipe without them.

    A teacher is a run, or a network from elsewhere as :mod:`edgeseg.foreign` opens it; ``classes`` is a file that says
    which of the dataset's classes theirs are. ``loss`` holds texts such as ``"kl=1,temperature=4"``, ``tap`` those that
    pair features, ``"student.layer4=teacher.layer4"``, ``label_loss`` those of ``train``, and so is ``pretrained``.
    ``flip`` and ``scales`` let the teachers look again at the mirrored and resized image. Without ``labels`` the
    student learns from the teachers alone. ``online`` names a network that learns beside the student from the start,
    each from the other; it becomes a run of its own in ``out/partner``. ``cache`` has what the teachers said of the
    frames (:func:`cache`), and is read instead of asking them; ``teacher`` may be left out then, and is compared where
    it is given. ``semi`` and ``unlabelled`` are those of ``train``.
    """
    options = options or Options()
    if baseline and not labels:
        raise UserError("a baseline learns from labels alone: leave out --baseline or --no-labels")
    if cache and (baseline or online):
        raise UserError("a cache is a teacher's answers: leave out --cache, or --baseline and --online")
    if online and semi:
        raise UserError("two networks that learn online see labelled frames alone: leave out --online, or --semi")
    if online and (baseline or teacher or not labels):
        raise UserError("what learns online is the teacher: leave out --teacher, --baseline and --no-labels")
    dataset = open_training(data, options)
    spec = network_spec(student, dataset, network)
    taught = [] if baseline else [distillation.parse(text) for text in loss]
    losses = [*(from_labels(label_loss) if labels else []), *taught]
    alone = baseline or online or all(distillation.is_("alone", each) for _, each in taught)
    under = None
    if cache or teacher or not alone:
        under = teachers(teacher, dataset, cache=cache, classes=classes, flip=flip, scales=scales)
    partner = network_spec(online, dataset, None) if online else None
    recipe = segmentation.student(
        fresh(spec, init, pretrained),
        dataset,
        options,
        losses,
        under and under.network,
        places(tap),
        partner and fresh(partner, None, False),
        under and under.answers,
        footage(semi, unlabelled, options),
    )
    parents = {"teacher": under and under.members, "init": _identity(init)}
    return run_into("distill", recipe, spec, dataset, Path(out), options, listen, parents=parents, partner=partner)


def born_again(
    generations: int,
    *,
    out: Path | str,
    teacher: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    classes: Path | None = None,
    options: Options | None = None,
    **said: Any,
) -> Run:
    """Students of one kind, one after the other, each from new weights and taught by the one before it.

    Furlanello et al. 2018, "Born-Again Neural Networks", https://arxiv.org/abs/1805.04770. The first learns from labels
    alone, or from ``teacher`` where there is one; other words are those of ``distill``. The last is ``out``, those
    before it lie in ``out/generation-1`` and on.
    """
    out, options = Path(out), options or Options()
    if generations < 2:
        raise UserError(f"students are born again from the second generation on, got {generations}")
    for number in range(1, generations + 1):
        run = distill(
            teacher=teacher,
            cache=cache,
            classes=classes,
            baseline=not teacher and cache is None,
            out=out if number == generations else out / f"generation-{number}",
            options=dataclasses.replace(options, seed=options.seed + number - 1),
            **said,
        )
        teacher, cache, classes = [run.path], None, None
    return run


def self_trained(
    rounds: int,
    *,
    data: str,
    unlabelled: str,
    out: Path | str,
    keep: float = 0.8,
    min_confidence: float = 0.0,
    flip: bool = False,
    options: Options | None = None,
    listen: Listener = silent,
    **said: Any,
) -> Run:
    """Train on labels, label the footage with what was trained, train anew on as many frames of both; so many times.

    Lee 2013, "Pseudo-Label"; of each class the ``keep`` most confident share counts, so that rare classes are not lost:
    Zou et al. 2018, https://arxiv.org/abs/1810.07911; and nothing below ``min_confidence``. Other words are those of
    ``distill``. The last network is ``out``; those before it, and the labels that each gave, lie in ``out/round-0`` on.
    """
    out, options = Path(out), options or Options()
    if rounds < 1:
        raise UserError(f"self-training takes at least one round, got {rounds}")
    for number in range(rounds + 1):
        here = out if number == rounds else out / f"round-{number}"
        run = distill(data=data, out=here, flip=flip, options=options, listen=listen, **said)
        if number < rounds:
            labelled = label(
                teacher=[run.path],
                data=unlabelled,
                out=here / "labels",
                distinct=0,
                keep=keep,
                min_confidence=min_confidence,
                flip=flip,
                device=options.device,
                listen=listen,
            )
            options = dataclasses.replace(options, also=(f"folder:{labelled.out}",), evenly=True)
    return run


def qat(
    run: Path | str,
    *,
    data: str,
    out: Path | str,
    teacher: Sequence[Path | str] = (),
    loss: Sequence[str] = DEFAULT_LOSSES,
    tap: Sequence[str] = (),
    labels: bool = True,
    label_loss: Sequence[str] = DEFAULT_LABEL_LOSSES,
    weight_bits: int = 7,
    cache: Path | str | None = None,
    classes: Path | None = None,
    flip: bool = False,
    semi: Sequence[str] = (),
    unlabelled: str | None = None,
    options: Options | None = None,
    listen: Listener = silent,
) -> Run:
    """Train on under fake quantization, with the teacher, if there is one, still teaching; from a ``cache`` of its
    answers, and from ``unlabelled`` frames, as in ``distill``."""
    options = options or Options()
    if options.freeze_backbone:
        raise UserError("a backbone is frozen in train and distill; under fake quantization all of a network learns")
    parent = Run.load(run)
    if parent.quantized:
        raise RunError(f"{run} is quantized already: give the float run that it came from")
    dataset = open_training(data, options)
    same_classes(parent, dataset)
    losses = from_labels(label_loss) if labels else []
    losses += [distillation.parse(text) for text in loss] if teacher or cache else []
    if not losses:
        raise UserError("nothing to learn from: give --teacher, or leave out --no-labels")
    under = teachers(teacher, dataset, cache=cache, classes=classes, flip=flip) if teacher or cache else None
    grid = {"weight_bits": weight_bits, "input_scale": input_scale(parent.mean, parent.std)}
    recipe = segmentation.quantized(
        parent.network,
        dataset,
        options,
        losses,
        under and under.network,
        places(tap),
        answers=under and under.answers,
        footage=footage(semi, unlabelled, options),
        **grid,
    )
    spec = dict(parent.facts["network"])
    parents = {"float": parent.identity(), "teacher": under and under.members}
    return run_into(
        "qat", recipe, spec, dataset, Path(out), options, listen, parents=parents, grid=grid, reference=parent
    )


def cache(
    *,
    teacher: Sequence[Path | str],
    data: str,
    out: Path | str,
    part: str | None = None,
    ray_workers: int = 0,
    device: str = "auto",
    listen: Listener = silent,
    **request: Any,
) -> Plan:
    """Keep what one or several teachers say of every frame of a split; other words are those of
    :class:`edgeseg.labelling.Request`.

    What is in ``out`` already is kept. ``part``, ``"2/8"``, makes the second of eight shares; ``ray_workers`` leaves
    the sharing to Ray. Returns what it came to, and which shards are still missing. Raises DataError where ``out``
    holds a cache of something else, before anything is written.
    """
    wanted = Request(teacher=tuple(map(str, teacher)), data=data, out=Path(out), **request)
    number, of = labelling.part(part)
    labeller = Labeller(wanted, labelling.device_of_part(device_of(device)))
    plan = labeller.plan()
    listen(Event(0, plan.key.frames, {}, plan.told()))
    labeller.begin()
    mine = [shard for shard in plan.missing if shard % of == number]
    done, total = 0, sum(map(labeller.frames_of, mine))

    def told(frames: int = 1) -> None:
        nonlocal done
        done += frames
        listen(Event(done, total, {}, "asking the teacher"))

    if ray_workers:
        from edgeseg.labelling import ray_data

        ray_data.label(wanted, mine, device_of(device), ray_workers, told)
    else:
        for shard in mine:
            labeller.shard(shard, told)
    return plan._replace(missing=missing_shards(wanted.out, plan.key))


def label(
    *,
    teacher: Sequence[Path | str],
    data: str,
    out: Path | str,
    part: str | None = None,
    device: str = "auto",
    listen: Listener = silent,
    **request: Any,
) -> Labelled:
    """Write what one or several teachers say of frames as a dataset that ``folder:`` reads; other words are those of
    :class:`edgeseg.labelling.folder.Request`.

    ``data`` is ``video:PATH``, ``images:PATH`` or a dataset, whose own labels are not looked at. Frames that are in
    ``out`` already are kept. ``part``, ``"2/8"``, makes the second of eight shares: of the videos, or else of the
    frames. Raises DataError where ``out`` holds something else, before anything is written.
    """
    wanted = folder.Request(teacher=tuple(map(str, teacher)), data=data, out=Path(out), **request)
    number, of = labelling.part(part)
    making = folder.Folder(wanted, labelling.device_of_part(device_of(device)))

    def told(note: str, done: int, total: int) -> None:
        listen(Event(done, total, {}, note))

    making.begin()
    made = making.label(making.frames(number, of, told), told)
    return making.finish(told, again=made > 0)


def export(
    run: Path | str,
    *,
    out: Path | str,
    target: Sequence[str] = (),
    data: str | None = None,
    size: tuple[int, int] | None = None,
    devices: Sequence[str] = (),
    depthwise: Depthwise = "int8",
    overwrite: bool = False,
    listen: Listener = silent,
) -> Bundle:
    """Write a bundle and, for each target, a verified plan for int8 and for the float that it must beat.

    ``data`` gives the golden frames and those on which engines are compared; by default what the run was trained on.
    ``devices`` are compute capabilities ("sm86") of GPUs that are not here, for which TensorRT-RTX builds ahead;
    ``depthwise`` is what TensorRT computes depthwise convolutions in.
    Nothing is left behind where a build is refused.
    """
    source = Run.load(run)
    dataset = open_dataset(data or source.facts["data"], "val")
    same_classes(source, dataset)
    return write_bundle(
        source,
        dataset,
        Path(out),
        targets=target,
        size_hw=size,
        devices=devices,
        depthwise=depthwise,
        overwrite=overwrite,
        listen=listen,
    )


def evaluate(
    path: Path | str,
    *,
    data: str,
    split: str = "val",
    target: str | None = None,
    precision: Precision = "int8",
    reference: Path | str | None = None,
    panels: Path | str | None = None,
    device: str = "auto",
    listen: Listener = silent,
) -> Evaluation:
    """mIoU of a run's network, or of a bundle's engine for a target, over a labelled split.

    ``reference``, a run, is the network that the bundle was exported from: with it the engine's agreement is measured.
    ``panels`` is a folder for pictures of a few frames, which a report shows side by side.
    """
    path = Path(path)
    if (path / "run.json").is_file():
        if target not in (None, "torch"):
            raise UserError(f"{path} is a run, which torch evaluates: export it to evaluate it with {target}")
        run, dataset = Run.load(path), open_dataset(data, split)
        with pictures(panels, ROLES[run.facts["verb"]], dataset) as draw:
            return evaluate_network(run, dataset, device_of(device), _both(draw, listen, len(dataset)))
    if reference is None or target is None:
        return score.evaluate(
            path,
            data=data,
            split=split,
            target=target,
            precision=precision,
            panels=panels,
            each=lambda done, of: listen(Event(done, of, {}, "evaluating")),
        )
    bundle, run, dataset = Bundle.load(path), Run.load(reference), open_dataset(data, split)
    contract = bundle.contract
    pairs = validate.network_labels(
        run.network() if precision == "int8" else run.float_network(),
        dataset,
        size_hw=contract.size_hw,
        mean=contract.mean,
        std=contract.std,
        device=device_of(device),
    )
    with pictures(panels, precision, dataset) as draw:
        return score.evaluate_engine(
            bundle,
            dataset,
            target,
            precision=precision,
            reference=(labels for labels, _ in pairs),
            each=_both(draw, listen, len(dataset)),
        )


def _both(draw: Callable[[int, np.ndarray], None], listen: Listener, count: int) -> Callable[[int, np.ndarray], None]:
    def each(i: int, labels: np.ndarray) -> None:
        draw(i, labels)
        listen(Event(i + 1, count, {}, "evaluating"))

    return each


# What the verbs share.


def from_labels(texts: Sequence[str]) -> list[tuple[Weight, Loss]]:
    return [supervision.parse(text) for text in texts]


def footage(methods: Sequence[str], unlabelled: str | None, options: Options) -> segmentation.Footage | None:
    """Frames without labels, and the methods that learn from them; None where there are none."""
    if bool(methods) != bool(unlabelled):
        raise UserError("--semi says how to learn from frames without labels, --unlabelled where they are: give both")
    if unlabelled is None:
        return None
    dataset = open_dataset(unlabelled, "train", skip_bad=options.skip_bad, labels=False)
    return segmentation.Footage(dataset, [semi_supervision.parse(text) for text in methods])


def places(texts: Sequence[str]) -> list[tuple[taps.Where, taps.Where]]:
    """``student.A=teacher.B`` each: features that learn from each other."""
    return [taps.parse(text) for text in texts]


def open_training(data: str, options: Options) -> Dataset:
    dataset = open_dataset(data, options.split, skip_bad=options.skip_bad)
    if options.also:  # whole: nothing of these is held out
        others = [open_dataset(spec, "train+val", skip_bad=options.skip_bad) for spec in options.also]
        dataset = with_more(dataset, others, evenly=options.evenly)
    if not dataset.classes:
        raise DataError(f"{data} has no labels, and training needs some: use folder:, camvid: or cityscapes:")
    return dataset


def network_spec(name: str, dataset: Dataset, options: Mapping[str, Any] | None) -> dict[str, Any]:
    if "pretrained" in (options or {}):
        raise UserError("pretrained is no option of a network, which any run rebuilds: say --pretrained")
    spec = {
        "name": name,
        "num_classes": len(dataset.classes),
        **{k: v for k, v in (options or {}).items() if v is not None},
    }
    networks.build(**spec)  # a wrong name or option is refused before any work
    return spec


def fresh(spec: Mapping[str, Any], init: Path | None, pretrained: bool | Path | str) -> Callable[[], nn.Module]:
    """What makes the network that a training starts from.

    Pretrained weights are no part of the network's spec, which runs are opened with: they have weights of their own.
    """
    if init is not None and pretrained:
        raise UserError("a run's weights leave nothing of pretrained ones: say --init or --pretrained")
    return partial(start, spec, init, pretrained=pretrained) if pretrained else partial(start, spec, init)


def start(spec: Mapping[str, Any], init: Path | None, pretrained: bool | Path | str = False) -> nn.Module:
    """A fresh network, or one that starts from a run of the same architecture."""
    network = networks.build(**spec, pretrained=pretrained)
    if init is not None:
        run = Run.load(init)
        if run.quantized:
            raise RunError(f"{init} is a quantized run: start from the float run it came from")
        load_weights(network, run.path / "weights.safetensors")
    return network


def input_scale(mean: Sequence[float], std: Sequence[float]) -> float | None:
    """The step of one pixel value, where the normalisation puts all of them on an s8 grid with zero-point 0."""
    centred = all(abs(m * 255 - 128) < 1e-3 for m in mean) and len(set(std)) == 1
    return 1 / (255 * std[0]) if centred else None


def _identity(run: Path | None) -> dict[str, str] | None:
    return Run.load(run).identity() if run is not None else None
