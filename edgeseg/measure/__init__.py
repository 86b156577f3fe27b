"""Measuring: time a bundle, check its answers, watch the host, and judge.

``bench`` takes the samples, ``Measurement`` keeps them, ``judge`` says MET, MISSED or INVALID and why. ``Confusion``,
``agreement`` and ``Evaluation`` say how right the labels are.
"""

from __future__ import annotations

from edgeseg.measure.accuracy import Confusion, Evaluation, agreement
from edgeseg.measure.bench import bench, golden_check
from edgeseg.measure.boundary import boundary_f1
from edgeseg.measure.host import Facts, Host, Reading
from edgeseg.measure.judge import Verdict, judge
from edgeseg.measure.latency import Samples
from edgeseg.measure.measurement import Baseline, Golden, Measurement

__all__ = [
    "Baseline",
    "Confusion",
    "Evaluation",
    "Facts",
    "Golden",
    "Host",
    "Measurement",
    "Reading",
    "Samples",
    "Verdict",
    "agreement",
    "bench",
    "boundary_f1",
    "golden_check",
    "judge",
]
