"""A pinhole camera over a road, and polygons drawn through it, far ones first.

Coordinates are metres: X to the right of the camera, Y above the ground, Z ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 2
NEAR = 0.8  # nothing closer is drawn

Point = Sequence[float]  # X, Y, Z
Color = Sequence[float] | np.ndarray  # RGB, 0 to 255, may exceed


class Surface(IntEnum):
    """What a pixel shows: decides its label and its texture."""

    SKY = 0
    WALL = 1
    ASPHALT = 2
    PAVING = 3
    FOLIAGE = 4
    GRASS = 5
    CAR = 6
    PERSON = 7
    POLE = 8
    SIGN = 9
    MARKING = 10
    HOOD = 11  # of the car that carries the camera


GROUND = (Surface.ASPHALT, Surface.PAVING, Surface.GRASS, Surface.MARKING)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Lengths in pixels of the finished frame. The road bends: straight ahead is X = bend * Z**2."""

    focal: float
    cx: float
    horizon: float
    height: float  # metres above the ground
    roll: float  # radians
    bend: float  # 1 / metres

    def project(self, points: Iterable[Point]) -> list[float]:
        """Points in metres to [x0, y0, x1, y1, ...] in pixels; points nearer than NEAR are moved there.

        Plain floats: for the few points of a polygon that is several times as fast as an array.
        """
        c, s = math.cos(self.roll), math.sin(self.roll)
        flat: list[float] = []
        for x, y, z in points:
            z = max(z, NEAR)
            u = self.focal * (x / z + self.bend * z)
            v = self.focal * (self.height - y) / z
            flat += (self.cx + c * u - s * v, self.horizon + s * u + c * v)
        return flat

    def project_upright(self, points: Iterable[tuple[float, float]], z: float) -> list[float]:
        """The same for points (X, Y) that all lie at Z = z: most of what is drawn, and half the work."""
        k = self.focal / max(z, NEAR)
        c, s, shift = k * math.cos(self.roll), k * math.sin(self.roll), self.bend * z * z
        x0, y0 = self.cx + c * shift - s * self.height, self.horizon + s * shift + c * self.height
        return [v for x, y in points for v in (x0 + c * x + s * y, y0 + s * x - c * y)]

    def ground(self, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """X and Z (H, W) of the ground that each pixel would see; Z is 1000 m at the horizon and above."""
        y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32) + 0.5
        c, s = np.cos(self.roll), np.sin(self.roll)
        u = c * (x - self.cx) + s * (y - self.horizon)
        v = c * (y - self.horizon) - s * (x - self.cx)
        z = np.minimum(self.focal * self.height / np.maximum(v, 1e-3), 1000).astype(np.float32)
        return (u * z / self.focal - self.bend * z * z).astype(np.float32), z


class Painter:
    """Colours, surfaces and shadows of a scene, drawn at SUPERSAMPLE times the size of the frame."""

    def __init__(self, camera: Camera, size_hw: tuple[int, int], haze: float, haze_color: Color) -> None:
        size = (size_hw[1] * SUPERSAMPLE, size_hw[0] * SUPERSAMPLE)
        self.camera, self.size_hw, self.haze, self.haze_color = camera, size_hw, haze, tuple(map(float, haze_color))
        self.rgb = Image.new("RGB", size)
        self.surfaces = Image.new("L", size, Surface.SKY)
        self.shadows = Image.new("L", size)
        self._on_rgb, self._on_surfaces, self._on_shadows = map(ImageDraw.Draw, (self.rgb, self.surfaces, self.shadows))

    def polygon(self, points: Sequence[Point], color: Color, surface: Surface | None) -> None:
        """Fill a polygon of points in metres. ``surface`` None: decoration, which leaves the surface as it is."""
        fill = self.through_haze(color, sum(z for _, _, z in points) / len(points))
        self.flat(self.camera.project(points), fill, surface)

    def upright(self, points: Iterable[tuple[float, float]], z: float, color: Color, surface: Surface | None) -> None:
        """Fill a polygon of points (X, Y) that faces the camera at distance z."""
        self.flat(self.camera.project_upright(points, z), self.through_haze(color, z), surface)

    def flat(self, outline: Sequence[float], fill: tuple[int, int, int], surface: Surface | None) -> None:
        """Fill a polygon given as [x0, y0, x1, y1, ...] in pixels of the frame."""
        corners = [SUPERSAMPLE * v - 0.5 for v in outline]
        self._on_rgb.polygon(corners, fill)
        if surface is not None:
            self._on_surfaces.polygon(corners, int(surface))

    def shadow(self, points: Iterable[Point]) -> None:
        """Darken the ground under a polygon."""
        self._on_shadows.polygon([SUPERSAMPLE * v - 0.5 for v in self.camera.project(points)], 255)

    def through_haze(self, color: Color, z: float) -> tuple[int, int, int]:
        clear = math.exp(-self.haze * z)
        r, g, b = color
        hr, hg, hb = self.haze_color
        return (
            min(255, max(0, int(clear * r + (1 - clear) * hr))),
            min(255, max(0, int(clear * g + (1 - clear) * hg))),
            min(255, max(0, int(clear * b + (1 - clear) * hb))),
        )

    def pixels(self, length: float, z: float) -> float:
        """Size on the frame of a length at distance z."""
        return self.camera.focal * length / z
