"""The things that stand on a street.

Each function lays the thing's shadow at once and returns what paints the thing later, when all that is farther away has
been painted. ``x``, ``z`` is where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgeseg.data.synthetic.light import Light
from edgeseg.data.synthetic.painter import NEAR, Color, Painter, Surface

Paint = Callable[[], None]
CIRCLE = [(math.cos(2 * math.pi * k / 14), math.sin(2 * math.pi * k / 14)) for k in range(14)]

FACADES = np.array([(168, 150, 128), (150, 96, 76), (186, 178, 164), (120, 116, 112), (196, 168, 120), (142, 148, 156)])
PAINTS = np.array(
    [(40, 42, 46), (150, 152, 155), (205, 205, 205), (100, 104, 110), (128, 30, 28), (34, 56, 104), (60, 84, 66)]
)
CLOTHES = np.array([(34, 36, 48), (70, 70, 74), (52, 66, 104), (120, 44, 44), (160, 150, 132), (66, 92, 72)])
BLACK, LIT = (24, 24, 26), (220, 205, 160)


def facade(rng: np.random.Generator) -> np.ndarray:
    return FACADES[rng.integers(len(FACADES))] * rng.uniform(0.75, 1.15) + rng.uniform(-12, 12, 3)


def foliage(rng: np.random.Generator) -> np.ndarray:
    return np.array([62, 88, 40]) * rng.uniform(0.7, 1.35) + rng.uniform(-16, 16, 3)


def house(
    p: Painter,
    light: Light,
    rng: np.random.Generator,
    x: float,
    side: int,
    stretch: tuple[float, float],
    face: float,
    tall: bool,
) -> Paint:
    """A building whose street front, ``face`` bright, stands at ``x`` over a stretch of Z. Low ones have gables."""
    z0, z1 = max(stretch[0], NEAR), stretch[1]
    floors = int(rng.integers(3, 8) if tall else rng.integers(1, 4))
    eaves, deep = floors * rng.uniform(2.8, 3.4) + 0.8, x + side * rng.uniform(8, 16)
    gable, ridge = eaves + (0 if tall else rng.uniform(2, 4)), (x + deep) / 2
    wall, glass, base = facade(rng), rng.uniform(25, 70) + np.array([0, 4, 12]), rng.uniform(0.5, 1.1)
    roof = np.array([112, 62, 48]) * rng.uniform(0.6, 1.2) if rng.random() < 0.6 else np.full(3, rng.uniform(50, 90))
    columns = max(1, int((stretch[1] - stretch[0]) / rng.uniform(2.2, 3.6)))
    lit = rng.random((floors, columns)) < 0.12
    _cast_box(p, light, (x, deep), (z0, z1), gable)

    def windows(at: Callable[[float], tuple[float, float]], count: int, color: np.ndarray) -> None:
        """Panes on a wall; ``at`` tells X and Z at a share of its length."""
        storey = eaves / (floors + 0.25)
        for column in range(count):
            (xa, za), (xb, zb) = at((column + 0.28) / count), at((column + 0.72) / count)
            if max(za, zb) <= NEAR:
                continue
            for floor in range(floors):
                y0, y1 = (floor + 0.35) * storey, (floor + 0.85) * storey
                shade = LIT if lit[floor, column % columns] else color
                p.polygon([(xa, y0, za), (xa, y1, za), (xb, y1, zb), (xb, y0, zb)], shade, None)

    def paint() -> None:
        if gable > eaves:
            slope = [(x, eaves, z0), (ridge, gable, z0), (ridge, gable, z1), (x, eaves, z1)]
            p.polygon(slope, roof * face, Surface.WALL)
        p.polygon([(x, 0, z0), (x, eaves, z0), (x, eaves, z1), (x, 0, z1)], wall * face, Surface.WALL)
        end = [(x, 0, z0), (x, eaves, z0), (ridge, gable, z0), (deep, eaves, z0), (deep, 0, z0)]
        p.polygon(end, wall * light.front, Surface.WALL)
        p.polygon([(x, 0, z0), (x, 3, z0), (x, 3, z1), (x, 0, z1)], wall * face * base, None)  # ground floor
        if z0 < 70:
            windows(lambda t: (x, stretch[0] + t * (z1 - stretch[0])), columns, glass * face)
        if 4 < z0 < 70:
            windows(lambda t: (x + t * (deep - x), z0), 3, glass * light.front)

    return paint


def tree(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float, trim: bool = False) -> Paint:
    """Trunk and crown, both vegetation. ``trim``: a street tree with a crown above the heads of passers-by."""
    height = rng.uniform(4.5, 7.5) if trim else rng.uniform(3.5, 12)
    spread = height * rng.uniform(0.2, 0.32)
    bottom = 2.4 if trim else height * rng.uniform(0.08, 0.35)
    conifer = not trim and rng.random() < 0.25
    bark = np.array([84, 70, 56]) * rng.uniform(0.6, 1.2)
    leaf = foliage(rng) + np.array([45, 12, -12]) * (rng.random() < 0.15)  # autumn
    count = 26 if z < 20 else 16 if z < 40 else 9
    angle, radius = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.random(count))
    out, up = np.cos(angle) * radius, np.sin(angle) * radius
    order = np.argsort(up)  # from the shaded bottom to the lit top
    size, tone = rng.uniform(0.22, 0.5, count) * spread, rng.uniform(0.75, 1.2, count)
    blobs = np.stack([out, up, size, tone], axis=1)[order].tolist()
    _cast_crown(p, light, rng, x, z, (bottom + height) / 2, spread)
    _cast_stick(p, light, x, z, bottom + 0.5, 0.3)

    def paint() -> None:
        _post(p, x, z, 0, bottom + (height - bottom) * 0.4, 0.05 * height**0.7, bark * light.front, Surface.FOLIAGE)
        if conifer:
            for k in range(4):
                y, half = bottom + (height - bottom) * k / 4.5, spread * (1 - k / 5)
                top = min(height, y + (height - bottom) * 0.45)
                tier = [(x - half, y), (x, top), (x + half, y), (x, y + 0.2)]
                p.upright(tier, z, leaf * light.front * (0.7 + 0.08 * k), Surface.FOLIAGE)
            return
        middle, half = (bottom + height) / 2, (height - bottom) / 2
        for dx, dy, size, tone in blobs:
            color = leaf * (light.front * (0.85 + 0.25 * dy) * tone)
            _disc(p, x + dx * spread * 0.75, middle + dy * (half - size * 0.5), z, size, color, Surface.FOLIAGE)

    return paint


def hedge(
    p: Painter, light: Light, rng: np.random.Generator, x: float, side: int, stretch: tuple[float, float], face: float
) -> Paint:
    z0, z1 = max(stretch[0], 1.5), max(stretch[1], 2.5)
    height, leaf = rng.uniform(0.7, 2.0), foliage(rng)
    front = list(zip((height * rng.uniform(0.85, 1.1, 8)).tolist(), np.linspace(z0, z1, 8).tolist(), strict=True))
    _cast_box(p, light, (x, x + side), (z0, z1), height)

    def paint() -> None:
        top, back = [(x, y, z) for y, z in front], [(x + side, y, z) for y, z in front]
        p.polygon([*top, *back[::-1]], leaf * 1.15, Surface.FOLIAGE)
        p.polygon([(x, 0, z0), *top, (x, 0, z1)], leaf * face, Surface.FOLIAGE)
        p.polygon([(x, 0, z0), top[0], back[0], (x + side, 0, z0)], leaf * light.front, Surface.FOLIAGE)

    return paint


def lamp(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float, height: float, reach: float) -> Paint:
    """A street lamp, its arm reaching ``reach`` metres to the right (negative: left)."""
    color = (rng.uniform(55, 150) + rng.uniform(-5, 5, 3)) * light.front
    _cast_stick(p, light, x, z, height, 0.15)

    def paint() -> None:
        _post(p, x, z, 0, height, 0.09, color, Surface.POLE)
        _post(p, x, z, 0, 0.9, 0.13, color * 0.9, Surface.POLE)
        thick, end, y = max(0.06, 1.2 / p.pixels(1, z)), x + reach, height + 0.35
        if reach:
            p.upright([(x, height), (end, y), (end, y - thick), (x, height - thick)], z, color, Surface.POLE)
        _panel(p, end - 0.32, end + 0.32, y - 0.15, y + 0.07, z, color * 1.2, Surface.POLE)

    return paint


SIGNS: tuple[tuple[Sequence[tuple[float, float]], Color, Color], ...] = (  # outline, rim, field
    (CIRCLE, (180, 32, 36), (225, 225, 222)),
    ([(-1.05, -0.75), (1.05, -0.75), (0, 1.05)], (180, 32, 36), (228, 226, 205)),
    ([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)], (30, 70, 160), (60, 104, 190)),
    ([(-1.7, -0.6), (1.7, -0.6), (1.7, 0.6), (-1.7, 0.6)], (24, 96, 70), (226, 228, 226)),
)


def sign(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float) -> Paint:
    """A plate on a pole, one in seven seen from behind."""
    outline, rim, field = SIGNS[rng.integers(len(SIGNS))]
    height, size = rng.uniform(2.2, 3.0), rng.uniform(0.32, 0.5)
    grey = np.full(3, rng.uniform(105, 150)) * light.front
    behind = rng.random() < 0.15
    _cast_stick(p, light, x, z, height, 0.12)

    def paint() -> None:
        _post(p, x, z, 0, height, 0.045, grey * 0.9, Surface.POLE)
        y = height - size * 0.6
        for scale, color in ((size, rim), (size * 0.7, field)):
            plate = [(x + u * scale, y + v * scale) for u, v in outline]
            p.upright(plate, z, grey if behind else np.asarray(color) * light.front, Surface.SIGN)
        if not behind:
            _panel(p, x - 0.35 * size, x + 0.35 * size, y - 0.1 * size, y + 0.12 * size, z, (40, 40, 44), None)

    return paint


def traffic_light(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float) -> Paint:
    """A mast, and a box with one lamp lit, which counts as a sign."""
    lit, grey = int(rng.integers(3)), np.full(3, rng.uniform(60, 110)) * light.front
    _cast_stick(p, light, x, z, 3.4, 0.2)

    def paint() -> None:
        _post(p, x, z, 0, 3.0, 0.08, grey, Surface.POLE)
        _panel(p, x - 0.22, x + 0.22, 2.5, 3.5, z, (34, 36, 36), Surface.SIGN)
        _disc(p, x, 2.68 + 0.32 * lit, z, 0.14, ((70, 230, 140), (250, 190, 60), (250, 60, 50))[lit], None)

    return paint


def bollard(p: Painter, light: Light, x: float, z: float) -> Paint:
    def paint() -> None:
        _post(p, x, z, 0, 0.95, 0.07, np.full(3, 88) * light.front, Surface.POLE)
        _post(p, x, z, 0.75, 0.85, 0.07, np.full(3, 190) * light.front, Surface.POLE)

    return paint


def car(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float, away: bool) -> Paint:
    """A car or a van whose nearer end, its rear if ``away``, has its middle at (x, z)."""
    van = rng.random() < 0.18
    half, length = rng.uniform(0.85, 0.98), rng.uniform(3.9, 4.8) + van
    belt, top = rng.uniform(0.82, 0.95), rng.uniform(1.4, 1.65) + van * rng.uniform(0.4, 0.8)
    body = PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.75, 1.2) + rng.uniform(-10, 10, 3)
    glass = rng.uniform(20, 60) + np.array([0, 5, 12])
    begin, end = (0.12, 0.75) if van else (0.16, 0.68) if away else (0.3, 0.86)  # the cabin, as shares of the length
    flank = 1 if x < 0 else -1  # the side that the camera sees
    lit, shaded = light.front, light.left if flank > 0 else light.right
    rear = z + length
    _cast_box(p, light, (x - half, x + half), (z, rear), top * 0.8)
    p.shadow([(x - half - 0.1, 0, z - 0.1), (x + half + 0.1, 0, z - 0.1), (x + half, 0, rear), (x - half, 0, rear)])

    def level(y: float, width: float, near: float, far: float) -> list[tuple[float, float, float]]:
        """A horizontal rectangle: left near, right near, right far, left far."""
        return [(x - width, y, near), (x + width, y, near), (x + width, y, far), (x - width, y, far)]

    def paint() -> None:
        low0, low1 = z + length * begin, z + length * end
        deck, cabin = level(belt, half, z, low0), level(belt, half, low0, low1)
        roof = level(top, half * 0.68, low0 + length * 0.1, low1 - length * 0.1)
        xs = x + flank * half
        p.polygon(level(0, half, z, rear), BLACK, Surface.CAR)  # the dark between the wheels
        p.polygon(roof, body * 1.1, Surface.CAR)
        near, far = (1, 2) if flank > 0 else (0, 3)  # corners on the side in view
        pillar = [cabin[near], roof[near], roof[far], cabin[far]]
        p.polygon(pillar, body * shaded, Surface.CAR)
        p.polygon(_shrink(pillar, 0.8), glass * shaded, None)
        p.polygon([(xs, 0.28, z), (xs, belt, z), (xs, belt, rear), (xs, 0.28, rear)], body * shaded * 0.9, Surface.CAR)
        for share in (0.18, 0.8):
            _wheel(p, xs + flank * 0.01, z + length * share)
        p.polygon(deck, body * 1.1, Surface.CAR)
        screen = [cabin[0], cabin[1], roof[1], roof[0]]
        p.polygon(screen, body * lit, Surface.CAR)
        p.polygon(_shrink(screen, 0.84), glass * lit, None)
        for tyre in (x - half + 0.02, x + half - 0.26):
            _panel(p, tyre, tyre + 0.24, 0, 0.4, z, BLACK, Surface.CAR)
        _panel(p, x - half, x + half, 0.26, belt, z, body * lit, Surface.CAR)
        _panel(p, x - half, x + half, 0.26, 0.46, z, body * lit * 0.6, None)  # bumper
        for lamps in (x - half + 0.06, x + half - 0.38):
            _panel(p, lamps, lamps + 0.32, belt - 0.26, belt - 0.1, z, (165, 24, 24) if away else (225, 225, 210), None)
        _panel(p, x - 0.26, x + 0.26, 0.5, 0.62, z, np.array([215, 215, 205]) * lit, None)  # number plate

    return paint


def person(p: Painter, light: Light, rng: np.random.Generator, x: float, z: float) -> Paint:
    tall, stride, lean = rng.uniform(1.45, 1.9), rng.uniform(-0.3, 0.3), rng.uniform(-0.05, 0.05)
    coat, legs = (CLOTHES[rng.integers(len(CLOTHES))] * rng.uniform(0.7, 1.3) * light.front for _ in range(2))
    skin = np.array([200, 158, 132]) * rng.uniform(0.45, 1.1) * light.front
    hair = np.array([52, 40, 32]) * rng.uniform(0.4, 2) * light.front
    wide, hip, neck = rng.uniform(0.19, 0.27), 0.5 * tall, 0.84 * tall
    _cast_stick(p, light, x, z, tall, 0.4)

    def limb(x0: float, y0: float, x1: float, y1: float, half: float, color: np.ndarray) -> None:
        outline = [(x0 - half, y0), (x0 + half, y0), (x1 + half * 0.7, y1), (x1 - half * 0.7, y1)]
        p.upright(outline, z, color, Surface.PERSON)

    def paint() -> None:
        for foot in (stride, -stride):
            limb(x + foot * 0.1, hip, x + foot, 0, 0.1, legs)
        for swing in (stride, -stride):
            shoulder = x + math.copysign(wide, swing)
            limb(shoulder, neck - 0.05, shoulder - swing * 0.6, hip, 0.065, coat)
        limb(x + lean, neck, x, hip - 0.08, wide, coat * 0.94)
        _disc(p, x + lean, tall - 0.1, z, 0.13, hair, Surface.PERSON)
        _disc(p, x + lean, tall - 0.14, z, 0.1, skin, Surface.PERSON)

    return paint


def _panel(
    p: Painter, x0: float, x1: float, y0: float, y1: float, z: float, color: Color, surface: Surface | None
) -> None:
    """An upright rectangle that faces the camera."""
    p.upright([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], z, color, surface)


def _post(
    p: Painter, x: float, z: float, y0: float, y1: float, half: float, color: np.ndarray, surface: Surface
) -> None:
    """A post with a shaded side, at least one pixel wide: thinner, it would leave the mask in pieces."""
    half = max(half, 0.55 / p.pixels(1, z))
    _panel(p, x - half, x + half, y0, y1, z, color, surface)
    _panel(p, x, x + half, y0, y1, z, color * 0.8, None)


def _disc(p: Painter, x: float, y: float, z: float, radius: float, color: Color, surface: Surface | None) -> None:
    p.upright([(x + radius * u, y + radius * v) for u, v in CIRCLE], z, color, surface)


def _wheel(p: Painter, x: float, z: float) -> None:
    p.polygon([(x, 0.32 + 0.32 * v, z + 0.32 * u) for u, v in CIRCLE], BLACK, Surface.CAR)
    p.polygon([(x, 0.32 + 0.16 * v, z + 0.16 * u) for u, v in CIRCLE], (110, 110, 114), None)


def _shrink(points: Sequence[tuple[float, float, float]], share: float) -> list[tuple[float, ...]]:
    """The same outline, drawn in towards its middle."""
    middle = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    return [tuple(m + share * (v - m) for v, m in zip(point, middle, strict=True)) for point in points]


def _cast_box(p: Painter, light: Light, xs: tuple[float, float], zs: tuple[float, float], height: float) -> None:
    """The shadow of a box: its top as it falls on the ground, and what its four walls sweep on the way there."""
    if light.sun is None:
        return
    foot = [(xs[0], 0, zs[0]), (xs[1], 0, zs[0]), (xs[1], 0, zs[1]), (xs[0], 0, zs[1])]
    cast = [(x + light.sun[0] * height, 0, z + light.sun[1] * height) for x, _, z in foot]
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        p.shadow([foot[a], foot[b], cast[b], cast[a]])
    p.shadow(cast)


def _cast_crown(
    p: Painter, light: Light, rng: np.random.Generator, x: float, z: float, height: float, radius: float
) -> None:
    ragged = (radius * rng.uniform(0.65, 1.15, len(CIRCLE))).tolist()
    if light.sun is not None:
        x, z = x + light.sun[0] * height, z + light.sun[1] * height
        p.shadow([(x + r * u, 0, z + r * v) for r, (u, v) in zip(ragged, CIRCLE, strict=True)])


def _cast_stick(p: Painter, light: Light, x: float, z: float, height: float, width: float) -> None:
    if light.sun is not None:
        x1, z1 = x + light.sun[0] * height, z + light.sun[1] * height
        p.shadow([(x, 0, z), (x + width, 0, z), (x1 + width, 0, z1), (x1, 0, z1)])
