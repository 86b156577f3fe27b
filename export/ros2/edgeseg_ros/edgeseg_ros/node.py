"""The node: frames in, label maps out, as a lifecycle node (https://design.ros2.org/articles/node_lifecycle.html).

Configuring opens the bundle, activating subscribes to the camera. While a frame is labelled the middleware keeps the
newest one that came in and drops the others, so that the labels lag as little as they can; a frame that has become too
old nevertheless is dropped and counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from edgeseg import Segmenter, pixels
from edgeseg.errors import EdgesegError, UserError
from edgeseg_ros.conversion import UnreadableImage, age_ms, frame_of, image_fields

SAID_AGAIN_S = 5.0  # what goes wrong with every frame is said this often


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The node's parameters; see config/params.yaml."""

    bundle: str = ""
    target: str = "openvino"
    precision: str = "int8"
    threads: int = 0
    max_age_ms: float = 200.0
    overlay: bool = True
    alpha: float = 0.5
    qos_depth: int = 1

    def __post_init__(self) -> None:
        if not self.bundle:
            raise UserError("parameter bundle is empty: give the path of a bundle")
        if self.max_age_ms < 0:
            raise UserError(f"parameter max_age_ms is {self.max_age_ms:g}: give 0.0 to drop nothing, or more")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"parameter alpha is {self.alpha:g}: give 0.0 (the frame) to 1.0 (the colours)")
        if self.qos_depth < 1:
            raise UserError(f"parameter qos_depth is {self.qos_depth}: give 1 or more")


@dataclass
class Counts:
    """Frames since the node was activated."""

    labelled: int = 0
    too_old: int = 0
    unreadable: int = 0


class SegmenterNode(LifecycleNode):
    def __init__(self) -> None:
        super().__init__("edgeseg_ros")
        for field in fields(Settings):
            self.declare_parameter(field.name, field.default, ParameterDescriptor(description="see config/params.yaml"))
        self._segmenter: Segmenter | None = None
        self._subscription: Any = None
        self._publishers_of: dict[str, Any] = {}
        self._counts = Counts()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the bundle. Where there is no plan for the target yet it is built now, which can take minutes."""
        try:
            self._settings = Settings(**{f.name: self.get_parameter(f.name).value for f in fields(Settings)})
            s = self._settings
            self._segmenter = Segmenter.load(s.bundle, s.target, precision=s.precision, threads=s.threads)
        except EdgesegError as e:  # rclpy would swallow it without a word
            self.get_logger().error(str(e))
            return TransitionCallbackReturn.FAILURE
        messages = {"labels": Image, "latency": DiagnosticArray} | ({"overlay": Image} if s.overlay else {})
        for name, message in messages.items():
            self._publishers_of[name] = self.create_lifecycle_publisher(message, f"~/{name}", published(s.qos_depth))
        bundle = self._segmenter.bundle
        self.get_logger().info(
            f"{bundle.path} ({bundle.digest[:12]}) on {self._segmenter.engine.library}, {s.precision}: "
            f"{', '.join(bundle.contract.classes)}"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._counts = Counts()
        done = super().on_activate(state)  # publishers first, so that the first frame finds them
        self._subscription = self.create_subscription(
            Image, "image", self.on_image, subscribed(self._settings.qos_depth)
        )
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unsubscribe()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()  # straight from active too: nothing is deactivated before
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_error(state)

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def _release(self) -> None:
        self._unsubscribe()
        for publisher in self._publishers_of.values():
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_of = {}
        self._segmenter = None

    def on_image(self, message: Image) -> None:
        """One frame: labels, perhaps an overlay, and how long they took."""
        begin = time.perf_counter_ns()
        age = self._age_ms(message)
        if age is not None and 0 < self._settings.max_age_ms < age:
            self._counts.too_old += 1
            self._tell(message, DiagnosticStatus.WARN, f"dropped a frame {age:.0f} ms old", age, None)
            return
        try:
            frame, order = frame_of(message)
        except UnreadableImage as e:
            self._counts.unreadable += 1
            self.get_logger().error(str(e), throttle_duration_sec=SAID_AGAIN_S)
            self._tell(message, DiagnosticStatus.ERROR, str(e), age, None)
            return
        labels = self._label(frame, order)
        took = (time.perf_counter_ns() - begin) / 1e6
        self._counts.labelled += 1
        # The camera's own header: who joins labels and frames looks for the same time.
        self._publishers_of["labels"].publish(Image(header=message.header, **image_fields(labels, "mono8")))
        self._tell(message, DiagnosticStatus.OK, f"{took:.1f} ms from frame to labels", self._age_ms(message), took)
        self._draw(message, frame, order, labels)

    def _label(self, frame: np.ndarray, order: str) -> np.ndarray:
        assert self._segmenter is not None
        self._segmenter.color = "bgr" if order == "bgr" else "rgb"
        return self._segmenter(frame)

    def _draw(self, message: Image, frame: np.ndarray, order: str, labels: np.ndarray) -> None:
        publisher = self._publishers_of.get("overlay")
        if publisher is None or publisher.get_subscription_count() == 0:
            return
        assert self._segmenter is not None
        rgb = frame if order == "rgb" else frame[..., ::-1]
        drawn = pixels.overlay(rgb, labels, self._segmenter.contract.colors, self._settings.alpha)
        publisher.publish(Image(header=message.header, **image_fields(drawn, "rgb8")))

    def _age_ms(self, message: Image) -> float | None:
        return age_ms(message.header.stamp, self.get_clock().now().nanoseconds)

    def _tell(self, message: Image, level: bytes, text: str, age: float | None, took: float | None) -> None:
        """One status with the figures of one frame; an age that nobody knows is left out."""
        figures = {"frame_to_labels_ms": took, "age_ms": age}
        values = [KeyValue(key=name, value=f"{figure:.3f}") for name, figure in figures.items() if figure is not None]
        values += [KeyValue(key=name, value=str(count)) for name, count in vars(self._counts).items()]
        status = DiagnosticStatus(level=level, name=f"{self.get_name()}: latency", message=text, values=values)
        self._publishers_of["latency"].publish(DiagnosticArray(header=message.header, status=[status]))


def subscribed(depth: int) -> QoSProfile:
    """As sensor data is: nothing is sent again, and with a depth of 1 the newest frame replaces the one waiting."""
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


def published(depth: int) -> QoSProfile:
    """Reliable, which subscribers of either kind can connect to."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


def main(arguments: list[str] | None = None) -> None:
    rclpy.init(args=arguments)
    node = SegmenterNode()
    try:
        rclpy.spin(node)  # one thread: a segmenter serves one
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
