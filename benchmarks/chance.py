"""Which differences between ways of training are more than chance.

A seed decides the first weights and the batches, alike for all ways: seeds are blocks, and a way is compared with the
base seed by seed (Fisher 1935, "The Design of Experiments", randomised blocks). What neither the way nor the seed
explains is chance; its standard deviation is pooled over all ways, as few runs each say little of their own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeseg.measure.comparison import student_t

ERROR = 0.05  # that any difference is taken for more than chance, where none is
Scores = Mapping[str, float]  # by seed


def scores(tried: Mapping[str, Any]) -> dict[str, float]:
    """The mean IoU of each seed, in percent."""
    return {seed: 100 * found["miou"] for seed, found in sorted(tried["seeds"].items())}


def mean_and_spread(way: Scores) -> str:
    mean = f"{statistics.mean(way.values()):.1f}"
    return f"{mean} ± {statistics.stdev(way.values()):.1f}" if len(way) > 1 else mean


@dataclass(frozen=True)
class Chance:
    spread: float  # standard deviation of a run, once its way and its seed are accounted for
    degrees: int  # of freedom; 0 where the runs are too few to say anything
    comparisons: int

    @classmethod
    def of(cls, base: Scores, others: Sequence[Scores]) -> Chance:
        """Least squares, so that ways may lack seeds."""
        ways = [base, *others]
        seeds = sorted({seed for way in ways for seed in way})
        runs = [(i, seeds.index(seed), value) for i, way in enumerate(ways) for seed, value in way.items()]
        design = np.zeros((len(runs), len(ways) + len(seeds)))
        for row, (way, seed, _) in enumerate(runs):
            design[row, way] = design[row, len(ways) + seed] = 1
        values = np.array([value for *_, value in runs])
        fitted, _, rank, _ = np.linalg.lstsq(design, values)
        degrees = len(runs) - int(rank)
        spread = math.sqrt(np.square(values - design @ fitted).sum() / degrees) if degrees else math.inf
        return cls(spread, degrees, len(others))

    def bound(self, seeds: int) -> float:
        """The largest difference of two means over so many common seeds that chance explains (Bonferroni)."""
        if not self.degrees or not seeds:
            return math.inf
        return student_t(1 - ERROR / (2 * self.comparisons), self.degrees) * self.spread * math.sqrt(2 / seeds)

    def gain(self, base: Scores, way: Scores) -> tuple[float, str]:
        """Of a way over the base, in points over the seeds that both have; and what it amounts to, nothing where the
        runs do not say."""
        common = base.keys() & way.keys()
        gain = statistics.mean(way[seed] - base[seed] for seed in common) if common else math.nan
        bound = self.bound(len(common))
        if not common or math.isinf(bound):
            return gain, ""
        return gain, "gains" if gain > bound else "loses" if gain < -bound else "within noise"

    def says(self, *seeds: int) -> str:
        """In words, for ways of so many seeds."""
        if not self.degrees:
            return "One seed each: it says nothing of chance."
        bounds = [f"{self.bound(n):.1f} over {n} seeds" for n in sorted(set(seeds), reverse=True)]
        return (
            "A seed decides the first weights and the batches, alike for all ways, so a way is compared with the base "
            f"seed by seed. The standard deviation of a run, once its way and its seed are accounted for, is "
            f"{self.spread:.2f} points; a difference of {' or '.join(bounds)} could be chance: "
            f"with {self.comparisons} ways compared, the bound is that of a {ERROR:.0%} error over all of them "
            "(Bonferroni)."
        )
