"""Numbers as text."""

from __future__ import annotations

import pytest

from edgeseg.report import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.537, "0.54"), (8.934, "8.93"), (26.14, "26.1"), (104.4, "104"), (float("inf"), "∞"), (None, "–")],
)
def test_ms(value, text):
    assert units.ms(value) == text


def test_nearly_all_is_not_all():
    assert units.percent(0.99996, 2) == "99.99%" and units.percent(1.0, 2) == "100.00%"
    assert units.percent(0.6549) == "65.5%" and units.percent(0.0) == "0.0%" and units.percent(None) == "–"


@pytest.mark.parametrize(("value", "text"), [(0.0041, "+0.4"), (-0.012, "−1.2"), (0.0002, "0.0"), (-0.0002, "0.0")])
def test_points_have_a_sign_unless_there_is_no_difference(value, text):
    assert units.points(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (5_900_000, "5.9 MB"), (2_500_000_000, "2.5 GB"), (None, "–")]
)
def test_size(count, text):
    assert units.size(count) == text


def test_sentences_leave_names_alone():
    assert units.sentence("p99 is 3 ms") == "p99 is 3 ms."
    assert units.sentence("the host was loaded") == "The host was loaded."
    assert units.sentence("3 of 300 frames were late") == "3 of 300 frames were late."


def test_width_comes_first():
    assert units.hw((360, 480)) == "480 × 360"
