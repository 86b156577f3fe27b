"""From a heavy segmentation teacher to a small, quantized, verified network on a robot, with the evidence.

Importing this package imports nothing else: each name below is loaded when it is first used, and none of them needs
torch. The verbs that make a network are functions of :mod:`edgeseg.pipeline`, which does::

    from edgeseg import Segmenter
    labels = Segmenter.load("bundle", target="openvino")(frame)  # uint8 (H, W, 3) -> uint8 (H, W)

    from edgeseg import pipeline
    run = pipeline.distill(teacher=["runs/teacher"], student="ddrnet-23-slim", data="camvid:PATH", out="runs/student")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgeseg.bundle import Bundle as Bundle
    from edgeseg.contract import Contract as Contract
    from edgeseg.measure import Measurement as Measurement
    from edgeseg.measure import Verdict as Verdict
    from edgeseg.measure.bench import bench as bench
    from edgeseg.measure.judge import judge as judge
    from edgeseg.segmenter import Segmenter as Segmenter
    from edgeseg.target import Target as Target

# A verb whose module has its own name (edgeseg.predict, edgeseg.report) is not here: the name would mean the function
# or the module, depending on what was imported before.
_HOME = {
    "Bundle": "edgeseg.bundle",
    "Contract": "edgeseg.contract",
    "Measurement": "edgeseg.measure",
    "Segmenter": "edgeseg.segmenter",
    "Target": "edgeseg.target",
    "Verdict": "edgeseg.measure",
    "bench": "edgeseg.measure",
    "judge": "edgeseg.measure",
}
__all__ = ["Bundle", "Contract", "Measurement", "Segmenter", "Target", "Verdict", "bench", "judge"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgeseg' has no attribute {name!r}; it has: {', '.join(_HOME)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
