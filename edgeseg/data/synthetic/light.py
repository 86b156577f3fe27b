"""Weather, and the steps from flat colours to a photograph: texture, shadow, haze, exposure, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from edgeseg.data.synthetic.painter import GROUND, SUPERSAMPLE, Color, Painter, Surface

NOISE = 512  # side of a noise tile, a power of two
FINE, MEDIUM, COARSE, HUGE = range(4)
BLUE_SHADOW = np.array([1.06, 1.0, 0.9], np.float32)  # what is left in a shadow is the light of the sky


@dataclass(frozen=True, kw_only=True)
class Light:
    zenith: Color  # RGB of the sky overhead
    skyline: Color  # RGB of the sky at the horizon, and of haze
    clouds: float  # share of the sky, roughly
    haze: float  # per metre
    sun: tuple[float, float] | None  # metres of shadow along X and Z per metre of height; None: overcast
    left: float  # brightness of faces on the left of the street, which look to the right
    right: float
    front: float  # of faces that look at the camera
    exposure: float
    tint: Color
    noise: float  # grey levels at mid grey


def weather(rng: np.random.Generator) -> Light:
    """A clear, an overcast or an evening sky, with the sun anywhere."""
    kind = rng.choice(3, p=[0.5, 0.33, 0.17])
    side, ahead = rng.uniform(-1.6, 1.6), rng.uniform(-1.2, 1.2)  # where shadows fall
    spread = 0.0 if kind == 1 else 0.28
    return Light(
        zenith=np.array([(70, 120, 190), (175, 180, 188), (95, 100, 150)][kind]) + rng.uniform(-18, 18, 3),
        skyline=np.array([(190, 210, 228), (208, 210, 212), (232, 190, 150)][kind]) + rng.uniform(-12, 12, 3),
        clouds=rng.uniform(0, 0.7) if kind != 1 else rng.uniform(0.2, 1),
        haze=float(np.exp(rng.uniform(np.log(0.0015), np.log(0.012)))),
        sun=None if kind == 1 else (side, ahead),
        left=0.85 + spread * np.clip(side, -1, 1) * -1,
        right=0.85 + spread * np.clip(side, -1, 1),
        front=0.85 + spread * np.clip(ahead, -1, 1),
        exposure=rng.uniform(0.75, 1.2) * (0.8 if kind == 2 else 1),
        tint=rng.uniform(0.94, 1.06, 3),
        noise=rng.uniform(1.5, 7),
    )


def develop(painter: Painter, light: Light, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The photograph uint8 (H, W, 3) and the surface of each pixel uint8 (H, W)."""
    h, w = painter.size_hw
    rgb = np.asarray(painter.rgb.reduce(SUPERSAMPLE), np.float32)  # (H, W, 3)
    surfaces = np.asarray(painter.surfaces)[::SUPERSAMPLE, ::SUPERSAMPLE]  # (H, W)
    x, z = painter.camera.ground((h, w))
    ground = np.isin(surfaces, GROUND)

    rgb *= (1 + _texture(surfaces, x, z, rng))[..., None]
    if light.sun is not None:
        shadows = painter.shadows.reduce(SUPERSAMPLE).filter(ImageFilter.BoxBlur(0.6))
        dark = np.asarray(shadows, np.float32) * (ground * (rng.uniform(0.35, 0.6) / 255))
        rgb *= 1 - dark[..., None] * BLUE_SHADOW
    haze = np.where(ground, 1 - np.exp(-painter.haze * z), 0).astype(np.float32)[..., None]  # the rest was painted hazy
    rgb += haze * (np.asarray(painter.haze_color, np.float32) - rgb)
    return _expose(rgb, light, rng), surfaces


def sky(light: Light, horizon: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A gradient from zenith to skyline with clouds, as large as the painter's canvas; all of it is smooth."""
    h, w = size_hw[0] // 2, size_hw[1] // 2
    up = np.clip(1 - np.arange(h, dtype=np.float32) * 2 / max(horizon, 1), 0, 1)[:, None, None]  # (h, 1, 1)
    skyline, zenith = np.asarray(light.skyline, np.float32), np.asarray(light.zenith, np.float32)
    v, u = np.mgrid[:h, :w].astype(np.float32) * (320 / w)
    shape = 0.8 * _sample(HUGE, u * 0.8, v * 2, rng) + 0.35 * _sample(COARSE, u * 0.8, v * 2, rng)  # (h, w)
    share = np.clip((shape + 2.2 * light.clouds - 1.2) / 0.9, 0, 1)[..., None] * 0.8
    white = np.minimum(skyline * 0.6 + 105, 250) - 18 * np.clip(shape, 0, 2)[..., None]
    colors = (skyline + (zenith - skyline) * up**0.7) * (1 - share) + white * share  # (h, w, 3)
    canvas = Image.fromarray(colors.clip(0, 255).astype(np.uint8))
    return canvas.resize((size_hw[1] * SUPERSAMPLE, size_hw[0] * SUPERSAMPLE), Image.Resampling.BILINEAR)


def _texture(surfaces: np.ndarray, x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Relative brightness (H, W) around 0. Ground textures lie on the ground; others face the camera."""
    h, w = surfaces.shape
    v, u = np.mgrid[:h, :w].astype(np.float32) * (320 / w)
    near = np.exp(-z / 14)  # fine detail is lost with distance
    layers = {
        Surface.ASPHALT: lambda i: (
            0.07 * near[i] * _sample(FINE, x[i] * 45, z[i] * 45, rng)
            + 0.07 * _sample(COARSE, x[i] * 14, z[i] * 5, rng)
            + 0.05 * _sample(HUGE, x[i] * 12, z[i] * 12, rng)
            - 0.07 * np.exp(-(((np.abs(x[i]) - 0.8) / 0.3) ** 2))  # wheel tracks of our lane
        ),
        Surface.MARKING: lambda i: -0.3 * np.clip(_sample(COARSE, x[i] * 60, z[i] * 30, rng), 0, 1.5),  # wear
        Surface.PAVING: lambda i: (
            0.05 * near[i] * _sample(FINE, x[i] * 45, z[i] * 45, rng)
            + 0.07 * _sample(COARSE, x[i] * 12, z[i] * 12, rng)
            - 0.16 * np.exp(-z[i] / 25) * ((x[i] / 0.6 % 1 < 0.1) | (z[i] / 0.6 % 1 < 0.1))  # joints between slabs
        ),
        Surface.GRASS: lambda i: (
            0.16 * _sample(MEDIUM, x[i] * 25, z[i] * 12, rng) + 0.13 * _sample(HUGE, x[i] * 14, z[i] * 14, rng)
        ),
        Surface.FOLIAGE: lambda i: (
            0.13 * _sample(FINE, u[i], v[i], rng)
            + 0.2 * _sample(MEDIUM, u[i], v[i], rng)
            + 0.13 * _sample(COARSE, u[i], v[i], rng)
        ),
        Surface.WALL: lambda i: 0.04 * _sample(FINE, u[i], v[i], rng) + 0.07 * _sample(COARSE, u[i], v[i] * 0.6, rng),
        Surface.CAR: lambda i: 0.05 * _sample(COARSE, u[i], v[i] * 2, rng),  # reflections
        Surface.PERSON: lambda i: 0.08 * _sample(MEDIUM, u[i], v[i], rng),
    }
    gain = np.zeros((h, w), np.float32)
    for surface, layer in layers.items():
        at = np.nonzero(surfaces == surface)
        gain[at] = layer(at)
    return gain


def _expose(rgb: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    h, w = rgb.shape[:2]
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)[None]
    slope = rng.uniform(-0.12, 0.12, 2)
    field = (1 + slope[0] * x + slope[1] * y) * (1 - rng.uniform(0, 0.2) * (x * x + y * y) / 2)  # gradient, vignette
    rgb = rgb * (field * light.exposure)[..., None] * np.asarray(light.tint, np.float32)
    softened = Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(rng.uniform(0, 0.6)))
    seen = np.asarray(softened, np.float32)
    seen = seen + rng.standard_normal(rgb.shape, np.float32) * np.sqrt((seen + 20) * light.noise**2 / 148)  # shot noise
    return seen.clip(0, 255).astype(np.uint8)


def _sample(band: int, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit variance at (u, v), the tile laid at a place of its own each time."""
    du, dv = rng.integers(NOISE, size=2)
    return _noise()[band][(v.astype(np.int32) + dv) & (NOISE - 1), (u.astype(np.int32) + du) & (NOISE - 1)]


@cache
def _noise() -> np.ndarray:
    """Tiles (4, NOISE, NOISE) of noise smoothed over 0, 2, 6 and 24 pixels, seamless at their edges."""
    spectrum = np.fft.fft2(np.random.default_rng(0).standard_normal((NOISE, NOISE)))
    frequency = np.fft.fftfreq(NOISE)
    square = frequency[:, None] ** 2 + frequency[None] ** 2
    tiles = [np.fft.ifft2(spectrum * np.exp(-2 * (np.pi * radius) ** 2 * square)).real for radius in (0, 2, 6, 24)]
    return np.stack([(t - t.mean()) / t.std() for t in tiles]).astype(np.float32)
