"""Numbers that change while a training goes on, by hand."""

import pytest

from edgeseg.schedules import Ramp, Stages, at


@pytest.mark.parametrize(("progress", "want"), [(0, 0), (0.1, 5), (0.2, 10), (0.9, 10)])
def test_ramps_grow_in_proportion_and_stay(progress, want):
    assert at(Ramp(10.0, 0.2), progress) == pytest.approx(want)


@pytest.mark.parametrize(("progress", "want"), [(0, 8), (0.33, 8), (0.34, 4), (0.67, 1), (1, 1)])
def test_stages_are_of_equal_length(progress, want):
    assert at(Stages((8.0, 4.0, 1.0)), progress) == want


def test_other_values_are_themselves():
    assert at(3.0, 0.5) == 3.0
