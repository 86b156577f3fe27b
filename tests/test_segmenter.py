"""A robot's view: frames in, label maps out, whatever their size, and nothing allocated on the way."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from edgeseg import Segmenter, pixels
from edgeseg.bundle import Bundle
from edgeseg.segmenter import Pool
from edgeseg.target import Target

ENGINES = ("openvino", "onnxruntime")


@pytest.fixture
def frames(tiny_bundle) -> np.ndarray:
    return tiny_bundle.golden().frames


@pytest.fixture(params=ENGINES)
def segmenter(request, tiny_bundle) -> Segmenter:
    pytest.importorskip(request.param)
    return Segmenter.load(tiny_bundle, request.param)


def test_frames_may_be_anywhere_in_memory(segmenter, frames):
    want = segmenter(frames[0]).copy()
    read_only = np.frombuffer(frames[0].tobytes(), np.uint8).reshape(frames[0].shape)  # as messages arrive
    padded = np.zeros((32, 80, 3), np.uint8)
    padded[:, :64] = frames[0]
    for frame in (read_only, padded[:, :64], np.asfortranarray(frames[0])):
        np.testing.assert_array_equal(segmenter(frame), want)


def test_a_camera_with_the_other_order_of_channels_is_told_so(tiny_bundle, frames):
    pytest.importorskip("openvino")
    want = Segmenter.load(tiny_bundle, "openvino")(frames[0]).copy()
    bgr = Segmenter.load(tiny_bundle, "openvino", color="bgr")
    np.testing.assert_array_equal(bgr(frames[0][..., ::-1].copy()), want)
    np.testing.assert_array_equal(bgr(frames[0][..., ::-1]), want)


def test_a_map_is_the_callers_while_it_is_held(segmenter, frames):
    first = segmenter(frames[0])
    kept = first.copy()
    view = segmenter(frames[1])[:4]
    assert not np.shares_memory(view, first)
    for frame in (*frames, *frames):
        segmenter(frame)
    np.testing.assert_array_equal(first, kept)
    address = first.ctypes.data
    del first
    assert address in {segmenter(frames[0]).ctypes.data for _ in range(3)}


def test_keeping_every_map_is_allowed():
    pool = Pool()
    held = [pool.take((4, 6)) for _ in range(10)]
    assert len({m.ctypes.data for m in held}) == 10
    assert pool.take((5, 6)).shape == (5, 6)


def test_a_frame_that_fits_is_read_where_it_lies(segmenter, frames):
    assert np.shares_memory(segmenter.prepare(frames[0]), frames[0])
    flipped = segmenter.prepare(frames[0][:, ::-1])
    assert np.shares_memory(flipped, segmenter.prepare(frames[1][:, ::-1]))  # one buffer for all that do not


def test_nothing_is_allocated_after_the_first_frames(segmenter):
    frames = np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), dtype=np.uint8)
    for i in range(8):
        labels = segmenter(frames[i % 4])
    gc.collect()
    tracemalloc.start()
    for i in range(20):
        labels = segmenter(frames[i % 4])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels.shape == (480, 640)
    assert peak < 20_000  # bytes: a few small objects; the label map has 307,200


def test_a_stream_is_the_frames_one_by_one(segmenter, frames):
    camera = np.empty_like(frames[0])

    def into_one_buffer():
        for i in range(7):
            camera[...] = frames[i % 2]
            yield camera

    want = [segmenter(frames[i % 2]).copy() for i in range(7)]
    got = [labels.copy() for labels in segmenter.stream(into_one_buffer())]
    np.testing.assert_array_equal(got, want)


def test_a_stream_may_change_its_size_and_end_at_once(segmenter, frames):
    large = np.repeat(np.repeat(frames[0], 2, 0), 2, 1)
    sizes = [labels.shape for labels in segmenter.stream([frames[0], large, large, frames[1]])]
    assert sizes == [(32, 64), (64, 128), (64, 128), (32, 64)]
    assert list(segmenter.stream([])) == []
    assert len(list(segmenter.stream(frames[:1]))) == 1


def test_a_stream_works_while_the_engine_does(tiny_bundle, frames):
    """The second frame is taken before the engine has answered the first."""
    contract, taken = tiny_bundle.contract, threading.Event()

    class Waiting:
        library, threads = "waiting", 1

        def __call__(self, given: np.ndarray) -> np.ndarray:
            assert taken.wait(10), "nobody took a second frame"
            return np.zeros(contract.output_shape, np.float32)

    def camera():
        yield frames[0]
        taken.set()
        yield frames[1]

    segmenter = Segmenter(tiny_bundle, Target(backend="waiting"), Waiting())
    assert len(list(segmenter.stream(camera()))) == 2


def test_leaving_a_stream_early_ends_its_thread(segmenter, frames):
    before = threading.active_count()
    stream = segmenter.stream(frames[i % 2] for i in range(100))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_what_breaks_an_engine_reaches_the_caller(tiny_bundle, frames):
    class Broken:
        library, threads = "broken", 1

        def __call__(self, given: np.ndarray) -> np.ndarray:
            raise RuntimeError("the cable is loose")

    segmenter = Segmenter(tiny_bundle, Target(backend="broken"), Broken())
    with pytest.raises(RuntimeError, match="cable"):
        list(segmenter.stream(frames))


def of(bundle: Bundle, answer: np.ndarray, **changes: object) -> Segmenter:
    """A segmenter whose engine always gives that answer."""

    class Constant:
        library, threads = "constant", 1

        def __call__(self, given: np.ndarray) -> np.ndarray:
            return answer

    changed = replace(bundle, contract=replace(bundle.contract, **changes))
    return Segmenter(changed, Target(backend="constant"), Constant())


def test_the_contract_says_how_labels_are_made(tiny_bundle, frames):
    logits = np.random.default_rng(3).normal(size=(1, 3, 4, 8)).astype(np.float32) * 4
    for options in (
        {},
        {"coordinates": "align_corners"},
        {"interpolation": "nearest", "coordinates": "asymmetric"},
        {"activation": "softmax"},
    ):
        want = pixels.upsample_argmax(logits[0], (32, 64), **options)
        np.testing.assert_array_equal(of(tiny_bundle, logits, **options)(frames[0]), want)
    channels_last = np.ascontiguousarray(logits.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    want = pixels.upsample_argmax(logits[0], (32, 64))
    np.testing.assert_array_equal(of(tiny_bundle, channels_last)(frames[0]), want)


def test_a_letterboxed_frame_gets_labels_of_its_own_part(tiny_bundle):
    """A frame twice as high as wide fills the middle quarter of the input: columns 24 to 40 of 64."""
    logits = np.zeros((1, 3, 4, 8), np.float32)
    logits[0, 1, :, 3:5] = 1  # stride 8: what the frame covers
    labels = of(tiny_bundle, logits, fit="letterbox")(np.zeros((64, 32, 3), np.uint8))
    assert labels.shape == (64, 32) and (labels[:, 2:-2] == 1).all()


def test_labels_that_the_network_makes_are_taken_as_they_are(tiny_bundle, frames):
    answer = np.random.default_rng(0).integers(0, 3, (1, 32, 64))
    segmenter = of(tiny_bundle, answer, output="labels", stride=1)
    np.testing.assert_array_equal(segmenter(frames[0]), answer[0])
    twice = segmenter(np.zeros((64, 128, 3), np.uint8))
    np.testing.assert_array_equal(twice, answer[0].repeat(2, 0).repeat(2, 1))
    tall = of(tiny_bundle, answer, output="labels", stride=1, fit="letterbox")(np.zeros((64, 32, 3), np.uint8))
    np.testing.assert_array_equal(tall, answer[0][:, 24:40].repeat(2, 0).repeat(2, 1))
