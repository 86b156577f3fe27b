"""What the tables of ``benchmarks/`` say of trainings: which differences are chance, and what a way costs."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


@pytest.fixture
def chance():
    from chance import Chance

    return Chance


def test_by_hand(chance):
    base, way = {"0": 40.0, "1": 36.0}, {"0": 41.0, "1": 39.0}
    # Means of ways 38 and 40, of seeds 40.5 and 37.5, of all 39: each run is half a point from what they add up to.
    found = chance.of(base, [way])
    assert (found.spread, found.degrees) == (pytest.approx(1), 1)
    assert found.bound(2) == pytest.approx(12.706, abs=1e-3)  # t of one degree, times sqrt(2 / 2)
    assert found.gain(base, way) == (2, "within noise")


def test_a_seed_that_is_good_for_all_is_no_chance(chance):
    base, way = {"0": 40.0, "1": 36.0, "2": 37.0}, {"0": 42.0, "1": 38.1, "2": 38.9}
    found = chance.of(base, [way])
    assert found.gain(base, way) == (pytest.approx(2), "gains")
    assert found.gain(way, base) == (pytest.approx(-2), "loses")
    lucky = chance.of(base | {"1": 46.0}, [way | {"1": 48.1}])
    assert lucky.spread == pytest.approx(found.spread)


def test_one_seed_says_nothing(chance):
    found = chance.of({"0": 40.0}, [{"0": 50.0}, {"0": 30.0}])
    assert math.isinf(found.bound(1)) and found.gain({"0": 40.0}, {"0": 50.0}) == (10, "")
    assert "nothing of chance" in found.says(1)


def test_ways_that_lack_seeds_are_compared_where_they_have_them(chance):
    base = {"0": 40.0, "1": 30.0, "2": 35.0}
    whole, part = {"0": 41.0, "1": 30.9, "2": 36.1}, {"0": 41.0}
    found = chance.of(base, [whole, part])
    assert found.degrees == 2  # seven runs, of which five numbers say what ways and seeds are
    assert found.gain(base, part)[0] == 1 and found.bound(1) == pytest.approx(found.bound(3) * math.sqrt(3))
    assert math.isnan(found.gain(base, {})[0])


def test_where_nothing_differs_something_is_said_once_in_twenty_times(chance):
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        runs = rng.normal(0, 1, (9, 3)) + rng.normal(0, 3, 3)  # of nine ways; and seeds that differ more
        base, *ways = ({str(seed): value for seed, value in enumerate(way)} for way in runs)
        found = chance.of(base, ways)
        wrong += any(found.gain(base, way)[1] != "within noise" for way in ways)
    assert wrong <= 33  # 5 % of 400 are 20, and three standard deviations 13


def test_costs_are_told_beside_the_base():
    from costs import columns

    base = {"cost": {"samples_ms": {"base": [10.0, 11.0, 12.0]}, "more_mib": 0.0}}
    way = {"cost": {"samples_ms": {"base": [10.0, 20.0, 10.0], "way": [15.0, 40.0, 12.0]}, "more_mib": 64.4}}
    assert columns(base, "base") == ["11 ms", ""]
    assert columns(way, "base") == ["1.50x", "+64 MiB"]
    assert columns({}, "base") == ["", ""]


def test_what_labels_bring_bounds_what_footage_may():
    from semi import BASE, what_labels_bring

    def found(*means):
        return {
            f"{share} {BASE}": {"seeds": {str(i): {"miou": mean + i / 1000} for i in range(3)}}
            for share, mean in zip(("1-8", "1-4", "1-2"), means, strict=True)
        }

    assert "More labels bring +10.0 points, gains. That is room" in what_labels_bring("small", found(0.3, 0.35, 0.4))
    assert "lacks steps and not labels" in what_labels_bring("small", found(0.3, 0.3, 0.3))
    assert what_labels_bring("small", {}) == ""


def test_footage_is_weighed_beside_the_same_losses_without_it():
    from semi import ranking

    def trained(mean):
        seeds = {str(i): {"miou": (mean + i) / 100, "per_class": {"road": mean / 100}} for i in range(3)}
        return {"seeds": {seed: score | {"seconds": 10, "steps": 200} for seed, score in seeds.items()}}

    found = {
        "1-8 labels alone": trained(30),
        "1-8 mean teacher": trained(31),
        "1-8 labels alone + distilled": trained(40),
        "1-8 unimatch + distilled": trained(43),
    }
    page = ranking("small", "1-8", found)
    assert "| mean teacher | 32.0 ± 1.0 | +1.0 | gains |  |" in page
    assert "| labels alone + distilled | 41.0 ± 1.0 | +10.0 | gains |  |" in page
    assert "| unimatch + distilled | 44.0 ± 1.0 | +13.0 | gains | +3.0 gains |" in page
    assert "with 4 ways compared" in page
    assert "What unimatch + distilled bought" in page and "| road | 40.0 | 43.0 | +3.0 |" in page
    assert ranking("small", "1-8", {name: found[name] for name in found if "labels alone" in name}) == ""


def test_results_under_two_teachers_do_not_mix(tmp_path):
    from ledger import Ledger

    ledger = Ledger(tmp_path / "results.json")
    ledger.under(Taught("a" * 64))
    ledger.under(Taught("a" * 64))
    with pytest.raises(SystemExit, match=r"under another teacher \(aaaaaaaaaaaa, not bbbbbbbbbbbb\)"):
        ledger.under(Taught("b" * 64))
    assert ledger.found()["teacher"]["weights_sha256"] == "a" * 64
    ledger.under(Taught("b" * 64), "1-8 teacher")


class Taught:
    """A run, as far as a ledger looks at it."""

    def __init__(self, digest):
        score = {"miou": 0.6, "per_class": {"road": 0.6}}
        self.digest = digest
        self.facts = {"metrics": score, "seconds": 9.7, "recipe": {"steps": 10}, "network": {"name": "unet"}}

    def identity(self):
        return {"weights_sha256": self.digest}
