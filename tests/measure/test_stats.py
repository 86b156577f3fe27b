"""Percentiles against values worked out by hand, and the promise of their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeseg.measure.stats import percentile, percentile_interval
from edgeseg.target import Target


def test_a_percentile_is_a_value_that_was_seen():
    assert percentile([1, 2, 3, 10], 50) == 3  # 2.5 would be interpolated, 2 would be below it
    assert percentile([4, 1, 3, 2, 5], 50) == 3
    assert percentile([1, 2, 3, 10], 99) == 10


def test_interval_of_a_median_by_hand():
    # binomial(10, 1/2): P(B <= 1) = 11/1024 and P(B <= 2) = 56/1024 > 5 %, so the 2nd and, by symmetry, the 9th.
    assert percentile_interval(list(range(1, 11)), 50) == (2, 9)


@pytest.mark.parametrize("q", [90, 95, 99, 99.9])
def test_an_upper_bound_needs_as_many_samples_as_the_target_says(q):
    n = Target(backend="null", percentile=q).min_samples
    assert percentile_interval(range(n), q).high == n - 1
    assert percentile_interval(range(n - 1), q).high == math.inf


def test_few_samples_give_no_bounds():
    assert percentile_interval([1, 2, 3], 50) == (-math.inf, math.inf)


def test_the_interval_holds_as_often_as_it_says():
    """Each bound at 95 %: over 2000 draws of a known distribution, no more than about 5 % on the wrong side."""
    draws = np.random.default_rng(0).exponential(size=(2000, 400))
    truth = -math.log(0.01)  # the 99th percentile of the exponential distribution
    bounds = np.array([percentile_interval(d, 99) for d in draws])
    assert 0.01 < (bounds[:, 0] > truth).mean() <= 0.06
    assert 0.01 < (bounds[:, 1] < truth).mean() <= 0.06


def test_many_samples_do_not_underflow():
    low, high = percentile_interval(np.arange(100_000), 99)
    assert 98_940 < low < 99_000 < high < 99_060
