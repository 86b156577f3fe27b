"""The ROS 2 node under a fake rclpy: transitions, QoS, what is published and what is dropped."""

from __future__ import annotations

import ast
import dataclasses
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("onnxruntime")
import fake_ros

from edgeseg import Segmenter, pixels

PACKAGE = Path(__file__).resolve().parents[2] / "export/ros2/edgeseg_ros"
NOW_NS = 1_700_000_000 * 10**9


@pytest.fixture
def module(monkeypatch) -> ModuleType:
    """``edgeseg_ros.node``, imported beside the fake."""
    for name, fake in fake_ros.modules().items():
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.syspath_prepend(str(PACKAGE))
    import edgeseg_ros.node as node

    yield node
    for name in [n for n in sys.modules if n.partition(".")[0] == "edgeseg_ros"]:
        del sys.modules[name]


@pytest.fixture
def make(module, monkeypatch, tiny_bundle):
    """``make(max_age_ms=50.0)``: a node with these parameters beside the tiny bundle's."""

    def build(**parameters: Any) -> Any:
        given = {"bundle": str(tiny_bundle.path), "target": "onnxruntime", "threads": 1, **parameters}
        monkeypatch.setattr(fake_ros.LifecycleNode, "overrides", given)
        monkeypatch.setattr(fake_ros.LifecycleNode, "now_ns", NOW_NS)
        return module.SegmenterNode()

    return build


@pytest.fixture
def active(make):
    """A node that takes frames."""
    node = make()
    node.trigger("configure")
    node.trigger("activate")
    return node


def picture(frame: np.ndarray, encoding: str = "rgb8", *, age_ms: float = 10.0, stamped: bool = True) -> Any:
    """A message from a camera; rows padded by three bytes, as some drivers do."""
    height, width = frame.shape[:2]
    rows = np.zeros((height, frame.nbytes // height + 3), np.uint8)
    rows[:, :-3] = frame.reshape(height, -1)
    data = fake_ros.array.array("B", rows.tobytes())
    taken = NOW_NS - int(age_ms * 1e6) if stamped else 0
    stamp = fake_ros.message("builtin_interfaces/msg/Time")(sec=taken // 10**9, nanosec=taken % 10**9)
    header = fake_ros.message("std_msgs/msg/Header")(stamp=stamp, frame_id="camera_optical")
    image = fake_ros.message("sensor_msgs/msg/Image")
    return image(header=header, height=height, width=width, encoding=encoding, step=rows.shape[1], data=data)


def array_of(message: Any, *channels: int) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)


def topic(node: Any, name: str) -> fake_ros.Publisher:
    return next(p for p in node.live_publishers if p.topic == f"~/{name}")


def figures(node: Any) -> tuple[bytes, dict[str, float]]:
    """Level and values of the last status."""
    (status,) = topic(node, "latency").sent[-1].status
    return status.level, {pair.key: float(pair.value) for pair in status.values}


def test_a_frame_becomes_the_segmenters_labels_under_its_own_header(active, tiny_bundle):
    frame = tiny_bundle.golden().frames[0]
    sent = picture(frame)
    active.deliver(sent)
    (labels,) = topic(active, "labels").sent
    np.testing.assert_array_equal(array_of(labels), Segmenter.load(tiny_bundle, "onnxruntime")(frame))
    assert (labels.encoding, labels.step, labels.is_bigendian) == ("mono8", 64, 0)
    assert labels.header is sent.header


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8"])
def test_any_order_of_channels_gives_the_same_labels(active, tiny_bundle, encoding):
    frame = tiny_bundle.golden().frames[1]
    given = frame if encoding.startswith("rgb") else frame[..., ::-1]
    if encoding.endswith("a8"):
        given = np.concatenate([given, np.full((*frame.shape[:2], 1), 200, np.uint8)], 2)
    topic(active, "overlay").subscribers = 1
    for encoding_, frame_ in ((encoding, given), ("rgb8", frame)):  # and back again
        active.deliver(picture(np.ascontiguousarray(frame_), encoding_))
    first, second = map(array_of, topic(active, "labels").sent)
    np.testing.assert_array_equal(first, second)
    first, second = (array_of(m, 3) for m in topic(active, "overlay").sent)
    np.testing.assert_array_equal(first, second)


def test_frames_of_another_size_get_labels_of_that_size(active):
    grey = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    active.deliver(picture(grey, "mono8"))
    (labels,) = topic(active, "labels").sent
    assert (labels.height, labels.width, labels.step) == (50, 40, 40)


def test_the_overlay_is_drawn_for_subscribers_only(active, tiny_bundle):
    frame = tiny_bundle.golden().frames[0]
    overlay = topic(active, "overlay")
    active.deliver(picture(frame))
    assert overlay.sent == []
    overlay.subscribers = 1
    active.deliver(picture(frame))
    (drawn,) = overlay.sent
    labels = array_of(topic(active, "labels").sent[-1])
    want = pixels.overlay(frame, labels, tiny_bundle.contract.colors, 0.5)
    assert drawn.encoding == "rgb8"
    np.testing.assert_array_equal(array_of(drawn, 3), want)


def test_without_the_overlay_there_is_no_topic(make):
    node = make(overlay=False)
    node.trigger("configure")
    assert sorted(p.topic for p in node.live_publishers) == ["~/labels", "~/latency"]


def test_an_old_frame_is_dropped_and_counted(make, tiny_bundle):
    node, frame = make(max_age_ms=50.0), tiny_bundle.golden().frames[0]
    node.trigger("configure")
    node.trigger("activate")
    for age_ms in (51.0, 50.0, 400.0):
        node.deliver(picture(frame, age_ms=age_ms))
    assert len(topic(node, "labels").sent) == 1
    level, values = figures(node)
    assert level == b"\1"
    assert values == {"age_ms": 400.0, "labelled": 1, "too_old": 2, "unreadable": 0}


def test_none_is_too_old_where_none_can_be(make, tiny_bundle):
    node = make(max_age_ms=0.0)
    node.trigger("configure")
    node.trigger("activate")
    node.deliver(picture(tiny_bundle.golden().frames[0], age_ms=10_000.0))
    assert len(topic(node, "labels").sent) == 1


def test_a_frame_without_a_time_has_no_age(active, tiny_bundle):
    active.deliver(picture(tiny_bundle.golden().frames[0], stamped=False))
    level, values = figures(active)
    assert level == b"\0" and "age_ms" not in values and values["labelled"] == 1


def test_latency_is_of_that_frame(active, tiny_bundle, module, monkeypatch):
    ticks = iter([1_000_000, 13_500_000])
    monkeypatch.setattr(module.time, "perf_counter_ns", lambda: next(ticks))
    sent = picture(tiny_bundle.golden().frames[0], age_ms=20.0)
    active.deliver(sent)
    level, values = figures(active)
    assert level == b"\0"
    assert values == {"frame_to_labels_ms": 12.5, "age_ms": 20.0, "labelled": 1, "too_old": 0, "unreadable": 0}
    assert topic(active, "latency").sent[0].header is sent.header


def test_an_unreadable_frame_is_said_and_counted_and_the_next_one_labelled(active, tiny_bundle):
    frame = tiny_bundle.golden().frames[0]
    active.deliver(picture(frame[..., 0].copy(), "bayer_rggb8"))
    assert figures(active)[0] == b"\2" and "bayer_rggb8" in active.logger.errors[0]
    active.deliver(picture(frame))
    assert figures(active)[1]["unreadable"] == 1 and len(topic(active, "labels").sent) == 1


def test_the_newest_frame_wins(make):
    node = make()
    node.trigger("configure")
    assert node.live_subscriptions == []
    node.trigger("activate")
    (subscription,) = node.live_subscriptions
    policy = fake_ros.Policy
    assert subscription.topic == "image"
    assert subscription.qos == (policy.BEST_EFFORT, policy.VOLATILE, policy.KEEP_LAST, 1)
    assert {p.qos for p in node.live_publishers} == {(policy.RELIABLE, policy.VOLATILE, policy.KEEP_LAST, 1)}


def test_the_whole_lifecycle_twice(make, tiny_bundle):
    node, frame = make(qos_depth=3), tiny_bundle.golden().frames[0]
    for _ in range(2):
        assert node.trigger("configure") is fake_ros.Result.SUCCESS
        node.deliver(picture(frame))
        assert topic(node, "labels").sent == []
        for count in (1, 2):
            node.trigger("activate")
            assert [s.qos.depth for s in node.live_subscriptions] == [3]
            node.deliver(picture(frame))
            assert figures(node)[1]["labelled"] == 1  # counted anew
            node.trigger("deactivate")
            node.deliver(picture(frame))
            assert len(topic(node, "labels").sent) == count
        assert node.trigger("cleanup") is fake_ros.Result.SUCCESS
        assert node.live_publishers == [] and node.live_subscriptions == [] and node.state == "unconfigured"


@pytest.mark.parametrize("until", [[], ["configure"], ["configure", "activate"]], ids=len)
def test_it_shuts_down_from_anywhere(make, until):
    node = make()
    for transition in [*until, "shutdown"]:
        assert node.trigger(transition) is fake_ros.Result.SUCCESS
    assert node.live_publishers == [] and node.live_subscriptions == [] and node.state == "finalized"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"bundle": ""}, "bundle is empty"),
        ({"bundle": "nowhere"}, "nowhere is not a bundle"),
        ({"target": "abacus"}, "no target 'abacus'"),
        ({"precision": "int4"}, "precision"),
        ({"threads": -1}, "threads"),
        ({"max_age_ms": -1.0}, "max_age_ms"),
        ({"alpha": 1.5}, "alpha"),
        ({"qos_depth": 0}, "qos_depth"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_parameter_leaves_it_unconfigured_and_says_why(make, wrong, reason):
    node = make(**wrong)
    assert node.trigger("configure") is fake_ros.Result.FAILURE
    assert node.state == "unconfigured" and node.live_publishers == []
    assert reason in node.logger.errors[0]


def test_a_failed_activation_leaves_nothing_behind(make, monkeypatch):
    node = make()
    node.trigger("configure")

    def refused(*given: Any) -> None:
        raise RuntimeError("the middleware is gone")

    monkeypatch.setattr(node, "create_subscription", refused)
    assert node.trigger("activate") is fake_ros.Result.ERROR
    assert node.live_publishers == [] and node.state == "unconfigured"


def test_the_node_runs_until_it_is_interrupted(make, module, monkeypatch):
    done = []
    make()  # the parameters

    def spin(node: Any) -> None:
        done.append(type(node))
        raise KeyboardInterrupt

    for name, call in (
        ("init", lambda args: done.append(args)),
        ("spin", spin),
        ("try_shutdown", lambda: done.append(0)),
    ):
        monkeypatch.setattr(module.rclpy, name, call, raising=False)
    monkeypatch.setattr(module.SegmenterNode, "destroy_node", lambda self: done.append(self.state), raising=False)
    module.main(["--ros-args"])
    assert done == [["--ros-args"], module.SegmenterNode, "unconfigured", 0]


def test_the_parameter_file_holds_the_defaults(module):
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe")
    written = yaml.load((PACKAGE / "config/params.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {f.name: f.default for f in dataclasses.fields(module.Settings)}
    assert written == defaults
    assert {name: type(value) for name, value in written.items()} == {n: type(v) for n, v in defaults.items()}
    page = (PACKAGE / "README.md").read_text()
    assert not [name for name in defaults if f"`{name}`" not in page]


def test_the_package_is_one(monkeypatch):
    """What colcon reads: one name throughout, every file in its place, every import a dependency."""
    given: dict[str, Any] = {}
    setuptools = ModuleType("setuptools")
    setuptools.setup = lambda **kwargs: given.update(kwargs)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    exec((PACKAGE / "setup.py").read_text(), {})
    manifest = ET.parse(PACKAGE / "package.xml").getroot()
    assert manifest.findtext("name") == given["name"] == PACKAGE.name == given["packages"][0]
    assert manifest.findtext("version") == given["version"]
    assert manifest.findtext("export/build_type") == "ament_python"
    for folder, files in given["data_files"]:
        assert folder.startswith("share/") and all((PACKAGE / file).is_file() for file in files)
    assert given["entry_points"]["console_scripts"] == ["edgeseg_ros = edgeseg_ros.node:main"]
    assert "lib/edgeseg_ros" in (PACKAGE / "setup.cfg").read_text()
    needed = {e.text for e in manifest.findall("exec_depend")}
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(), feature_version=(3, 10))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    outside = imported - sys.stdlib_module_names - {"edgeseg", "edgeseg_ros", "setuptools"}
    assert {"python3-numpy" if name == "numpy" else name for name in outside} == needed
