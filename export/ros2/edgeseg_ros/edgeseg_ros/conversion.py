"""sensor_msgs/Image to arrays and back, on any object with its fields: nothing here imports ROS.

Encodings are those of sensor_msgs/image_encodings.hpp. Every one of 8 bits becomes an array over the message's own
memory, whatever the padding of its rows; only YUV is computed. ``is_bigendian`` says nothing about single bytes.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np

# Encoding: channels in memory, the three of them to take, the order they are in.
PACKED = {
    "rgb8": (3, slice(0, 3), "rgb"),
    "bgr8": (3, slice(0, 3), "bgr"),
    "rgba8": (4, slice(0, 3), "rgb"),
    "bgra8": (4, slice(0, 3), "bgr"),
}
# Encoding: where the luminances and the two chrominances U and V lie in the four bytes of two pixels.
YUV422 = {
    "uyvy": (slice(1, 4, 2), 0, 2),
    "yuv422": (slice(1, 4, 2), 0, 2),  # the former's old name
    "yuyv": (slice(0, 4, 2), 1, 3),
    "yuv422_yuy2": (slice(0, 4, 2), 1, 3),  # the former's old name
}
ENCODINGS = (*PACKED, "mono8", *YUV422)


class UnreadableImage(ValueError):
    """A message that holds no colours of 8 bits, or fewer bytes than it says."""


def frame_of(message: Any) -> tuple[np.ndarray, str]:
    """An image message -> pixels uint8 (H, W, 3), and the order of their channels, "rgb" or "bgr".

    A view of ``message.data`` but for YUV; rows may be padded. ``mono8`` becomes three equal channels, which is how
    grey images are read for training. Raises UnreadableImage.
    """
    encoding = message.encoding
    if encoding == "mono8":
        grey = _rows(message, 1)
        return np.broadcast_to(grey, (*grey.shape[:2], 3)), "rgb"
    if encoding in PACKED:
        channels, taken, order = PACKED[encoding]
        return _rows(message, channels)[..., taken], order
    if encoding in YUV422:
        if message.width % 2:
            raise UnreadableImage(f"{encoding} holds pixels in pairs, and this image is {message.width} wide")
        return _rgb_of_yuv(_rows(message, 2), *YUV422[encoding]), "rgb"
    raise UnreadableImage(
        f"encoding {encoding!r} is not one of {', '.join(ENCODINGS)}: have the driver publish one of these, or put a "
        "converting node in between (image_proc for Bayer patterns, image_transport for compressed images)"
    )


def _rows(message: Any, channels: int) -> np.ndarray:
    """The message's bytes as (H, W, channels), without the padding behind each row."""
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if not (height and width):
        raise UnreadableImage(f"the image is {width} x {height}: it has no pixels")
    if step < width * channels or len(data) < step * height:
        raise UnreadableImage(
            f"{width} x {height} pixels of {message.encoding} need rows of at least {width * channels} bytes and "
            f"{height} rows; the message says {step} bytes a row and holds {len(data)} in all"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    return rows.reshape(height, width, channels)  # splits the last axis: still a view


def _rgb_of_yuv(pixels: np.ndarray, luminances: slice, u: int, v: int) -> np.ndarray:
    """BT.601 in its limited range (Y from 16 to 235), as cameras over USB deliver it; both pixels of a pair share U
    and V. Coefficients of ITU-R BT.601-7 in 1/65536."""
    height, width, _ = pixels.shape
    pairs = pixels.reshape(height, width // 2, 4).astype(np.int32)
    y = (pairs[..., luminances] - 16) * 76309 + 32768  # (H, W / 2, 2), with half a step for the rounding
    u_, v_ = pairs[..., u, None] - 128, pairs[..., v, None] - 128  # (H, W / 2, 1)
    rgb = np.empty((height, width // 2, 2, 3), np.uint8)
    for channel, chroma in enumerate((104597 * v_, -25675 * u_ - 53279 * v_, 132201 * u_)):
        rgb[..., channel] = np.clip((y + chroma) >> 16, 0, 255)
    return rgb.reshape(height, width, 3)


def image_fields(pixels: np.ndarray, encoding: str) -> dict[str, Any]:
    """uint8 (H, W) or (H, W, C) -> the fields of an image message but for its header.

    ``data`` is the one type that rclpy takes over without looking at every byte of it.
    """
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    height, width = pixels.shape[:2]
    step = len(data) // height
    return dict(height=height, width=width, encoding=encoding, is_bigendian=0, step=step, data=data)


def age_ms(stamp: Any, now_ns: int) -> float | None:
    """Milliseconds since a header's time; None where the driver left it at zero. Negative if the clocks disagree."""
    nanoseconds = stamp.sec * 10**9 + stamp.nanosec
    return (now_ns - nanoseconds) / 1e6 if nanoseconds else None
