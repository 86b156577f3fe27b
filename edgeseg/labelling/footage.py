"""Frames to be labelled, out of a dataset or out of videos, as image files in a folder.

What is labelled is always a file: a video's frames are written as JPEGs first and read back from there. Seeking in a
video finds the same frame again only where its container has an index and its pictures do not lean on later ones, and
another decoder may round differently; a file is what the teacher saw and what a student will see.

A *roll* is what is looked through from its beginning by one process: a video, or all frames of a dataset. What became
of it is in its :class:`Listing`, which is written when it is done.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from edgeseg import upright
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import BackendMissing, DataError, UserError
from edgeseg.labelling import beside, in_order
from edgeseg.labelling.sampling import Sampler
from edgeseg.predict import VIDEOS

LINKED = {".png", ".jpg", ".jpeg"}
JPEG_QUALITY = 95
EVERY = 1.0  # seconds
Seconds = Callable[[float, float], None]  # how many of a roll are done, of how many


@dataclass
class Listing:
    """What was found on a roll. Files are below ``images/``."""

    kept: list[dict[str, Any]] = field(default_factory=list)  # name, file and, of a video, time in seconds
    left_out: list[dict[str, str]] = field(default_factory=list)  # name and why
    unchanged: int = 0  # frames of the same scene, where each of a video is looked at; too many to name
    fault: str = ""  # why the rest of it could not be read

    @classmethod
    def read(cls, file: Path) -> Listing | None:
        try:
            return cls(**json.loads(file.read_text()))
        except FileNotFoundError:
            return None

    def text(self) -> str:
        return json.dumps(asdict(self)) + "\n"


class Wanted(NamedTuple):
    """Which frames: seconds from one to the next, how much of a scene changes, how many bits of a hash."""

    every: float | None
    scenes: float | None
    distinct: int


class Stills:
    """The frames of a dataset, its labels never looked at: one roll, whose frames processes share."""

    def __init__(self, dataset: Dataset, wanted: Wanted) -> None:
        if wanted.every is not None:
            raise UserError(f"{dataset.spec} has no times, only frames: leave out --every, or give video:PATH")
        self.dataset, self.wanted = dataset, wanted
        self.rolls = ["frames"]
        self.names = as_named_in_folder(dataset.names)
        self.signature = list(dataset.names)

    def look_through(self, roll: str, images: Path, each: Seconds) -> Listing:
        """Every frame or, where near-duplicates or scenes count, those to be taken. Writes nothing."""
        sampler, found, total = Sampler(self.wanted.scenes, self.wanted.distinct), Listing(), len(self.dataset)
        samples = (
            in_order(self.dataset.__getitem__, range(total), 4) if sampler.looks else itertools.repeat(None, total)
        )
        for i, (name, sample) in enumerate(zip(self.names, samples)):
            why = sampler.why_not(name, sample.image) if sample else None
            if why:
                found.left_out.append({"name": name, "why": why})
            else:
                suffix = self.dataset.files[i].suffix if self.dataset.files else ""
                file = f"{name}{suffix if suffix.lower() in LINKED else '.png'}"
                found.kept.append({"name": name, "file": file, "index": i})
            each(i + 1, total)
        return found

    def share(self, listing: Listing, number: int, of: int) -> list[dict[str, Any]]:
        return listing.kept[number::of]

    def shared(self, number: int, of: int) -> list[str]:
        return self.rolls

    def place(self, frame: dict[str, Any], images: Path) -> None:
        """Make the file of a frame: a link to the dataset's own where possible, a copy on another disk."""
        file, i = images / frame["file"], int(frame["index"])
        if self.dataset.files and self.dataset.files[i].suffix.lower() in LINKED:
            with beside(file) as path:
                try:
                    os.link(self.dataset.files[i].resolve(), path)
                except OSError:  # another disk, or one that has no links
                    shutil.copyfile(self.dataset.files[i], path)
        else:
            save(self.dataset[i].image, file)


class Videos:
    """A video, or all below a folder, each a roll of its own, which processes share."""

    def __init__(self, path: Path, wanted: Wanted, skip_bad: bool) -> None:
        found = videos(path)
        names = as_named_in_folder(list(found))
        self.files = dict(zip(names, found.values(), strict=True))
        self.rolls, self.skip_bad = names, skip_bad
        every = wanted.every if wanted.every is not None else None if wanted.scenes is not None else EVERY
        self.wanted = wanted._replace(every=every)
        self.signature = [f"{name} {file.stat().st_size}" for name, file in self.files.items()]

    def look_through(self, roll: str, images: Path, each: Seconds) -> Listing:
        """Write the frames to be taken. Raises DataError where the video is damaged, or with skip_bad says so."""
        sampler, found, file = Sampler(self.wanted.scenes, self.wanted.distinct), Listing(), self.files[roll]
        try:
            for shot in decoded(file, self.wanted.every):
                name = f"{roll}-{shot.number:06d}"
                why = sampler.why_not(name, shot.image)
                if why and self.wanted.every is None and why.startswith("same scene"):
                    found.unchanged += 1
                elif why:
                    found.left_out.append({"name": name, "why": why})
                else:
                    save(shot.image, images / f"{name}.jpg")
                    found.kept.append({"name": name, "file": f"{name}.jpg", "time": round(float(shot.time), 3)})
                each(float(shot.time), shot.duration)
        except DataError as e:
            if not self.skip_bad:
                raise
            found.fault = str(e)
        return found

    def share(self, listing: Listing, number: int, of: int) -> list[dict[str, Any]]:
        return listing.kept

    def shared(self, number: int, of: int) -> list[str]:
        return self.rolls[number::of]

    def place(self, frame: dict[str, Any], images: Path) -> None:
        """Raises DataError: looking the video through has written it."""
        raise DataError(
            f"{images / frame['file']} is gone, and labels without it are worth nothing: make another --out"
        )


class Shot(NamedTuple):
    """A frame of a video."""

    number: int  # among all of them, from 0
    time: Fraction  # seconds
    image: np.ndarray  # RGB, upright
    duration: float  # of the video, as far as it says; 0 where it does not


def open_source(
    spec: str, split: str, wanted: Wanted, out: Path, skip_bad: bool
) -> tuple[Stills | Videos, Dataset | None]:
    """Where frames come from, and the dataset that they are of where there is one: it may name classes."""
    kind, _, where = spec.partition(":")
    if kind == "video" and where:
        return Videos(Path(where), wanted, skip_bad), None
    if kind == "images" and out.resolve().is_relative_to(Path(where).resolve()):
        raise UserError(f"{out} lies in {where}, whose images would come to be its own: choose another --out")
    dataset = open_dataset(spec, split, skip_bad=skip_bad, labels=False)
    return Stills(dataset, wanted), dataset


def videos(path: Path) -> dict[str, Path]:
    """Files by name: the path below the folder without its suffix, with it where two would be the same."""
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise DataError(f"{path} does not exist: give a video, or a folder of videos")
    files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in VIDEOS and p.is_file()]
    files = [p for p in files if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    if not files:
        raise DataError(f"no videos in {path}: expected files ending in {', '.join(sorted(VIDEOS))}")
    stems = Counter(file.with_suffix("") for file in files)
    names = [
        p.relative_to(path) if stems[p.with_suffix("")] > 1 else p.relative_to(path).with_suffix("") for p in files
    ]
    return dict(zip((name.as_posix() for name in names), files, strict=True))


def decoded(file: Path, every: float | None) -> Iterator[Shot]:
    """Frames of a video: the first, then the first of each further ``every`` seconds; all of them where it is None.

    Raises DataError for a file that cannot be read, or where time matters and it does not say any.
    """
    try:
        import av
    except ModuleNotFoundError as e:
        raise BackendMissing("reading a video needs PyAV: pip install 'edgeseg[video]'") from e
    step = Fraction(repr(every)) if every else Fraction(0)
    due: Fraction | None = None
    last = Fraction(0)
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            duration = container.duration / av.time_base if container.duration else 0.0
            for number, frame in enumerate(container.decode(stream)):
                time = _time(file, frame, stream, number)
                if due is None or time < last:  # the beginning, or one of those that follow in the same file
                    due = time
                last = time
                if time >= due:
                    due += step * ((time - due) // step + 1) if step else 0
                    yield Shot(number, time, upright.video(frame), duration)
    except (av.FFmpegError, IndexError) as e:  # IndexError: a container without a video stream
        raise DataError(f"{file} cannot be read as a video ({e}): replace it, or leave it out with --skip-bad") from e


def _time(file: Path, frame: Any, stream: Any, number: int) -> Fraction:
    if frame.pts is not None:
        return Fraction(frame.pts * frame.time_base)
    if not stream.average_rate:
        raise DataError(f"{file} says neither when its frames were taken nor how many a second: convert it to MP4")
    return Fraction(number) / stream.average_rate


def as_named_in_folder(names: Sequence[str]) -> list[str]:
    """Names as the format ``folder:`` reads them. It takes folders called train and val for splits: where there is one
    of them alone, it becomes a part of the name. Raises DataError where two are the same."""
    splits = {name.partition("/")[0] for name in names if "/" in name} & {"train", "val"}
    if len(splits) == 1:
        (split,) = splits
        names = [name.replace("/", "-", 1) if name.startswith(f"{split}/") else name for name in names]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"two frames are called {twice[0]!r}: rename one of them")
    return list(names)


def save(pixels: np.ndarray, file: Path, **more: Any) -> None:
    """As a PNG, or as a JPEG of quality 95."""
    kind = "JPEG" if file.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"compress_level": 3}
    with beside(file) as path:
        Image.fromarray(pixels).save(path, format=kind, **{**options, **more})
