"""What of ROS 2 the node imports, at the seam: messages of the real definitions, and a lifecycle without a middleware.

The definitions are those that rosbags carries, and every message that is published is serialised as ROS would. The
state machine is that of https://design.ros2.org/articles/node_lifecycle.html, as far as rclpy's LifecycleNode shows it.
"""

from __future__ import annotations

import array
import enum
import functools
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from rosbags.typesys import Stores, get_typestore

STORES = (Stores.ROS2_HUMBLE, Stores.ROS2_JAZZY)
NUMBERS = {"uint8", "uint32", "int32", "byte"}


@functools.cache
def message(name: str) -> type:
    """A class as rosidl generates it for Python: keywords for fields and for nothing else, checked when set."""
    store = get_typestore(STORES[0])
    constants, fields = store.fielddefs[name]

    class Message:
        full_name = name
        field_names = tuple(field for field, _ in fields)

        def __init__(self, **given: Any) -> None:
            assert given.keys() <= set(self.field_names), f"{name} has no {given.keys() - set(self.field_names)}"
            for field, (kind, inner) in fields:
                setattr(self, field, given[field] if field in given else _default(kind.name, inner))

        def __setattr__(self, field: str, value: Any) -> None:
            assert field in self.field_names, f"{name} has no {field}"
            assert field != "data" or (isinstance(value, array.array) and value.typecode == "B"), type(value)
            assert field != "level" or isinstance(value, bytes), value
            super().__setattr__(field, value)

    for constant, kind, value in constants:
        setattr(Message, constant, bytes([value]) if kind == "byte" else value)
    Message.__name__ = name.rpartition("/")[2]
    return Message


def _default(kind: str, inner: Any) -> Any:
    if kind == "NAME":
        return message(inner)()
    if kind == "SEQUENCE":
        return array.array("B") if inner[0][1] == ("uint8", 0) else []
    return 0 if inner[0] in NUMBERS else ""


def serialised(sent: Any, store: Stores = STORES[0]) -> bytes:
    """The bytes that would go over the wire, by the real definition."""
    types = get_typestore(store)

    def real(value: Any) -> Any:
        if isinstance(value, array.array):
            return np.frombuffer(value, np.uint8)
        if isinstance(value, bytes):
            return value[0]
        if isinstance(value, list):
            return [real(each) for each in value]
        if hasattr(value, "full_name"):
            return types.types[value.full_name](**{f: real(getattr(value, f)) for f in value.field_names})
        return value

    return bytes(types.serialize_cdr(real(sent), sent.full_name))


def received(raw: bytes, name: str, store: Stores = STORES[0]) -> Any:
    return get_typestore(store).deserialize_cdr(raw, name)


class Result(enum.Enum):
    SUCCESS = 0
    FAILURE = 1
    ERROR = 2


class LifecycleState(NamedTuple):
    label: str
    state_id: int


class Policy(enum.Enum):
    BEST_EFFORT = enum.auto()
    RELIABLE = enum.auto()
    VOLATILE = enum.auto()
    KEEP_LAST = enum.auto()


class QoSProfile(NamedTuple):
    reliability: Policy
    durability: Policy
    history: Policy
    depth: int


class Publisher:
    """Publishes while the node is active; what went out is in ``sent``."""

    def __init__(self, kind: type, topic: str, qos: QoSProfile) -> None:
        self.kind, self.topic, self.qos = kind, topic, qos
        self.subscribers, self.enabled, self.sent = 0, False, []

    def get_subscription_count(self) -> int:
        return self.subscribers

    def publish(self, sent: Any) -> None:
        assert isinstance(sent, self.kind)
        serialised(sent)
        if self.enabled:
            self.sent.append(sent)


class Logger:
    def __init__(self) -> None:
        self.infos: list[str] = []
        self.errors: list[str] = []

    def info(self, text: str) -> None:
        self.infos.append(text)

    def error(self, text: str, *, throttle_duration_sec: float = 0.0) -> None:
        self.errors.append(text)


class LifecycleNode:
    """``overrides`` stand for a parameter file; ``now_ns`` is the clock."""

    overrides: dict[str, Any] = {}  # noqa: RUF012  # set per test
    now_ns = 0

    def __init__(self, name: str) -> None:
        self.name, self.state = name, "unconfigured"
        self.parameters: dict[str, Any] = {}
        self.logger = Logger()
        self.live_publishers: list[Publisher] = []
        self.live_subscriptions: list[SimpleNamespace] = []

    def get_name(self) -> str:
        return self.name

    def get_logger(self) -> Logger:
        return self.logger

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))

    def declare_parameter(self, name: str, default: Any, descriptor: Any) -> None:
        value = self.overrides.get(name, default)
        assert type(value) is type(default), f"{name} was declared as {type(default)}, not {type(value)}"
        self.parameters[name] = value

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.parameters[name])

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile) -> Any:
        made = SimpleNamespace(kind=kind, topic=topic, callback=callback, qos=qos)
        self.live_subscriptions.append(made)
        return made

    def destroy_subscription(self, subscription: Any) -> None:
        self.live_subscriptions.remove(subscription)

    def create_lifecycle_publisher(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        made = Publisher(kind, topic, qos)
        self.live_publishers.append(made)
        return made

    def destroy_lifecycle_publisher(self, publisher: Publisher) -> None:
        self.live_publishers.remove(publisher)

    def on_configure(self, state: LifecycleState) -> Result:
        return Result.SUCCESS

    def on_activate(self, state: LifecycleState) -> Result:
        return self._enable(True)

    def on_deactivate(self, state: LifecycleState) -> Result:
        return self._enable(False)

    on_cleanup = on_shutdown = on_error = on_configure

    def _enable(self, enabled: bool) -> Result:
        for publisher in self.live_publishers:
            publisher.enabled = enabled
        return Result.SUCCESS

    def trigger(self, transition: str) -> Result:
        """A transition as a supervisor asks for it; an exception in a callback is an error, said by nobody."""
        begin, end = {
            "configure": ("unconfigured", "inactive"),
            "activate": ("inactive", "active"),
            "deactivate": ("active", "inactive"),
            "cleanup": ("inactive", "unconfigured"),
            "shutdown": (self.state, "finalized"),
        }[transition]
        assert self.state == begin, f"{transition} from {self.state}"
        before = LifecycleState(self.state, 0)
        try:
            result: Result = getattr(self, f"on_{transition}")(before)
        except Exception:  # as rclpy does
            result = Result.ERROR
        if result is Result.SUCCESS:
            self.state = end
        elif result is Result.ERROR:
            self.state = "unconfigured" if self.on_error(before) is Result.SUCCESS else "finalized"
        return result

    def deliver(self, sent: Any) -> None:
        """A message from the camera to whoever subscribes."""
        for subscription in list(self.live_subscriptions):
            assert isinstance(sent, subscription.kind)
            subscription.callback(sent)


def modules() -> dict[str, ModuleType]:
    """For ``sys.modules``, by name."""
    made = {
        "rclpy": {},
        "rclpy.executors": {"ExternalShutdownException": type("ExternalShutdownException", (Exception,), {})},
        "rclpy.lifecycle": {
            "LifecycleNode": LifecycleNode,
            "LifecycleState": LifecycleState,
            "TransitionCallbackReturn": Result,
        },
        "rclpy.qos": {
            "QoSProfile": QoSProfile,
            **dict.fromkeys(("ReliabilityPolicy", "DurabilityPolicy", "HistoryPolicy"), Policy),
        },
        "rcl_interfaces.msg": {"ParameterDescriptor": message("rcl_interfaces/msg/ParameterDescriptor")},
        "sensor_msgs.msg": {"Image": message("sensor_msgs/msg/Image")},
        "diagnostic_msgs.msg": {
            name: message(f"diagnostic_msgs/msg/{name}") for name in ("DiagnosticArray", "DiagnosticStatus", "KeyValue")
        },
    }
    found = {}
    for name, contents in made.items():
        for path in (name.partition(".")[0], name):
            found.setdefault(path, ModuleType(path)).__dict__.update(contents if path == name else {})
    assert not [name for name in found if name in sys.modules], "a real ROS is here: run the node under it"
    return found
