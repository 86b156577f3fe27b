"""Training batches as a pure function of (seed, step).

Because batch number s depends on nothing but the seed and s, a resumed run sees what the unbroken one would have seen,
and it does not matter who makes the batch: this thread, a prefetching one, or worker processes.
"""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as loading

from edgeseg import processes
from edgeseg.augment import Augment
from edgeseg.data import IGNORE, Dataset, Sample
from edgeseg.errors import DataError
from edgeseg.outputs import Batch, Outputs, Unlabelled
from edgeseg.strong import strong

PREFETCH = 3  # batches made ahead of the one in use
COVERED = 0.5  # of a cell, at least, must lie on the frame for a teacher's answer to count

Answers = Callable[[int, Sample], tuple[np.ndarray, ...]]  # probabilities, level and features: edgeseg.cache


class Batches:
    """Augmented batches of a dataset, without end.

    The stream of samples is one shuffled epoch after another, cut into batches of ``batch_size`` for each of ``world``
    ranks: no sample is dropped, each is seen once per epoch, or as often as the dataset says, in another view each
    time, and an epoch may end inside a batch. Frames without labels
    get labels that are IGNORE everywhere. With ``answers`` a batch has what the teacher said of these very views, with
    ``footage`` it also has views of frames without labels.
    """

    def __init__(
        self,
        dataset: Dataset,
        augment: Augment,
        batch_size: int,
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        answers: Answers | None = None,
        footage: Footage | None = None,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise DataError(f"seed must not be negative, got {seed}")
        if not 0 <= rank < world:
            raise DataError(f"rank must lie in 0 <= rank < world, got rank {rank} of {world}")
        self.dataset, self.augment, self.batch_size, self.seed = dataset, augment, batch_size, seed
        self.epoch = dataset.epoch
        self.mean, self.std = tuple(mean), tuple(std)
        self.rank, self.world, self.workers = rank, world, workers
        self.answers, self.footage = answers, footage

    def shared(self) -> Batches:
        """The part of each batch that falls to this process. Raises UserError where they cannot be shared evenly."""
        own = copy.copy(self)
        own.batch_size = processes.share_of(self.batch_size)
        own.rank, own.world = processes.rank(), processes.count()
        own.footage = self.footage and self.footage.shared()
        return own

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every sample has been seen: the last of them may begin the next epoch."""
        return -(-len(self.epoch) // (self.batch_size * self.world))

    def batch(self, step: int) -> Batch:
        """Batch ``step`` of this rank: images float32 (N, 3, H, W) in channels-last order, labels int64 (N, H, W)."""
        n = self.batch_size
        first = (step * self.world + self.rank) * n
        views = [self._view(position) for position in range(first, first + n)]
        images, masks, answers = (list(part) for part in zip(*views, strict=True))
        labels = torch.from_numpy(np.stack(masks).astype(np.int64))
        teacher = answered([np.stack(maps) for maps in zip(*answers, strict=True)]) if self.answers else None
        unlabelled = self.footage.views(step) if self.footage else None
        return Batch(normalize(np.stack(images), self.mean, self.std), labels, teacher, unlabelled)

    def iterate(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Batches ``start`` up to ``stop`` (None: without end), made ahead by a thread or by ``workers`` processes."""
        steps = itertools.count(start) if stop is None else range(start, stop)
        return self._from_processes(steps) if self.workers else self._from_thread(steps)

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def _view(self, position: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
        """Sample number ``position`` of the endless stream, augmented: image (H, W, 3) and mask (H, W), uint8, and the
        teacher's answers."""
        sample, rng, index = self._drawn(position)
        soft = self.answers(index, sample) if self.answers else ()
        image, mask, seen = self.augment(sample, rng, soft)
        return image, np.full(image.shape[:2], IGNORE, np.uint8) if mask is None else mask, seen

    def _drawn(self, position: int) -> tuple[Sample, np.random.Generator, int]:
        """Sample number ``position`` of the endless stream, what decides its view, and its index in the dataset."""
        epoch, i = divmod(position, len(self.epoch))
        drawn = int(_shuffled(self.seed, epoch, len(self.epoch))[i])
        index = self.epoch[drawn]
        return self.dataset[index], np.random.default_rng((self.seed, epoch, drawn)), index

    def _from_thread(self, steps: Iterable[int]) -> Iterator[Batch]:
        # Pillow and numpy let go of the interpreter while they work, so one thread keeps up with training.
        pool, ahead = ThreadPoolExecutor(1, "batches"), deque[Future[Batch]]()
        try:
            for step in steps:
                ahead.append(pool.submit(self.batch, step))
                if len(ahead) > PREFETCH:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _from_processes(self, steps: Iterable[int]) -> Iterator[Batch]:
        # One item of the loader is a whole batch, and the loader returns items in the order of its sampler.
        loader: loading.DataLoader[Batch | DataError] = loading.DataLoader(
            _Steps(self), batch_size=None, sampler=steps, num_workers=self.workers, worker_init_fn=_share_cache
        )
        for item in loader:
            if isinstance(item, DataError):
                raise item
            yield item


class Footage(Batches):
    """Views of frames without labels: a stream of its own beside that of the labelled ones. Labels, where the dataset
    has any, are not looked at. Of each view there are so many more ``looks``, changed by
    :func:`edgeseg.strong.strong` with this ``strength``; the first ones are the same, however many there are."""

    def __init__(self, *args: Any, strength: float = 1.0, looks: int = 1, **how: Any) -> None:
        super().__init__(*args, **how)
        self.strength, self.looks = strength, looks

    def shared(self) -> Footage:
        own = super().shared()
        assert isinstance(own, Footage)
        return own

    def views(self, step: int) -> Unlabelled:
        """Those of batch ``step`` of this rank."""
        n = self.batch_size
        first = (step * self.world + self.rank) * n
        looks: list[list[np.ndarray]] = [[] for _ in range(1 + self.looks)]  # the first is the view as it is
        inside = []
        for position in range(first, first + n):
            sample, rng, _ = self._drawn(position)
            image, known, _ = self.augment(sample._replace(mask=np.zeros(sample.image.shape[:2], np.uint8)), rng)
            looks[0].append(image)
            for look in looks[1:]:
                look.append(strong(image, rng, self.strength))
            inside.append(known != IGNORE)
        weak, *changed = (normalize(np.stack(look), self.mean, self.std) for look in looks)
        strongly = torch.stack(changed) if changed else weak.new_empty((0, *weak.shape))
        return Unlabelled(weak, strongly, torch.from_numpy(np.stack(inside)))


class _Steps(loading.Dataset[Batch | DataError]):
    """Batches for torch's loader. A DataError travels as a value: raised, it would arrive wrapped in a traceback."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | DataError:
        try:
            return self.batches.batch(step)
        except DataError as e:
            return e


def _share_cache(worker: int) -> None:
    """In a worker process: all of them together hold no more frames than one process would."""
    info: Any = loading.get_worker_info()
    info.dataset.batches.dataset.cache_bytes //= info.num_workers


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def answered(maps: Sequence[np.ndarray]) -> Outputs:
    """Probabilities (N, h, w, K), level (N, h, w, 1) and features (N, h, w, C), 0 beyond the frame, as a teacher's
    outputs in channels-last order: logits that are NaN where the frame covers too little of a cell."""
    probabilities, level, *features = maps
    covered = probabilities.sum(-1, keepdims=True)  # what of a cell is frame
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.log(probabilities / covered) + level / covered
    logits[covered[..., 0] < COVERED] = np.nan
    return Outputs(*_channels_last([logits]), tuple(_channels_last(features)))


def _channels_last(maps: Iterable[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(one).permute(0, 3, 1, 2) for one in maps]


def normalize(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W), ``(x / 255 - mean) / std``, in channels-last memory order.

    In numpy and over whole rows: a torch operation here would start a second pool of threads beside training's, and
    arithmetic over an innermost axis of length 3 is slow.
    """
    n, h, w, _ = pixels.shape
    scale = np.tile(1 / (255 * np.asarray(std)), w).astype(np.float32)  # (W * 3)
    shift = np.tile(np.asarray(mean) / np.asarray(std), w).astype(np.float32)  # (W * 3)
    rows = pixels.reshape(n, h, w * 3) * scale  # (N, H, W * 3)
    rows -= shift
    return torch.from_numpy(rows.reshape(n, h, w, 3)).permute(0, 3, 1, 2)
