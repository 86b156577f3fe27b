"""Outlines, scored by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.errors import ContractError
from edgeseg.measure.boundary import boundary_f1, grown, outline


def square(top: int, left: int, side: int = 20, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[top : top + side, left : left + side] = 1
    return labels


def test_equal_maps_score_one_and_empty_ones_nothing():
    assert boundary_f1(square(5, 5), square(5, 5), 2) == 1.0
    assert np.isnan(boundary_f1(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8), 2))


def test_an_outline_is_what_touches_another_class():
    mask = square(10, 10, side=4) == 1
    assert outline(mask).sum() == 12  # a ring of 4x4
    assert not outline(np.ones((5, 5), bool)).any()  # the image's own border is no boundary


def test_growing_is_by_a_disc():
    point = np.zeros((7, 7), bool)
    point[3, 3] = True
    assert grown(point, 1.0).sum() == 5
    assert grown(point, 1.5).sum() == 9
    assert grown(point, 2.0).sum() == 13
    point[:] = False
    point[0, 0] = True
    assert grown(point, 1.0).sum() == 3


def test_half_a_boundary_by_hand():
    """Tolerance is 1 at this size (0.0075 x 100): the left of two columns of boundary is found, none of the other."""
    truth, labels = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[:, 20:50] = 1
    labels[:, 20:40] = 1
    # Either class: outlines are two columns in both maps; one of each meets one of the other's.
    assert boundary_f1(labels, truth, 2) == pytest.approx(0.5)
    assert boundary_f1(np.roll(truth, 1, axis=1), truth, 2) == 1.0  # a pixel aside is within tolerance


def test_unknown_pixels_are_nobodys_fault():
    truth, labels = square(10, 10), square(10, 10)
    truth[40:] = 255
    labels[45:50, 60:70] = 1
    assert boundary_f1(labels, truth, 2) == 1.0


def test_a_class_that_is_only_in_one_map_scores_nothing():
    labels = square(10, 10)
    assert boundary_f1(labels, np.zeros_like(labels), 2) == 0.0


def test_sizes_must_agree():
    with pytest.raises(ContractError, match="one size"):
        boundary_f1(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), 2)
