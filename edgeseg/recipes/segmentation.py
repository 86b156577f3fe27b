"""Recipes for any labelled dataset: a teacher on labels, a student under a teacher, a student under fake quantization.

The teacher's is the configuration usual in the literature for a U-Net: Adam at 1e-3 with weight decay 1e-4, the rate
stepped down every 10 epochs, batches of 8. The students' is AdamW with polynomial decay, as real-time networks are
usually trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from edgeseg import semi
from edgeseg.augment import Augment
from edgeseg.batches import Answers, Batches
from edgeseg.batches import Footage as Unlabelled
from edgeseg.compress import qat
from edgeseg.data import Dataset
from edgeseg.objectives import Loss, MakeMethod, Mutual, Supervise, Weight
from edgeseg.taps import Where
from edgeseg.train import Options, Recipe, adam, adamw, poly, precision_of, step_lr

Losses = Sequence[tuple[Weight, Loss]]
Places = Sequence[tuple[Where, Where]]
RGB = tuple[float, float, float]

# A pixel's own value is its quantized value: (p / 255 - 128 / 255) / (128 / 255) == (p - 128) / 128, s8 zero-point 0.
MEAN = (128 / 255, 128 / 255, 128 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)
EPOCHS = 100

BATCH = 8
CALIBRATION_BATCHES = 4


class Footage(NamedTuple):
    """Frames without labels, and how to learn from them."""

    dataset: Dataset
    methods: Sequence[tuple[Weight, MakeMethod]]


def on_labels(
    network: Callable[[], nn.Module], dataset: Dataset, options: Options, losses: Losses, footage: Footage | None = None
) -> Recipe:
    """A teacher, or any network, on labels alone, or on frames without labels too."""
    steps, per_epoch = length(dataset, options)
    return Recipe(
        student=network,
        objective=partial(Supervise, losses=losses, **also(footage)),
        batches=views(dataset, options, None, footage),
        steps=steps,
        lr=options.lr or 1e-3,
        optimizer=partial(adam, weight_decay=1e-4),
        # Halved every 10 epochs; in a training of less than 60, at every sixth of it.
        schedule=partial(step_lr, every=max(1, min(10 * per_epoch, steps // 6)), gamma=0.5),
        precision=precision_of(options.precision, options.device),
        freeze_backbone=options.freeze_backbone,
        seed=options.seed,
    )


def student(
    network: Callable[[], nn.Module],
    dataset: Dataset,
    options: Options,
    losses: Losses,
    teacher: nn.Module | None,
    taps: Places = (),
    partner: Callable[[], nn.Module] | None = None,
    answers: Answers | None = None,
    footage: Footage | None = None,
) -> Recipe:
    """A student, with or without a teacher: the two differ in their losses and nothing else. With a ``partner`` both
    learn from the start, each from the other. Where ``answers`` come with the batches, ``teacher`` is not asked."""
    steps, _ = length(dataset, options)
    return Recipe(
        student=network,
        objective=beside(losses, partner, taps, views(dataset, options))
        if partner is not None
        else under(losses, teacher, taps, views(dataset, options), footage),
        batches=views(dataset, options, answers, footage),
        steps=steps,
        lr=options.lr or 2e-3,
        optimizer=partial(adamw, weight_decay=1e-2),
        schedule=partial(poly, power=0.9, warmup=0.02),
        precision=precision_of(options.precision, options.device),
        freeze_backbone=options.freeze_backbone,
        seed=options.seed,
    )


def quantized(
    network: Callable[[], nn.Module],
    dataset: Dataset,
    options: Options,
    losses: Losses,
    teacher: nn.Module | None,
    taps: Places = (),
    *,
    answers: Answers | None = None,
    footage: Footage | None = None,
    weight_bits: int,
    input_scale: float | None,
) -> Recipe:
    """A trained student under fake quantization, a tenth as long and a tenth as fast; batch norm frozen for the last
    half. Always in float32: rounding in bf16 would not be the rounding of the engine."""
    steps, _ = length(dataset, options, epochs=EPOCHS // 10)
    return Recipe(
        student=network,
        objective=under(losses, teacher, taps, views(dataset, options), footage),
        batches=views(dataset, options, answers, footage),
        steps=steps,
        lr=options.lr or 2e-4,
        optimizer=partial(adamw, weight_decay=1e-2),
        schedule=partial(poly, power=0.9, warmup=0.02),
        transform=partial(with_fake_quantization, weight_bits=weight_bits, input_scale=input_scale),
        freeze_bn=0.5,
        seed=options.seed,
    )


def under(
    losses: Losses,
    teacher: nn.Module | None,
    taps: Places,
    views: Callable[[], Batches],
    footage: Footage | None = None,
) -> Callable[[nn.Module], nn.Module]:
    """The objective: these losses, with or without a teacher, and features paired as ``taps`` says; and what is learned
    from footage."""
    images = partial(first_images, views)
    return partial(Supervise, losses=losses, teacher=teacher, taps=taps, images=images, **also(footage))


def also(footage: Footage | None) -> dict[str, object]:
    """What footage adds to an objective; nothing, so that other recipes describe themselves as they did."""
    return {} if footage is None else {"semi": footage.methods}


def beside(
    losses: Losses, partner: Callable[[], nn.Module], taps: Places, views: Callable[[], Batches]
) -> Callable[[nn.Module], nn.Module]:
    """The objective of two networks that learn from each other."""
    return partial(Mutual, losses=losses, partner=partner, taps=taps, images=partial(first_images, views))


def first_images(views: Callable[[], Batches], count: int) -> Iterator[Tensor]:
    """Of so many batches of the training."""
    batches = views()
    return (batches.batch(i).images for i in range(count))


def with_fake_quantization(
    student: nn.Module, batches: Batches, *, weight_bits: int, input_scale: float | None
) -> nn.Module:
    """Prepare for QAT, and calibrate on the first batches."""
    graph = qat.prepare(student, weight_bits=weight_bits, input_scale=input_scale)
    qat.calibrate(graph, (batches.batch(i).images for i in range(CALIBRATION_BATCHES)))
    return graph


def batches(
    dataset: Dataset,
    *,
    crop_hw: tuple[int, int],
    batch_size: int,
    seed: int,
    mean: RGB = MEAN,
    std: RGB = STD,
    answers: Answers | None = None,
    footage: Dataset | None = None,
    strength: float = 1.0,
    looks: int = 1,
) -> Batches:
    """Of labelled frames in changed colours, and of footage in its own, and ``looks`` times in others beside: what is
    to be said of it is said of it as it is."""
    augment = Augment(crop_hw=crop_hw, fill=(128, 128, 128))
    beside = None
    if footage is not None:
        plain = replace(augment, color=0.0)
        beside = Unlabelled(footage, plain, batch_size, seed, mean, std, strength=strength, looks=looks)
    return Batches(dataset, augment, batch_size, seed, mean, std, answers=answers, footage=beside)


def views(
    dataset: Dataset, options: Options, answers: Answers | None = None, footage: Footage | None = None
) -> Callable[[], Batches]:
    """The batches that the options ask for; by default whole frames, 8 at a time, and as many of footage."""
    size = batch_size(dataset, options)
    crop = options.crop or whole(dataset)
    made = partial(batches, dataset, crop_hw=crop, batch_size=size, seed=options.seed, mean=MEAN, std=STD)
    # What is not there is not said, so that other recipes describe themselves as they did.
    made = partial(made, answers=answers) if answers is not None else made
    if footage is None:
        return made
    looks = max(semi.looks_of(method) for _, method in footage.methods)
    return partial(made, footage=footage.dataset, strength=options.strength, looks=looks)


def batch_size(dataset: Dataset, options: Options) -> int:
    return options.batch_size or min(BATCH, len(dataset))


def whole(dataset: Dataset) -> tuple[int, int]:
    """The default crop: a frame, in multiples of 32, at most 512 x 1024."""
    h, w = dataset[0].image.shape[:2]
    return min(512, max(32, h // 32 * 32)), min(1024, max(32, w // 32 * 32))


def length(dataset: Dataset, options: Options, *, epochs: int = EPOCHS) -> tuple[int, int]:
    """Steps in all, and in an epoch."""
    per_epoch = math.ceil(len(dataset.epoch) / batch_size(dataset, options))
    return options.steps or per_epoch * (options.epochs or epochs), per_epoch
