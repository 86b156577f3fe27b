"""Label maps of an image, a folder of images or a video, as PNG files: labels, and overlays to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg import pixels, upright
from edgeseg.bundle import Bundle
from edgeseg.errors import BackendMissing, DataError
from edgeseg.segmenter import Segmenter
from edgeseg.target import Precision

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v"}


@dataclass(frozen=True)
class Prediction:
    """How many frames were labelled, and where the files are."""

    frames: int
    out: Path


def predict(
    bundle: Bundle | Path | str,
    source: Path | str,
    *,
    target: str,
    out: Path | str,
    precision: Precision = "int8",
    progress: Callable[[str], None] = lambda name: None,
) -> Prediction:
    """Write ``out/labels/NAME.png`` (8-bit class ids, ignore nowhere) and ``out/overlays/NAME.png`` per frame.

    Raises DataError for a source that cannot be read, before anything is written for it.
    """
    segmenter = Segmenter.load(bundle, target, precision=precision)
    contract, out = segmenter.contract, Path(out)
    image_module = _pillow()
    count = 0
    for name, rgb in frames_of(Path(source)):
        frame = rgb if contract.color == "rgb" else np.ascontiguousarray(rgb[..., ::-1])
        labels = segmenter(frame)
        for kind, picture in (("labels", labels), ("overlays", pixels.overlay(rgb, labels, contract.colors))):
            path = out / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image_module.fromarray(picture).save(path)
        count += 1
        progress(name)
    if count == 0:
        raise DataError(f"{source} holds no frames: give a video that does")
    return Prediction(count, out)


def frames_of(source: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and RGB frames uint8 (H, W, 3) of an image, a folder of images, or a video."""
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGES)
        if not files:
            raise DataError(f"no images in {source}: expected files ending in {', '.join(sorted(IMAGES))}")
        stems = Counter(file.with_suffix("") for file in files)
        for file in files:
            name = file.relative_to(source)
            yield str(name if stems[file.with_suffix("")] > 1 else name.with_suffix("")), _read(file)
    elif not source.is_file():
        raise DataError(f"{source} does not exist: give an image, a folder of images, or a video")
    elif source.suffix.lower() in VIDEOS:
        yield from _decode(source)
    elif source.suffix.lower() in IMAGES:
        yield source.stem, _read(source)
    else:
        raise DataError(
            f"{source} is neither an image ({', '.join(sorted(IMAGES))}) nor a video ({', '.join(sorted(VIDEOS))})"
        )


def _read(file: Path) -> np.ndarray:
    try:
        with _pillow().open(file) as image:
            return upright.still(image)
    except (OSError, SyntaxError, ValueError) as e:  # what Pillow raises on a damaged file
        raise DataError(f"{file} cannot be read as an image ({e}): remove or replace it") from e


def _decode(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        import av
    except ModuleNotFoundError as e:
        raise BackendMissing("reading a video needs PyAV: pip install 'edgeseg[video]'") from e
    try:
        with av.open(str(file)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                yield f"{file.stem}-{i:06d}", upright.video(frame)
    except (av.FFmpegError, IndexError) as e:  # IndexError: a container without a video stream
        raise DataError(f"{file} cannot be read as a video ({e})") from e


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as e:
        raise BackendMissing("reading and writing images needs Pillow: pip install pillow") from e
    return Image
