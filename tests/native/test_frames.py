"""Frames packed, resized, letterboxed and overlaid: against Pillow, and the compiled kernels against their twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeseg.native import _kernels, twin

SIZE = st.tuples(st.integers(1, 60), st.integers(1, 60))
SEED = st.integers(0, 2**16)
VIEWS = {
    "packed": lambda f: f,
    "mirrored": lambda f: f[:, ::-1],
    "upside down": lambda f: f[::-1],
    "other order": lambda f: f[:, :, ::-1],
    "turned": lambda f: f[::-1, ::-1],
    "transposed": lambda f: f.transpose(1, 0, 2),
    "every other": lambda f: np.repeat(np.repeat(f, 2, 0), 2, 1)[::2, ::2],
    "channels first": lambda f: np.ascontiguousarray(f.transpose(2, 0, 1)).transpose(1, 2, 0),
    "of four": lambda f: np.concatenate([f, f[:, :, :1]], 2)[:, :, :3],
}
views = st.sampled_from(sorted(VIEWS))


def made(size_hw: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


@settings(max_examples=200, deadline=None)
@given(SIZE, SIZE, views, st.booleans(), st.booleans(), SEED)
def test_both_halves_pack_to_the_same_bytes(size, input_size, view, swap_channels, letterbox, seed):
    frame = VIEWS[view](made(size, seed))
    answers = []
    for kernels, given_ in ((_kernels, frame), (twin, frame), (_kernels, np.ascontiguousarray(frame))):
        out = np.full((1, *input_size, 3), 7, np.uint8)
        kernels.frame_to_input(given_, out, swap_channels=swap_channels, letterbox=letterbox, border=114)
        answers.append(out)
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.mark.parametrize("size", [(20, 30), (61, 47), (16, 100), (5, 7), (1, 1), (40, 60), (40, 31)])
def test_resizing_is_pillows(kernels, size):
    frame = made((40, 60), 1)
    out = np.empty((1, *size, 3), np.uint8)
    kernels.frame_to_input(frame, out, swap_channels=False, letterbox=False, border=0)
    want = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(out[0].astype(int) - want).max() <= 1


def test_a_camera_of_other_shape_is_letterboxed(kernels):
    """48 x 80 into 32 x 64: two thirds of it, 32 x 53, with 5 columns to the left and 6 to the right."""
    frame = made((48, 80), 2)
    out = np.empty((1, 32, 64, 3), np.uint8)
    kernels.frame_to_input(frame, out, swap_channels=False, letterbox=True, border=99)
    assert (out[0, :, :5] == 99).all() and (out[0, :, 58:] == 99).all()
    inside = np.asarray(Image.fromarray(frame).resize((53, 32), Image.Resampling.BILINEAR))
    assert np.abs(out[0, :, 5:58].astype(int) - inside).max() <= 1


@settings(max_examples=100, deadline=None)
@given(SIZE, views, st.floats(0, 1), SEED)
def test_both_halves_overlay_to_the_same_bytes(size, view, alpha, seed):
    rng = np.random.default_rng(seed)
    frame = VIEWS[view](made(size, seed))
    labels = rng.integers(0, 256, frame.shape[:2], dtype=np.uint8)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    pictures = [np.empty(frame.shape, np.uint8) for _ in range(2)]
    for kernels, picture in zip((_kernels, twin), pictures):
        kernels.overlay(labels, frame, palette, alpha, picture)
    np.testing.assert_array_equal(*pictures)
    exact = frame * (1 - alpha) + palette[labels] * alpha
    assert np.abs(pictures[0] - exact).max() <= 1.01  # alpha itself is rounded to 1/256


def test_labels_and_picture_in_one_pass_are_those_of_two(kernels):
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((5, 6, 8)).astype(np.float32)
    frame = VIEWS["mirrored"](made((50, 70), 3))
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    options = {"channels_last": False, "coordinates": "half_pixel", "interpolation": "bilinear", "softmax": False}
    options |= {"window": (0, 0, 0, 0), "scale": 1.0}
    alone, labels = np.empty((2, 50, 70), np.uint8)
    pictures = np.empty((2, 50, 70, 3), np.uint8)
    kernels.upsample_argmax(logits, alone, **options)
    kernels.overlay(alone, frame, palette, 0.3, pictures[0])
    kernels.upsample_argmax(logits, labels, **options, frame=frame, palette=palette, alpha=0.3, picture=pictures[1])
    np.testing.assert_array_equal(alone, labels)
    np.testing.assert_array_equal(*pictures)
