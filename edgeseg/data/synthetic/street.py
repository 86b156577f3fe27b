"""What stands on a street, and where: one scene per generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeseg.data import IGNORE
from edgeseg.data.synthetic import things
from edgeseg.data.synthetic.light import Light, develop, sky, weather
from edgeseg.data.synthetic.painter import Camera, Painter, Surface

CLASSES = {
    "sky": (70, 130, 180),
    "building": (70, 70, 70),
    "road": (128, 64, 128),
    "pavement": (244, 35, 232),
    "vegetation": (107, 142, 35),
    "car": (0, 0, 142),
    "pedestrian": (220, 20, 60),
    "pole": (153, 153, 153),
    "sign": (220, 220, 0),
    "lane-marking": (255, 255, 255),
}
LABELS = {
    Surface.SKY: "sky",
    Surface.WALL: "building",
    Surface.ASPHALT: "road",
    Surface.PAVING: "pavement",
    Surface.FOLIAGE: "vegetation",
    Surface.GRASS: "vegetation",
    Surface.CAR: "car",
    Surface.PERSON: "pedestrian",
    Surface.POLE: "pole",
    Surface.SIGN: "sign",
    Surface.MARKING: "lane-marking",
}
_TABLE = np.full(256, IGNORE, np.uint8)
_TABLE[list(LABELS)] = [list(CLASSES).index(name) for name in LABELS.values()]

FAR = 140.0  # metres
Thing = tuple[float, Callable[[], None]]  # distance, and what paints it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The street seen from above; lengths in metres, X = 0 is the middle of our lane."""

    lane: float
    left: float  # edges of the road
    right: float
    walk: float  # width of the pavements
    verge: float  # green between pavement and buildings
    crossing: tuple[float, float] | None  # nearest and farthest Z of a cross street
    built: float  # share of the frontage with buildings; the rest is trees

    def side(self, side: int, offset: float) -> float:
        """X at ``offset`` outside of the road, on the left (-1) or the right (1)."""
        return self.left - offset if side < 0 else self.right + offset

    def free(self, z0: float, z1: float) -> bool:
        """Whether a stretch along the road keeps out of the cross street."""
        return self.crossing is None or z1 < self.crossing[0] or z0 > self.crossing[1]


def draw(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One scene: image uint8 (H, W, 3) and mask uint8 (H, W)."""
    h, w = size_hw
    plan, light = _plan(rng), weather(rng)
    camera = Camera(
        focal=w * rng.uniform(0.75, 1.0),
        cx=w * rng.uniform(0.42, 0.58),
        horizon=h * rng.uniform(0.38, 0.52),
        height=rng.uniform(1.2, 1.8),
        roll=rng.normal(0, 0.012),
        bend=rng.normal(0, 0.0012),
    )
    painter = Painter(camera, size_hw, light.haze, light.skyline)
    painter.rgb.paste(sky(light, camera.horizon, size_hw, rng))
    _skyline(painter, plan, rng)
    _ground(painter, plan, rng)
    scene = [*_frontage(painter, plan, light, rng), *_furniture(painter, plan, light, rng)]
    scene += [*_traffic(painter, plan, light, rng), *_people(painter, plan, light, rng)]
    for _, paint in sorted(scene, key=lambda thing: -thing[0]):
        paint()
    if rng.random() < 0.35:
        _hood(painter, rng)
    image, surfaces = develop(painter, light, rng)
    return image, _TABLE[surfaces]


def _plan(rng: np.random.Generator) -> Plan:
    lane = rng.uniform(2.9, 3.6)
    start = rng.uniform(14, 45)
    return Plan(
        lane=lane,
        left=-lane * (rng.integers(1, 3) + 0.5) - rng.uniform(0, 2.2),
        right=lane * (rng.integers(0, 2) + 0.5) + rng.uniform(0, 2.4),
        walk=rng.uniform(1.6, 4.5),
        verge=rng.choice([0.0, rng.uniform(0.5, 7)]),
        crossing=(start, start + rng.uniform(6, 11)) if rng.random() < 0.45 else None,
        built=rng.choice([0.95, 0.6, 0.15], p=[0.5, 0.32, 0.18]),
    )


def _skyline(p: Painter, plan: Plan, rng: np.random.Generator) -> None:
    """Trees and houses too far away to tell apart."""
    x = -160.0
    while x < 160:
        width, built = rng.uniform(4, 22), rng.random() < plan.built
        height = rng.uniform(5, 20) if built else rng.uniform(4, 11)
        top = height * (np.ones(2) if built else rng.uniform(0.5, 1, 6))
        along = np.linspace(x, x + width, len(top))
        outline = [(x, -3, FAR), *((u, t, FAR) for u, t in zip(along, top, strict=True)), (x + width, -3, FAR)]
        color = things.facade(rng) if built else things.foliage(rng)
        p.polygon(outline, color, Surface.WALL if built else Surface.FOLIAGE)
        x += width * rng.uniform(0.6, 1.2)


def _ground(p: Painter, plan: Plan, rng: np.random.Generator) -> None:
    grey = rng.uniform(78, 128)
    asphalt = grey + rng.uniform(-6, 6, 3)
    paving = grey + rng.uniform(4, 62) + rng.uniform(-1, 1) * np.array([14, 2, -14])
    grass = np.array([88, 104, 52]) + rng.uniform(-18, 18, 3)
    green = plan.verge > 0 or plan.built < 0.5

    p.polygon(_strip(-300, 300, 0, 400), grass if green else paving, Surface.GRASS if green else Surface.PAVING)
    for side in (-1, 1):
        edge = plan.side(side, 0)
        p.polygon(_strip(edge, plan.side(side, plan.walk), 0, 300), paving, Surface.PAVING)
        p.polygon(_strip(edge, plan.side(side, 0.18), 0, 60), paving * 0.75, Surface.PAVING)  # the curb
    p.polygon(_strip(plan.left, plan.right, 0, 300), asphalt, Surface.ASPHALT)
    if plan.crossing:
        p.polygon(_strip(-90, 90, *plan.crossing), asphalt, Surface.ASPHALT)
    for _ in range(rng.integers(0, 4)):  # repairs: road that looks unlike the road
        x, z = rng.uniform(plan.left, plan.right - 1), rng.uniform(3, 30)
        patch = _strip(x, min(x + rng.uniform(0.6, 3), plan.right), z, z + rng.uniform(0.8, 6))
        p.polygon(patch, asphalt * rng.uniform(0.72, 1.15), Surface.ASPHALT)
    _markings(p, plan, rng)


def _markings(p: Painter, plan: Plan, rng: np.random.Generator) -> None:
    white = np.array([205, 205, 200]) * rng.uniform(0.85, 1.12)
    middle = white if rng.random() < 0.7 else np.array([205, 160, 50]) * rng.uniform(0.85, 1.1)
    dash, gap = rng.choice([(3, 6), (2, 4), (60, 0)], p=[0.5, 0.3, 0.2])
    before, after = plan.crossing or (FAR, FAR)

    def line(x: float, z0: float, z1: float, color: np.ndarray, width: float = 0.14) -> None:
        """One stroke along the road, left out in the junction."""
        for a, b in ((z0, min(z1, before - 4)), (max(z0, after + 1), z1)):
            if b > max(a, 1):
                p.polygon(_strip(x - width / 2, x + width / 2, a, b), color, Surface.MARKING)

    offset = rng.uniform(0, dash + gap)
    for k in range(-3, 3):
        x = (k + 0.5) * plan.lane
        if plan.left + 0.8 < x < plan.right - 0.8:
            for z in np.arange(-offset, 75, dash + gap):
                line(x, z, z + dash, middle if k == -1 else white)
    if rng.random() < 0.55:
        for x in (plan.left + 0.3, plan.right - 0.3):
            line(x, 0, FAR, white)
    if plan.crossing and rng.random() < 0.75:
        _stop_here(p, plan, before - 3.4, white, zebra=rng.random() < 0.6)
    if rng.random() < 0.3:  # an arrow in our lane
        z = rng.uniform(6, 12)
        p.polygon(_strip(-0.08, 0.08, z, z + 2.4), white, Surface.MARKING)
        p.polygon([(-0.35, 0, z + 2.2), (0.35, 0, z + 2.2), (0, 0, z + 4)], white, Surface.MARKING)


def _stop_here(p: Painter, plan: Plan, z: float, white: np.ndarray, zebra: bool) -> None:
    """What is painted before a junction: a zebra crossing, or a stop line across our lanes."""
    if zebra:
        for x in np.arange(plan.left + 0.4, plan.right - 0.5, 1.0):
            p.polygon(_strip(x, x + 0.5, z, z + 2.6), white, Surface.MARKING)
    else:
        p.polygon(_strip(-plan.lane / 2, plan.right - 0.2, z + 1, z + 1.4), white, Surface.MARKING)


def _strip(x0: float, x1: float, z0: float, z1: float) -> list[tuple[float, float, float]]:
    """A stretch of ground between two X, cut often enough to follow the bend."""
    z0 = max(z0, 0.8)
    z = np.geomspace(z0, z1, 2 + int(4 * np.log(z1 / z0))).tolist()
    return [*((x0, 0, at) for at in z), *((x1, 0, at) for at in reversed(z))]


def _frontage(p: Painter, plan: Plan, light: Light, rng: np.random.Generator) -> list[Thing]:
    """Buildings, trees and hedges along both sides."""
    found: list[Thing] = []
    for side, face in ((-1, light.left), (1, light.right)):
        z, x = rng.uniform(-12, 2), plan.side(side, plan.walk + plan.verge)
        while z < 110:
            depth = rng.uniform(6, 20)
            if plan.crossing and not plan.free(z, z + depth):
                z = plan.crossing[1] + rng.uniform(0.5, 3)
            elif rng.random() < plan.built:
                back = x + side * rng.uniform(0, 2.5) * (plan.verge > 0)
                stretch = (z, z + depth)
                building = things.house(p, light, rng, back, side, stretch, face, tall=plan.built > 0.9)
                found.append((max(z, 0) + depth / 2, building))
                z += depth + (0 if rng.random() < 0.6 else rng.uniform(1, 6))
            else:
                for _ in range(rng.integers(1, 4)):
                    at = max(z + rng.uniform(0, depth), 3.0)
                    found.append((at, things.tree(p, light, rng, x + side * rng.uniform(0.5, 9), at)))
                if rng.random() < 0.5 and z + depth > 4:
                    found.append((z + depth, things.hedge(p, light, rng, x, side, (z, z + depth), face)))
                z += depth
    return found


def _furniture(p: Painter, plan: Plan, light: Light, rng: np.random.Generator) -> list[Thing]:
    """Lamps, signs, street trees, bollards and traffic lights at the edge of the pavement."""
    found: list[Thing] = []
    for side in (-1, 1):
        x = plan.side(side, 0.5)
        if rng.random() < 0.75:
            height, reach = rng.uniform(5.5, 9), rng.choice([0.0, rng.uniform(0.8, 2.2)])
            for z in np.arange(rng.uniform(4, 24), 75, rng.uniform(16, 32)):
                found.append((z, things.lamp(p, light, rng, x, z, height, -side * reach)))
        for z in rng.uniform(5, 45, rng.poisson(1.3 if side < 0 else 1.9)):
            found.append((z, things.sign(p, light, rng, x + side * rng.uniform(-0.1, 0.5), z)))
        if rng.random() < 0.4:
            for z in np.arange(rng.uniform(5, 15), 70, rng.uniform(7, 15)):
                found.append((z, things.tree(p, light, rng, x + side * 0.4, z, trim=True)))
        if rng.random() < 0.18:
            for z in np.arange(rng.uniform(4, 9), rng.uniform(15, 30), 1.6):
                found.append((z, things.bollard(p, light, x - side * 0.2, z)))
        if plan.crossing and rng.random() < 0.5:
            z = plan.crossing[0] - 0.8
            found.append((z, things.traffic_light(p, light, rng, x, z)))
    return [(z, paint) for z, paint in found if plan.free(z, z)]


def _traffic(p: Painter, plan: Plan, light: Light, rng: np.random.Generator) -> list[Thing]:
    """Cars ahead of us, coming towards us, and parked at both edges."""
    found: list[Thing] = []
    for k in range(-2, 2):
        x = k * plan.lane
        if not plan.left + 1.2 < x < plan.right - 1.2:
            continue
        z = rng.uniform(5, 40) if k else rng.uniform(9, 60)
        while z < 90 and rng.random() < 0.62:
            found.append((z, things.car(p, light, rng, x + rng.normal(0, 0.2), z, away=k >= 0)))
            z += rng.uniform(8, 35)
    for side in (-1, 1):
        x = plan.side(side, -1.05)
        if abs(x) > 2.1 and rng.random() < 0.55:
            z = rng.uniform(3, 15)
            while z < 65:
                if rng.random() < 0.65 and plan.free(z, z + 5):
                    found.append((z, things.car(p, light, rng, x, z, away=side > 0)))
                z += rng.uniform(5.4, 8)
    return found


def _people(p: Painter, plan: Plan, light: Light, rng: np.random.Generator) -> list[Thing]:
    found: list[Thing] = []
    for side in (-1, 1):
        for z in rng.uniform(4, 42, rng.poisson(1.8)):
            x = plan.side(side, rng.uniform(0.3, plan.walk - 0.3))
            found.append((z, things.person(p, light, rng, x, z)))
            if rng.random() < 0.3:
                found.append((z + 0.2, things.person(p, light, rng, x + rng.uniform(0.5, 0.8), z + 0.2)))
    for _ in range(rng.poisson(0.35)):  # on the road
        z = plan.crossing[0] - rng.uniform(1, 3.2) if plan.crossing else rng.uniform(9, 30)
        found.append((z, things.person(p, light, rng, rng.uniform(plan.left, plan.right), z)))
    return found


def _hood(p: Painter, rng: np.random.Generator) -> None:
    """The car that carries the camera: in view, and of no class."""
    h, w = p.size_hw
    turn = np.linspace(np.pi, 2 * np.pi, 40)
    centre, rise = w * rng.uniform(0.45, 0.55), h * rng.uniform(0.05, 0.13)
    outline = np.stack([centre + w * 0.62 * np.cos(turn), h + rise * np.sin(turn)], axis=1).ravel().tolist()
    shade = int(rng.uniform(15, 110))
    p.flat(outline, (shade, shade, min(255, shade + 8)), Surface.HOOD)
