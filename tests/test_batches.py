"""Batches: the same whoever makes them, every sample once an epoch, errors as they were raised."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import numpy as np
import pytest
import torch

from edgeseg.augment import Augment
from edgeseg.batches import Batches, normalize
from edgeseg.data import IGNORE, Dataset, Sample, with_more
from edgeseg.errors import DataError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
PLAIN = Augment(crop_hw=(4, 4), scale=(1, 1), flip=False, color=0)


class Numbered:
    """Sample i is i everywhere, in the image and in the mask."""

    def __init__(self, labels: bool = True, bad: int | None = None) -> None:
        self.labels, self.bad = labels, bad

    def __call__(self, i: int) -> Sample:
        if i == self.bad:
            raise DataError(f"/data/{i}.png is damaged: replace it")
        mask = np.full((6, 6), i, np.uint8)
        return Sample(str(i), np.full((6, 6, 3), i, np.uint8), mask if self.labels else None)


def numbered(count: int, augment: Augment = PLAIN, size: int = 3, **how) -> Batches:
    reader = Numbered(how.pop("labels", True), how.pop("bad", None))
    data = Dataset("x:y", "train", (), (), [str(i) for i in range(count)], reader)
    return Batches(data, augment, size, how.pop("seed", 0), MEAN, STD, **how)


def seen(batches: Batches, steps: range) -> list[int]:
    return [int(label) for step in steps for label in batches.batch(step).labels[:, 0, 0]]


def equal(a: list, b: list) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for p, q in zip(a, b) for x, y in zip(p[:2], q[:2]))


def test_shapes_and_types():
    images, labels, *none = numbered(5).batch(0)
    assert none == [None, None]
    assert images.shape == (3, 3, 4, 4) and images.dtype == torch.float32
    assert labels.shape == (3, 4, 4) and labels.dtype == torch.int64


def test_normalize_by_hand():
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    pixels[0, 1, 0] = (255, 102, 51)
    images = normalize(pixels, MEAN, STD)
    expected = [(1 - 0.5) / 0.2, (0.4 - 0.4) / 0.25, (0.2 - 0.3) / 0.5]
    assert images[0, :, 1, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert images[0, :, 0, 0].tolist() == pytest.approx([-2.5, -1.6, -0.6], abs=1e-6)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_every_sample_once_an_epoch_in_an_order_of_its_own():
    batches = numbered(7)  # epochs end inside batches: 7 steps of 3 are 3 epochs
    stream = seen(batches, range(7))
    epochs = [stream[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert batches.steps_per_epoch == 3
    assert numbered(6).steps_per_epoch == 2


def test_few_frames_are_shown_as_often_as_the_many_beside_them():
    few, many = (Dataset("x:y", "train", (), (), names, Numbered()) for names in (["a", "b", "c"], list("defghijk")))
    both = with_more(few, [many], evenly=True)
    batches = Batches(both, PLAIN, 4, 0, MEAN, STD)
    assert batches.steps_per_epoch == 16 // 4
    for epoch in range(3):
        shown = range(16 * epoch, 16 * (epoch + 1))
        frames = Counter(batches._drawn(p)[2] for p in shown)
        assert sum(frames[i] for i in range(3)) == 8 and max(frames.values()) == 3
        assert all(frames[i] == 1 for i in range(3, 11)), "all of them, once"
        views = {batches._drawn(p)[1].bit_generator.state["state"]["state"] for p in shown}
        assert len(views) == 16, "a frame that is shown again is another view"
    assert with_more(many, [few], evenly=True).again == with_more(few, [many]).again == ()


def test_ranks_share_an_epoch():
    ranks = [numbered(12, rank=rank, world=2) for rank in range(2)]
    assert sorted(seen(ranks[0], range(2)) + seen(ranks[1], range(2))) == list(range(12))
    assert ranks[0].steps_per_epoch == 2
    whole = numbered(12, size=6)
    assert seen(ranks[0], range(1)) + seen(ranks[1], range(1)) == seen(whole, range(1))


def test_fewer_samples_than_a_batch_holds():
    assert sorted(seen(numbered(2, size=6), range(1))) == [0, 0, 0, 1, 1, 1]
    assert numbered(2, size=6).steps_per_epoch == 1


def test_the_seed_decides():
    assert seen(numbered(40), range(13)) == seen(numbered(40), range(13)) != seen(numbered(40, seed=1), range(13))


def test_a_sample_is_seen_otherwise_each_time():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 40, 3), np.uint8)
    data = Dataset("x:y", "train", (), (), ["a"], lambda i: Sample("a", frame, None))
    batches = Batches(data, Augment(crop_hw=(16, 16)), 4, 0, MEAN, STD)
    images = [*batches.batch(0).images, *batches.batch(1).images]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(images, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_whoever_makes_them_and_wherever_one_starts(workers):
    random = Augment(crop_hw=(5, 7))
    expected = [numbered(7, random).batch(step) for step in range(9)]
    batches = numbered(7, random, workers=workers)
    assert equal(list(batches.iterate(0, 9)), expected)
    assert equal(list(batches.iterate(4, 9)), expected[4:])
    assert equal(list(itertools.islice(batches, 3)), expected[:3])
    assert list(batches.iterate(5, 5)) == []


def test_frames_without_labels_are_ignored_everywhere():
    assert (numbered(3, labels=False).batch(0).labels == IGNORE).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_frame_is_named_by_the_iteration_that_needs_it(workers):
    batches = numbered(6, bad=seen(numbered(6), range(2))[4], workers=workers)  # needed by the second batch
    stream = batches.iterate(0, 2)
    next(stream)
    with pytest.raises(DataError, match=r"^/data/\d\.png is damaged: replace it$"):
        next(stream)


def test_stopping_early_stops_the_thread():
    stream = numbered(6).iterate()
    next(stream)
    assert any(t.name.startswith("batches") for t in threading.enumerate())
    stream.close()
    assert not any(t.name.startswith("batches") for t in threading.enumerate())


@pytest.mark.parametrize("how", [{"size": 0}, {"seed": -1}, {"rank": 2, "world": 2}, {"rank": -1}])
def test_impossible_settings_are_named(how):
    with pytest.raises(DataError, match="batch_size" if "size" in how else next(iter(how))):
        numbered(3, **how)
