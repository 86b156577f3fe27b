"""The stopwatch, on a segmenter whose stages cost what we say."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import samples

from edgeseg.measure.latency import STAGES, Stopwatch


class Slow:
    """Prepares in 3 ns, infers in 50 ns, labels in 7 ns."""

    def __init__(self, clock):
        self.clock = clock

    def prepare(self, frame):
        self.clock.now += 3
        return "images"

    def infer(self, images):
        assert images == "images"
        self.clock.now += 50
        return "logits"

    def labels(self, logits, size_hw):
        assert (logits, size_hw) == ("logits", (4, 6))
        self.clock.now += 7


def test_stages_are_timed_apart_and_add_up(clock):
    watch = Stopwatch(Slow(clock), clock)
    for _ in range(2):
        watch.time(np.zeros((4, 6, 3), np.uint8))
        clock.now += 1000  # between frames: nobody's time
    taken = watch.samples(origin_ns=10**9)
    assert taken.started_ns == (0, 1060)
    assert (taken.prepare_ns, taken.infer_ns, taken.labels_ns) == ((3, 3), (50, 50), (7, 7))
    assert taken.total_ns == (60, 60) and len(taken) == 2


def test_statistics_by_hand():
    taken = samples([10, 20, 30, 40])
    assert taken.percentile_ms(50) == 30 and taken.max_ms() == 40 and taken.mean_ms() == 25
    assert taken.fps == pytest.approx(40)  # 1000 / mean, not the mean of the rates
    assert taken.percentile_ms(50, "prepare") == 3
    assert taken.late(30) == 1  # 30 ms is in time
    assert sum(taken.mean_ms(s) for s in STAGES if s != "total") == pytest.approx(taken.mean_ms())
