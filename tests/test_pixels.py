"""Frames to tensors and logits to labels, against Pillow and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeseg import pixels
from edgeseg.contract import Contract
from edgeseg.errors import ContractError

CONTRACT = Contract(
    size_hw=(16, 24), classes=("a", "b"), colors=((255, 0, 0), (0, 255, 0)), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0)
)


def frame(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def test_a_frame_that_fits_is_handed_over_uncopied():
    fitting = frame(16, 24)
    given = pixels.frame_to_input(fitting, CONTRACT)
    assert given.shape == CONTRACT.input_shape and given.dtype == np.uint8
    assert np.shares_memory(given, fitting)


def test_a_frame_of_any_size_or_stride_is_taken():
    large = frame(33, 50)
    assert pixels.frame_to_input(large[:, ::-1], CONTRACT).shape == (1, 16, 24, 3)
    np.testing.assert_array_equal(
        pixels.frame_to_input(large[:, ::-1], CONTRACT), pixels.frame_to_input(large[:, ::-1].copy(), CONTRACT)
    )


@pytest.mark.parametrize(
    "bad", [np.zeros((16, 24), np.uint8), np.zeros((16, 24, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(bad):
    with pytest.raises(ContractError, match="expected a uint8 frame"):
        pixels.frame_to_input(bad, CONTRACT)


@pytest.mark.parametrize("size", [(20, 30), (61, 47), (16, 100), (5, 7), (40, 60)])
def test_resize_is_pillows_bilinear(size):
    source = frame(40, 60)
    want = np.asarray(Image.fromarray(source).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(pixels.resize(source, size).astype(int) - want).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    classes=st.sampled_from([1, 2, 3, 19]),
    small=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    large=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**16),
)
def test_labels_are_those_of_upsampling_every_class(classes, small, large, seed):
    logits = np.random.default_rng(seed).standard_normal((classes, *small)).astype(np.float32)
    upsampled = F.interpolate(torch.from_numpy(logits)[None], large, mode="bilinear", align_corners=False)[0]
    labels = pixels.upsample_argmax(logits, large)
    assert labels.dtype == np.uint8 and labels.shape == large
    # Two classes within float rounding of each other may be told apart either way; no other pixel may differ.
    best = upsampled.max(0).values
    chosen = upsampled.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    assert (best - chosen).max() <= 1e-5


def test_a_tie_goes_to_the_lower_class():
    assert (pixels.upsample_argmax(np.ones((3, 2, 2), np.float32), (8, 8)) == 0).all()


def test_overlay_mixes_and_unknown_labels_are_black():
    labels = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(pixels.colorize(labels, CONTRACT.colors), [[[255, 0, 0], [0, 255, 0], [0, 0, 0]]])
    mixed = pixels.overlay(np.full((1, 3, 3), 100, np.uint8), labels, CONTRACT.colors, alpha=0.5)
    np.testing.assert_array_equal(mixed[0, 0], [178, 50, 50])
