"""Pictures as viewers show them: turned by what a camera that was held sideways notes beside the pixels.

Stills note it in EXIF (CIPA DC-008, tag Orientation), where Pillow reads it; TIFF files are turned by Pillow itself.
Videos note a matrix, of which FFmpeg makes degrees.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

ORIENTATION = 0x0112  # 1 to 8: where the first row and the first column belong


def still(image: Any) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a picture that Pillow has opened."""
    noted = orientation(image)  # before the pixels are loaded, as for the size
    rgb = np.asarray(image.convert("RGB"))
    if noted > 4:  # the first row is a side
        rgb = rgb.swapaxes(0, 1)
    down, right = 1 if noted in (1, 2, 5, 6) else -1, 1 if noted in (1, 4, 5, 8) else -1
    return np.array(rgb[::down, ::right], order="C")


def size(image: Any) -> tuple[int, int]:
    """Width and height of the same, without its pixels."""
    return image.size[::-1] if orientation(image) > 4 else image.size  # type: ignore[no-any-return]


def orientation(image: Any) -> int:
    """What the file's header says; 1, upright, where it says nothing that anybody can read, as for viewers."""
    try:
        noted = image.getexif().get(ORIENTATION, 1) if "exif" in image.info else 1
    except (SyntaxError, ValueError, OSError, struct.error):  # what Pillow raises on damaged EXIF
        return 1
    return noted if noted in range(1, 9) else 1


def video(frame: Any) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a frame that PyAV has decoded."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
