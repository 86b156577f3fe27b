"""Labels and confidence against torch's interpolate, softmax and argmax, and the compiled kernel against its twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeseg.native import _kernels, twin

CLASSES = st.sampled_from([1, 2, 3, 19, 32, 33, 64, 150, 255])
SMALL = st.tuples(st.integers(1, 20), st.integers(1, 20))
LARGE = st.tuples(st.integers(1, 70), st.integers(1, 70))
SEED = st.integers(0, 2**16)
TYPES = st.sampled_from(["float32", "float16", "int8", "uint8"])
COORDINATES = st.sampled_from(["half_pixel", "align_corners"])
many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made(shape: tuple[int, ...], dtype: str, seed: int, odd: float = 0.0) -> np.ndarray:
    """Smooth or noisy logits; of floats, the share ``odd`` is NaN or infinite."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(shape) * 3
    if seed % 3 == 0:  # neighbours alike, so that most cells have one survivor
        logits = np.cumsum(np.cumsum(logits, 1), 2) / 10 + rng.standard_normal((shape[0], 1, 1))
    if dtype == "int8":
        return np.clip(logits * 10, -128, 127).astype(np.int8)
    if dtype == "uint8":
        return np.clip(logits * 10 + 128, 0, 255).astype(np.uint8)
    logits = logits.astype(dtype)
    where = rng.random(shape) < odd
    logits[where] = rng.choice([np.nan, np.inf, -np.inf], where.sum())
    return logits


def upsampled(logits: np.ndarray, size_hw: tuple[int, int], coordinates: str = "half_pixel") -> torch.Tensor:
    """(K, H, W), as torch has it of the same values in float32."""
    values = torch.from_numpy(logits.astype(np.float32))[None]
    return F.interpolate(values, size_hw, mode="bilinear", align_corners=coordinates == "align_corners")[0]


def assert_best(labels: np.ndarray, values: torch.Tensor, tolerance: float) -> None:
    """Each label is the argmax, or within the tolerance of it; where a NaN or an infinity wins, it is the argmax."""
    chosen = values.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    best, argmax = values.max(0)
    equal = argmax.numpy() == labels
    near = (torch.isfinite(best) & (best - chosen <= tolerance)).numpy()
    assert (equal | near).all()


def ulps(logits: np.ndarray, n: int = 4) -> float:
    """``n`` units in the last place of the largest finite logit."""
    values = np.abs(logits[np.isfinite(logits)].astype(np.float32))
    return n * float(np.spacing(values.max(initial=0)))


@many
@given(CLASSES, SMALL, LARGE, TYPES, COORDINATES, st.booleans(), SEED)
def test_labels_are_torchs(label, classes, small, large, dtype, coordinates, channels_last, seed):
    logits = made((classes, *small), dtype, seed)
    given_ = np.ascontiguousarray(logits.transpose(1, 2, 0)) if channels_last else logits
    labels = label(given_, large, coordinates=coordinates, channels_last=channels_last)
    assert_best(labels, upsampled(logits, large, coordinates), ulps(logits))


@many
@given(CLASSES, SMALL, LARGE, st.sampled_from(["float32", "float16"]), COORDINATES, SEED)
def test_nan_and_infinity_are_answered_as_in_torch(label, classes, small, large, dtype, coordinates, seed):
    logits = made((classes, *small), dtype, seed, odd=0.04)
    assert_best(
        label(logits, large, coordinates=coordinates), upsampled(logits, large, coordinates), tolerance=ulps(logits)
    )


@many
@given(CLASSES, SMALL, LARGE, TYPES, COORDINATES, SEED, st.sampled_from([0.0, 0.0, 0.02]))
def test_confidence_is_the_softmax_at_the_label(label, classes, small, large, dtype, coordinates, seed, odd):
    logits = made((classes, *small), dtype, seed, odd)
    labels, confidence = label(logits, large, coordinates=coordinates, scale=0.25, confident=True)
    values = upsampled(logits, large, coordinates)
    assert_best(labels, values, ulps(logits))
    want = torch.softmax(values * 0.25, 0).max(0).values
    torch.testing.assert_close(torch.from_numpy(confidence), want, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 64])
@pytest.mark.parametrize("spread", [0.1, 1, 5, 30, 200])
def test_confidence_holds_where_rows_are_evenly_spaced(label, factor, spread):
    """There powers are multiplied up from row to row, which must not add up to an error, nor overflow."""
    logits = np.random.default_rng(factor).standard_normal((19, 7, 9)).astype(np.float32) * spread
    large = (7 * factor, 9 * factor)
    _, confidence = label(logits, large, confident=True)
    want = torch.softmax(upsampled(logits, large).double(), 0).max(0).values.float()
    torch.testing.assert_close(torch.from_numpy(confidence), want, rtol=0, atol=max(1e-5, ulps(logits, 2)))


@many
@given(CLASSES, SMALL, LARGE, TYPES, SEED)
def test_softmax_may_come_first(label, classes, small, large, dtype, seed):
    logits = made((classes, *small), dtype, seed)
    labels, confidence = label(logits, large, softmax=True, scale=0.25, confident=True)
    shares = upsampled(torch.softmax(torch.from_numpy(logits.astype(np.float32)) * 0.25, 0).numpy(), large)
    assert_best(labels, shares, 1e-6)
    torch.testing.assert_close(torch.from_numpy(confidence), shares.max(0).values, rtol=0, atol=1e-5)
    assert_best(label(logits, large, softmax=True, scale=0.25), shares, 1e-6)


@many
@given(CLASSES, SMALL, LARGE, SEED, st.sampled_from([0.0, 0.05]))
@pytest.mark.parametrize(("coordinates", "mode"), [("asymmetric", "nearest"), ("half_pixel", "nearest-exact")])
def test_nearest_is_torchs(label, coordinates, mode, classes, small, large, seed, odd):
    logits = made((classes, *small), "float32", seed, odd)
    want = F.interpolate(torch.from_numpy(logits)[None], large, mode=mode)[0].argmax(0)
    labels = label(logits, large, coordinates=coordinates, interpolation="nearest")
    np.testing.assert_array_equal(labels, want)


@many
@given(
    SMALL, LARGE, SEED, st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    st.tuples(st.floats(-2, 10), st.floats(-2, 10), st.floats(0.5, 30), st.floats(0.5, 30)) | st.none(),
)  # fmt: skip
def test_a_window_covers_its_part_of_the_map(label, small, large, seed, coordinates, window):
    logits = made((5, *small), "float32", seed)
    if window and coordinates == "align_corners":  # from centre to centre
        window = (*window[:2], window[2] + 0.5, window[3] + 0.5)
    top, left, height, width = window or (0, 0, *small)

    def at(n: int, begin: float, length: float, size: int) -> np.ndarray:
        i = np.arange(n)
        if coordinates == "half_pixel":
            source = begin + (i + 0.5) * length / n - 0.5
        elif coordinates == "asymmetric":
            source = begin + i * length / n
        else:
            source = begin + i * (length - 1) / max(n - 1, 1)
        return np.clip(source, 0, size - 1)

    def blend(values: np.ndarray, where: np.ndarray, axis: int) -> np.ndarray:
        lower = np.floor(where).astype(int)
        shape = (-1, 1) if axis == 1 else (-1,)
        weight = (where - lower).reshape(shape)
        upper = np.minimum(lower + 1, values.shape[axis] - 1)
        return values.take(lower, axis) * (1 - weight) + values.take(upper, axis) * weight

    rows = blend(logits.astype(float), at(large[0], top, height, small[0]), 1)
    exact = blend(rows, at(large[1], left, width, small[1]), 2)
    labels = label(logits, large, coordinates=coordinates, window=window or (0, 0, 0, 0))
    assert_best(labels, torch.from_numpy(exact), 1e-4)


@many
@given(CLASSES, SMALL, LARGE, TYPES, COORDINATES, st.booleans(), st.booleans(), SEED, st.sampled_from([0.0, 0.02]))
def test_the_compiled_kernel_and_its_twin_agree(
    classes, small, large, dtype, coordinates, channels_last, confident, seed, odd
):
    logits = made((classes, *small), dtype, seed, odd)
    options = {"channels_last": channels_last, "coordinates": coordinates, "interpolation": "bilinear"}
    options |= {"softmax": False, "window": (0, 0, 0, 0), "scale": 0.5}
    if channels_last:
        logits = np.ascontiguousarray(logits.transpose(1, 2, 0))
    answers = []
    for kernels in (_kernels, twin):
        labels = np.empty(large, np.uint8)
        confidence = np.empty(large, np.float32) if confident else None
        kernels.upsample_argmax(logits, labels, **options, confidence=confidence)
        answers.append((labels, confidence))
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    if confident:
        np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=0, atol=1e-5, equal_nan=True)


def test_ties_go_to_the_lower_class(label):
    assert (label(np.ones((40, 3, 4), np.float32), (24, 33)) == 0).all()
    logits = np.zeros((40, 1, 2), np.float32)
    logits[[7, 33]] = 1
    assert (label(logits, (8, 16)) == 7).all()


def test_two_classes_cross_where_the_line_does(label):
    """0 to 3 against 1.1: at -0.375, -0.125, 0.125, 0.375, ... of the way, and 0.375 * 3 is the first above."""
    logits = np.array([[[0.0, 3.0]], [[1.1, 1.1]]], np.float32)
    np.testing.assert_array_equal(label(logits, (1, 8)), [[1, 1, 1, 0, 0, 0, 0, 0]])
    _, confidence = label(logits, (1, 8), confident=True)
    np.testing.assert_allclose(confidence[0, [0, 7]], [1 / (1 + np.exp(-1.1)), 1 / (1 + np.exp(-1.9))], atol=1e-5)


def test_far_classes_do_not_disturb_the_confidence(label):
    logits = np.full((255, 2, 2), -13.0, np.float32)
    logits[4] = 0
    _, confidence = label(logits, (9, 9), confident=True)
    np.testing.assert_allclose(confidence, 1 / (1 + 254 * np.exp(-13.0)), atol=1e-5)
