"""Numbers as people read them, the same in every kind of report."""

from __future__ import annotations

import math

NOTHING = "–"


def ms(value: float | None) -> str:
    """Three figures or so: 0.54, 8.93, 26.1, 104."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def rate(value: float | None) -> str:
    """Frames per second."""
    return NOTHING if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0 to 1. Never rounded up to 100 %, which is kept for exactly all."""
    if share is None:
        return NOTHING
    if share < 1:
        share = min(share, 1 - 10.0 ** -(digits + 2))
    return f"{100 * share:.{digits}f}%"


def points(difference: float) -> str:
    """A difference of two shares, in points of a hundred, with its sign: +0.4, −1.2, 0.0."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def size(count: int | None) -> str:
    """Bytes, in powers of ten as shops and networks count them."""
    if count is None:
        return NOTHING
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= divisor:
            return f"{count / divisor:.1f} {unit}"
    return f"{count} B"


def hw(size_hw: tuple[int, int]) -> str:
    """Width by height, as cameras are sold."""
    return f"{size_hw[1]} × {size_hw[0]}"


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """With a capital and a full stop; "p99" and "mIoU" stay as they are written."""
    return (text[0].upper() if text[1].islower() or text[1] == " " else text[0]) + text[1:] + "."
