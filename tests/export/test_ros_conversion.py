"""``edgeseg_ros/conversion.py`` on objects with the fields of sensor_msgs/Image; by hand, and over the wire."""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[2] / "export/ros2/edgeseg_ros/edgeseg_ros/conversion.py"


@dataclass
class Message:
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any
    is_bigendian: int = 0
    header: Any = field(default_factory=SimpleNamespace)


@pytest.fixture(scope="module")
def conversion() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgeseg_ros_conversion", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_imports_numpy_and_nothing_of_ros():
    tree = ast.parse(FILE.read_text(), feature_version=(3, 10))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names - {"numpy"} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("encoding", "data", "pixels", "order"),
    [
        ("rgb8", [1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], "rgb"),
        ("bgr8", [1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], "bgr"),
        ("rgba8", [1, 2, 3, 255, 4, 5, 6, 0], [[1, 2, 3], [4, 5, 6]], "rgb"),
        ("bgra8", [1, 2, 3, 255, 4, 5, 6, 0], [[1, 2, 3], [4, 5, 6]], "bgr"),
        ("mono8", [7, 9], [[7, 7, 7], [9, 9, 9]], "rgb"),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
def test_one_row_by_hand(conversion, encoding, data, pixels, order, padding):
    """Twice the row, behind it what is no pixel; nothing is copied."""
    step = len(data) + padding
    raw = bytes([*data, *[99] * padding] * 2)
    frame, got = conversion.frame_of(Message(2, 2, encoding, step, raw))
    assert got == order and frame.shape == (2, 2, 3) and frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, [pixels, pixels])
    assert np.shares_memory(frame, np.frombuffer(raw, np.uint8))
    assert conversion.frame_of(Message(2, 2, encoding, step, raw, is_bigendian=1))[0].tolist() == frame.tolist()


# Y, U, V of two pixels: black and white; BT.601's red at 75 % and its own chroma over a brighter pixel.
# (81 - 16) * 1.164383 = 75.68: red 75.68 + 112 * 1.596027 = 254.4, green 75.68 + 38 * 0.391762 - 112 * 0.812968 < 0,
# blue 75.68 - 38 * 2.017232 < 0. (145 - 16) * 1.164383 = 150.21: red over 255, green 74.04, blue 73.55.
PAIRS = [
    ((16, 235, 128, 128), [[0, 0, 0], [255, 255, 255]]),
    ((81, 145, 90, 240), [[254, 0, 0], [255, 74, 74]]),
]


@pytest.mark.parametrize(("yyuv", "pixels"), PAIRS, ids=["grey", "red"])
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv_by_hand(conversion, encoding, yyuv, pixels):
    y0, y1, u, v = yyuv
    row = [u, y0, v, y1] if encoding in ("uyvy", "yuv422") else [y0, u, y1, v]
    frame, order = conversion.frame_of(Message(2, 2, encoding, 6, bytes([*row, 0, 0] * 2)))
    assert order == "rgb"
    np.testing.assert_array_equal(frame, [pixels, pixels])


def test_yuv_within_a_step_of_the_standards_formula(conversion):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (6, 8, 2), dtype=np.uint8)  # U Y, V Y
    frame, _ = conversion.frame_of(Message(6, 8, "uyvy", 16, raw.tobytes()))
    y = (raw[..., 1].astype(float) - 16) * 255 / 219
    u, v = (raw[:, i::2, 0].astype(float).repeat(2, 1) - 128 for i in (0, 1))
    spread = 255 / 224
    red, blue = 1.402 * spread * v, 1.772 * spread * u
    green = -(0.114 * 1.772 / 0.587) * spread * u - (0.299 * 1.402 / 0.587) * spread * v
    want = np.clip(np.stack([y + red, y + green, y + blue], -1), 0, 255)
    assert np.abs(frame - want).max() <= 0.51


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message(1, 2, "bayer_rggb8", 2, bytes(2)), "image_proc"),
        (Message(1, 2, "8UC3", 6, bytes(6)), "'8UC3' is not one of rgb8"),
        (Message(1, 2, "mono16", 4, bytes(4)), "mono16"),
        (Message(1, 3, "yuyv", 6, bytes(6)), "3 wide"),
        (Message(2, 2, "rgb8", 5, bytes(12)), "rows of at least 6 bytes"),
        (Message(2, 2, "rgb8", 6, bytes(11)), "holds 11 in all"),
        (Message(0, 2, "rgb8", 6, b""), "no pixels"),
    ],
    ids=lambda value: value.encoding if isinstance(value, Message) else "",
)
def test_what_is_no_picture_is_refused(conversion, message, reason):
    with pytest.raises(conversion.UnreadableImage, match=reason):
        conversion.frame_of(message)


def test_the_way_back(conversion):
    labels = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    fields = conversion.image_fields(labels.T[::-1], "mono8")  # neither contiguous nor forward
    assert fields.pop("data").tobytes() == bytes([3, 6, 2, 5, 1, 4])
    assert fields == {"height": 3, "width": 2, "encoding": "mono8", "is_bigendian": 0, "step": 2}
    assert conversion.image_fields(np.zeros((2, 5, 3), np.uint8), "rgb8")["step"] == 15


def test_ages(conversion):
    stamp = SimpleNamespace(sec=3, nanosec=500_000_000)
    assert conversion.age_ms(stamp, 3_620_000_000) == 120.0
    assert conversion.age_ms(stamp, 3_490_000_000) == -10.0
    assert conversion.age_ms(SimpleNamespace(sec=0, nanosec=0), 10**18) is None


@pytest.mark.parametrize("release", ["humble", "jazzy"])
def test_over_the_wire_and_back(conversion, release):
    """Our fields are those of the real sensor_msgs/msg/Image: serialised, deserialised and read again."""
    ros = pytest.importorskip("fake_ros", reason="needs rosbags", exc_type=ImportError)
    store = next(s for s in ros.STORES if s.value.endswith(release))
    header = ros.message("std_msgs/msg/Header")(
        stamp=ros.message("builtin_interfaces/msg/Time")(sec=12, nanosec=5), frame_id="camera"
    )
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = ros.message("sensor_msgs/msg/Image")
    sent = image(header=header, **conversion.image_fields(frame, "bgr8"))
    got = ros.received(ros.serialised(sent, store), "sensor_msgs/msg/Image", store)
    assert (got.header.stamp.sec, got.header.frame_id, got.encoding, got.step) == (12, "camera", "bgr8", 21)
    read, order = conversion.frame_of(got)
    assert order == "bgr"
    np.testing.assert_array_equal(read, frame)


def test_the_messages_above_have_the_real_fields():
    ros = pytest.importorskip("fake_ros", reason="needs rosbags", exc_type=ImportError)
    assert set(ros.message("sensor_msgs/msg/Image").field_names) == set(Message.__dataclass_fields__)
