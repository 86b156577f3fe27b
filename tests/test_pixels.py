"""Frames to tensors and logits to labels, against Pillow and torch."""

from __future__ import annotations

from dataclasses import replace

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


def test_a_frame_that_needs_nothing_is_not_copied():
    images = frame(16, 24)
    assert np.shares_memory(pixels.frame_to_input(images, CONTRACT), images)
    assert pixels.frame_to_input(images, CONTRACT).shape == (1, 16, 24, 3)
    out = np.empty((1, 16, 24, 3), np.uint8)
    assert pixels.frame_to_input(images, CONTRACT, out, copy=True) is out
    np.testing.assert_array_equal(out[0], images)


def test_a_frame_is_packed_in_the_contracts_order():
    images = frame(16, 24)
    np.testing.assert_array_equal(pixels.frame_to_input(images, CONTRACT, color="bgr")[0], images[..., ::-1])
    np.testing.assert_array_equal(pixels.frame_to_input(images, CONTRACT, color="rgb")[0], images)
    np.testing.assert_array_equal(
        pixels.frame_to_input(frame(40, 60), CONTRACT)[0], pixels.resize(frame(40, 60), CONTRACT.size_hw)
    )


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(100, 300), (300, 100), (16, 24), (7, 5)])
def test_labels_of_a_letterboxed_frame_lie_where_it_was(coordinates, size):
    """Logits that rise from left to right and from top to bottom, as the network sees them: each pixel of the frame
    must read the place where its centre was put.
    """
    contract = replace(
        CONTRACT, size_hw=(64, 96), fit="letterbox", stride=4, coordinates=coordinates, interpolation="bilinear"
    )
    h, w = contract.output_shape[2:]
    top, left, height, width = pixels.letterbox_window(size, contract)
    packed = pixels.frame_to_input(np.zeros((*size, 3), np.uint8), contract)[0, ..., 0]
    rows, cols = (np.flatnonzero((packed == 0).any(axis)) for axis in (1, 0))
    for n, inside, net, logits, begin, length in (
        (size[0], rows, 64, h, top, height),
        (size[1], cols, 96, w, left, width),
    ):
        centre = inside[0] + (np.arange(n) + 0.5) * len(inside) / n - 0.5  # in the network's input
        if coordinates == "half_pixel":
            want, got = (centre + 0.5) * logits / net - 0.5, begin + (np.arange(n) + 0.5) * length / n - 0.5
        elif coordinates == "asymmetric":
            want, got = centre * logits / net, begin + np.arange(n) * length / n
        else:
            want, got = centre * (logits - 1) / (net - 1), begin + np.arange(n) * (length - 1) / (n - 1)
        np.testing.assert_allclose(got, want, atol=1e-9)


def test_a_stretched_frame_has_the_whole_map():
    assert pixels.letterbox_window((100, 300), CONTRACT) is None


LOGITS = np.zeros((3, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"logits": LOGITS[0]}, "expected logits"),
        ({"logits": LOGITS.astype(np.float64)}, "float32, float16, int8, uint8, got float64"),
        ({"logits": np.zeros((4, 6, 300), np.float32), "channels_last": True}, "1 to 255 classes"),
        ({"coordinates": "corner"}, "coordinates must be one of 'half_pixel'"),
        ({"interpolation": "cubic"}, "interpolation must be"),
        ({"activation": "relu"}, "activation must be"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"window": (0, 0, 0, 3)}, "finite and not empty"),
        ({"size_hw": (0, 5)}, "at least one pixel"),
        ({"out": np.zeros((8, 12), np.int64)}, "expected out as contiguous uint8"),
        ({"out": np.zeros((8, 24), np.uint8)[:, ::2]}, "not contiguous"),
        ({"confidence": np.zeros((8, 12))}, "expected confidence as contiguous float32"),
    ],
)
def test_what_cannot_be_labelled_is_refused(wrong, match):
    with pytest.raises(ContractError, match=match):
        pixels.upsample_argmax(**{"logits": LOGITS, "size_hw": (8, 12)} | wrong)


def test_labels_and_picture_come_together():
    logits = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)
    images = frame(33, 50)
    labels, picture = pixels.upsample_overlay(logits, images, CONTRACT.colors, alpha=0.4)
    np.testing.assert_array_equal(labels, pixels.upsample_argmax(logits, (33, 50)))
    np.testing.assert_array_equal(picture, pixels.overlay(images, labels, CONTRACT.colors, 0.4))
    with pytest.raises(ContractError, match="alpha"):
        pixels.overlay(images, labels, CONTRACT.colors, 1.5)
    with pytest.raises(ContractError, match="expected uint8 labels"):
        pixels.overlay(images, labels[1:], CONTRACT.colors)


def test_overlay_mixes_and_unknown_labels_are_black():
    labels = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(pixels.colorize(labels, CONTRACT.colors), [[[255, 0, 0], [0, 255, 0], [0, 0, 0]]])
    mixed = pixels.overlay(np.full((1, 3, 3), 100, np.uint8), labels, CONTRACT.colors, alpha=0.5)
    np.testing.assert_array_equal(mixed[0, 0], [178, 50, 50])
