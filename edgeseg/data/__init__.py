"""Where frames and labels come from. One file per dataset format; the folder is the registry.

A format is one function under the name one types: ``camvid(path, split, *, skip_bad, labels=True) -> Dataset``. Writing
``data/kitti.py`` with ``kitti`` in its ``__all__`` is all it takes for ``--data kitti:PATH`` to work. Formats that keep
frames in files describe them as :class:`Frame` and hand them to :func:`from_files`, which checks and reads them.
"""

from __future__ import annotations

import colorsys
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeseg import catalogue, upright
from edgeseg.errors import DataError

IGNORE = 255
LISTS = ("train", "train-without")  # options of every spec
CACHE_BYTES = 1 << 30
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp"})
IMAGE_MODES = frozenset({"RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr", "RGBX"})  # 8 bits per channel
MASK_MODES = frozenset({"L", "P", "1", "I;16", "I;16B", "I"})
REMEDY = "replace it, or leave it out with --skip-bad"

Color = tuple[int, int, int]
A = TypeVar("A")
B = TypeVar("B")


class Sample(NamedTuple):
    """One frame. A dataset hands out read-only arrays: they may be shared with its cache."""

    name: str
    image: np.ndarray  # (H, W, 3) uint8, RGB
    mask: np.ndarray | None  # (H, W) uint8: class ids 0..K-1, IGNORE where unknown; None: a frame without labels


@dataclass(eq=False)
class Dataset:
    """A sequence of samples, read when asked for and kept in memory up to ``cache_bytes``.

    What fits stays and nothing is evicted: under shuffled epochs every frame is as likely as any other to be the next,
    so making room for a new one would gain nothing.
    """

    spec: str  # what open_dataset was given, "camvid:/data/camvid"
    split: str
    classes: tuple[str, ...]  # empty for frames without labels
    colors: tuple[Color, ...]  # RGB, one per class
    names: Sequence[str]
    read: Callable[[int], Sample]  # decodes sample i; raises DataError naming the file
    skipped: list[str] = field(default_factory=list)  # what skip_bad left out, and why
    also: tuple[str, ...] = ()  # specs of others that were added to it
    again: tuple[int, ...] = ()  # indices of what an epoch shows once more, each time that one is here
    files: Sequence[Path] = ()  # of the images, one per name, where that is what they are
    cache_bytes: int = CACHE_BYTES
    _cache: dict[int, Sample] = field(default_factory=dict, init=False, repr=False)
    _cached_bytes: int = field(default=0, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def epoch(self) -> tuple[int, ...]:
        """Indices of all that an epoch shows."""
        return (*range(len(self)), *self.again)

    def __getitem__(self, i: int) -> Sample:
        i = range(len(self))[i]  # counts from the end when negative; IndexError beyond it
        if i in self._cache:
            return self._cache[i]
        sample = self.read(i)
        arrays = [a for a in (sample.image, sample.mask) if a is not None]
        for array in arrays:
            array.flags.writeable = False
        size = sum(a.nbytes for a in arrays)
        if self._cached_bytes + size <= self.cache_bytes:  # no lock: two threads may at worst keep one frame too many
            self._cache[i] = sample
            self._cached_bytes += size
        return sample

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: everything but the frames held here."""
        return {**self.__dict__, "_cache": {}, "_cached_bytes": 0}


def names() -> list[str]:
    return list(_formats())


def open_dataset(spec: str, split: str, *, skip_bad: bool = False, labels: bool = True) -> Dataset:
    """Open ``KIND:WHERE``, such as ``camvid:/data/camvid`` or ``synthetic:street?frames=200``.

    ``split`` is "train", "val" or "test", or several, "train+val". Every file's header is read here, its pixels when
    the sample is asked for; with ``skip_bad`` every file is decoded here, and what is at fault is left out and listed
    in ``.skipped``. ``KIND:WHERE?train=FILE`` trains on the frames that a file names, one a line, and
    ``?train-without=FILE`` on the others; other splits stay as they are. Without ``labels`` no mask is opened: every
    sample's is None, and the classes are those that the format says without looking at masks.
    Raises DataError naming the file and the remedy.
    """
    kind, _, where = spec.partition(":")
    if not where:
        raise DataError(f"expected a dataset as KIND:PATH, got {spec!r}: KIND is one of {', '.join(names())}")
    opener: Callable[..., Dataset] = catalogue.pick(_formats(), kind, "dataset format", DataError)
    where, lists = _without_lists(where)
    parts = []
    for one in split.split("+"):
        part = _opened(opener, where, one, skip_bad, labels)
        for listing, named in lists if one == "train" else ():
            part = chosen(part, listing, named)
        parts.append(part)
    found = parts[0] if len(parts) == 1 else joined(parts, split)
    return replace(found, spec=spec) if lists else found


def _without_lists(where: str) -> tuple[str, list[tuple[Path, bool]]]:
    """What comes after the kind without lists of frames; each list, and whether it names those that are taken."""
    base, _, query = where.partition("?")
    options = [item.partition("=") for item in query.split("&") if item]
    lists = [(Path(value), key == "train") for key, _, value in options if key in LISTS]
    rest = "&".join("".join(option) for option in options if option[0] not in LISTS)
    return (f"{base}?{rest}" if rest else base), lists


def chosen(dataset: Dataset, listing: Path, named: bool) -> Dataset:
    """The frames that a file names, or those that it does not. Raises DataError for a name that no frame has."""
    if not listing.is_file():
        raise DataError(f"{listing} is missing: write it, one name of a frame a line")
    wanted = {line.strip() for line in listing.read_text().splitlines() if line.strip()}
    if strangers := sorted(wanted - set(dataset.names)):
        raise DataError(
            f"{listing} names {strangers[0]!r}, which is no frame of {dataset.spec}, split {dataset.split!r}; "
            f"the first is {dataset.names[0]!r}"
        )
    indices = tuple(i for i, name in enumerate(dataset.names) if (name in wanted) == named)
    if not indices:
        raise DataError(f"{listing} leaves no frame of {dataset.spec} in split {dataset.split!r}")
    files = tuple(dataset.files[i] for i in indices) if dataset.files else ()
    return replace(
        dataset, names=tuple(dataset.names[i] for i in indices), read=_Chosen(dataset.read, indices), files=files
    )


@dataclass(frozen=True, eq=False)
class _Chosen:
    read: Callable[[int], Sample]
    indices: tuple[int, ...]

    def __call__(self, i: int) -> Sample:
        return self.read(self.indices[i])


def _opened(opener: Callable[..., Dataset], where: str, split: str, skip_bad: bool, labels: bool) -> Dataset:
    if labels:
        return opener(where, split, skip_bad=skip_bad)
    if "labels" in inspect.signature(opener).parameters:
        return opener(where, split, skip_bad=skip_bad, labels=False)
    found = opener(where, split, skip_bad=skip_bad)  # masks that no file holds
    return replace(found, read=_Unlabelled(found.read))


def joined(parts: Sequence[Dataset], split: str) -> Dataset:
    """Several splits of one dataset as one. Raises DataError for a frame that is in two of them."""
    names = [name for part in parts for name in part.names]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise DataError(f"{parts[0].spec} has {min(twice)!r} in more than one of {split}: mend its lists of frames")
    return Dataset(
        spec=parts[0].spec,
        split=split,
        classes=parts[0].classes,
        colors=parts[0].colors,
        names=tuple(names),
        read=_Joined(tuple(parts)),
        skipped=[reason for part in parts for reason in part.skipped],
        files=tuple(file for part in parts for file in part.files) if all(part.files for part in parts) else (),
    )


def with_more(dataset: Dataset, others: Sequence[Dataset], *, evenly: bool = False) -> Dataset:
    """A dataset and others of the same classes, such as pseudo-labels, as one; val stays that of the first.

    ``evenly``: where the others have more frames, an epoch shows those of the first so often that there are as many.
    Raises DataError where the classes differ.
    """
    for other in others:
        if other.classes != dataset.classes:
            raise DataError(
                f"{other.spec} has the classes {', '.join(other.classes)}; {dataset.spec} has "
                f"{', '.join(dataset.classes)}: both must be the same, in the same order"
            )
    renamed = [replace(o, names=tuple(f"{o.spec}/{name}" for name in o.names)) for o in others]
    lacking = sum(map(len, others)) - len(dataset) if evenly else 0
    again = tuple(i % len(dataset) for i in range(lacking))
    return replace(joined([dataset, *renamed], dataset.split), also=tuple(o.spec for o in others), again=again)


@dataclass(frozen=True, eq=False)
class _Unlabelled:
    read: Callable[[int], Sample]

    def __call__(self, i: int) -> Sample:
        return self.read(i)._replace(mask=None)


@dataclass(frozen=True, eq=False)
class _Joined:
    parts: tuple[Dataset, ...]

    def __call__(self, i: int) -> Sample:
        for part in self.parts:
            if i < len(part):
                return part.read(i)
            i -= len(part)
        raise IndexError(i)


def _formats() -> dict[str, Callable[..., Any]]:
    return catalogue.entries(sys.modules[__name__])


class Frame(NamedTuple):
    """Where the image and the mask of one sample lie."""

    name: str
    image: Path
    mask: Path | None


def from_files(
    spec: str,
    split: str,
    frames: Sequence[Frame],
    *,
    classes: Sequence[str] = (),
    colors: Sequence[Color] = (),
    ids: Mapping[int, int] | None = None,
    skip_bad: bool = False,
    labels: bool = True,
) -> Dataset:
    """A dataset over image and mask files; without ``labels`` over the images alone.

    ``ids`` maps the numbers in the masks to class ids or IGNORE; without it they are class ids already. 255 is IGNORE
    unless mapped. Raises DataError at the first bad file, or with ``skip_bad`` when no good one is left.
    """
    frames = frames if labels else [frame._replace(mask=None) for frame in frames]
    reader = _Reader(tuple(frames), {i: i for i in range(len(classes))} if ids is None else ids)
    problems = parallel(_problem, [(reader.decode if skip_bad else reader.check, frame) for frame in frames])
    skipped = [error for error in problems if error]
    if skipped and not skip_bad:
        raise skipped[0]
    good = tuple(frame for frame, error in zip(frames, problems, strict=True) if not error)
    if not good:
        first = f"; the first is at fault thus: {skipped[0]}" if skipped else ""
        raise DataError(f"{spec}: none of {len(frames)} frames in split {split!r} is usable: check the path{first}")
    return Dataset(
        spec=spec,
        split=split,
        classes=tuple(classes),
        colors=tuple(colors),
        names=tuple(frame.name for frame in good),
        read=_Reader(good, reader.ids),
        skipped=[str(error) for error in skipped],
        files=tuple(frame.image for frame in good),
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    frames: tuple[Frame, ...]
    ids: Mapping[int, int]

    def __call__(self, i: int) -> Sample:
        return self.decode(self.frames[i])

    def check(self, frame: Frame) -> None:
        """What the headers tell: that both files are there, are images of a usable kind, and agree in size."""
        with open_image(frame.image, IMAGE_MODES) as image:
            size = upright.size(image)
            turned = " once it is turned as its EXIF says" if upright.orientation(image) > 1 else ""
        if frame.mask is not None:
            with open_image(frame.mask, MASK_MODES) as mask:
                if mask.size != size:
                    raise DataError(
                        f"{frame.mask} is {mask.width}x{mask.height}, but its image {frame.image} is "
                        f"{size[0]}x{size[1]}{turned}: resize the mask with nearest-neighbour, or pair it with the "
                        "right image"
                    )

    def decode(self, frame: Frame) -> Sample:
        self.check(frame)
        return Sample(frame.name, read_image(frame.image), None if frame.mask is None else self._labels(frame.mask))

    def _labels(self, path: Path) -> np.ndarray:
        raw = read_ids(path)
        table = np.full(256, -1, np.int16)
        table[IGNORE] = IGNORE
        table[list(self.ids)] = list(self.ids.values())
        labels: np.ndarray = table[raw]
        if labels.min() < 0:
            unknown = np.unique(raw[labels < 0]).tolist()
            known = sorted({*self.ids, IGNORE})
            raise DataError(
                f"{path} holds the ids {unknown}, which are no class here (expected some of {known}): "
                "mend the mask, or give the ids a class or list them as ignored"
            )
        return labels.astype(np.uint8)


def open_image(path: Path, modes: frozenset[str]) -> Image.Image:
    """Read an image file's header; DataError where it is missing, is no image, or is of a kind not in ``modes``."""
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: restore it, or leave the frame out of the split") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image in any known format: {REMEDY}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise DataError(f"{path} cannot be read ({e}): {REMEDY}") from e
    if image.mode not in modes:
        image.close()
        want = "class ids, not colours, as a grey or palette PNG" if modes is MASK_MODES else "8 bits per channel"
        raise DataError(f"{path} has pixels of kind {image.mode!r}, expected {want}: convert it")
    return image


def read_image(path: Path) -> np.ndarray:
    """Pixels uint8 (H, W, 3), RGB, upright; DataError where the file is missing or bad."""
    with open_image(path, IMAGE_MODES) as image, _damage_told(path):
        return upright.still(image)


def read_ids(path: Path) -> np.ndarray:
    """The numbers a mask file holds, uint8 (H, W): grey values, or palette indices."""
    with open_image(path, MASK_MODES) as image, _damage_told(path):
        image.load()
        raw = np.asarray(image)
    if raw.dtype.itemsize > 1 and raw.size and not 0 <= raw.min() <= raw.max() <= 255:
        raise DataError(f"{path} holds ids from {raw.min()} to {raw.max()}, expected 0 to 255: renumber its classes")
    return np.asarray(raw, np.uint8)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError) as e:
        raise DataError(f"{path} is damaged ({e}): {REMEDY}") from e


def _problem(task: tuple[Callable[[Frame], object], Frame]) -> DataError | None:
    look, frame = task
    try:
        look(frame)
    except DataError as e:
        return e
    return None


def parallel(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """``map`` over threads: reading and decoding files leaves the interpreter free."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def list_images(folder: Path) -> list[Path]:
    """Every image file below ``folder``, hidden ones left out, sorted; DataError where the folder is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: check the path after the colon")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def palette(count: int) -> tuple[Color, ...]:
    """Colours for classes that come without: hues a golden angle apart, so that neighbours in number differ."""
    colors = []
    for i in range(count):
        rgb = colorsys.hsv_to_rgb(i * 0.61803398875 % 1, 0.85 if i % 2 else 0.6, 0.9 if i % 3 else 0.65)
        red, green, blue = (round(255 * v) for v in rgb)
        colors.append((red, green, blue))
    return tuple(colors)
