"""Percentiles and how sure one can be of them, without assuming a distribution.

Latencies have long tails and several modes, so nothing here fits a curve: a percentile is a value that was observed,
and its interval runs from one observed value to another. The interval follows from counting: of n independent
samples, the number below the true p-quantile is binomial(n, p) (David and Nagaraja, Order Statistics, 3rd ed., 7.1;
Hahn and Meeker, Statistical Intervals, ch. 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95  # of each bound by itself; Target.min_samples asks for the same


class Interval(NamedTuple):
    """Where a percentile lies; a bound that the samples cannot give is infinite."""

    low: float
    high: float


def percentile(samples: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100), rounded up to a value that was observed, never interpolated below it."""
    return float(np.percentile(np.asarray(samples), q, method="higher"))


def percentile_interval(samples: Sequence[float], q: float, confidence: float = CONFIDENCE) -> Interval:
    """Bounds of the q-th percentile, each of which holds with ``confidence`` (both together: 2 * confidence - 1).

    With n sorted samples, the l-th is above the true percentile with probability P(B <= l - 1) and the u-th is below
    it with P(B >= u), B ~ binomial(n, q / 100). We take the largest l and the smallest u for which these are at most
    ``1 - confidence``. The 99th percentile has an upper bound from 299 samples on: before, even the slowest frame may
    well be faster than it.
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    at_most = _binomial_cdf(len(ordered), q / 100)  # at_most[k] = P(B <= k), k = 0 .. n
    doubt = 1 - confidence
    lower = int(np.searchsorted(at_most, doubt, side="right"))  # number of k with P(B <= k) <= doubt, the largest l
    upper = int(np.searchsorted(at_most, confidence, side="left")) + 1  # smallest u with P(B <= u - 1) >= confidence
    return Interval(
        float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        float(ordered[upper - 1]) if upper <= len(ordered) else math.inf,
    )


def _binomial_cdf(n: int, p: float) -> np.ndarray:
    """P(B <= k) for k = 0 .. n, summed in logarithms so that thousands of samples do not underflow."""
    k = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_mass = log_factorial[n] - log_factorial - log_factorial[::-1] + k * math.log(p) + (n - k) * math.log1p(-p)
    cdf: np.ndarray = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return cdf
