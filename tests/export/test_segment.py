"""``export/python/segment.py``: thirty-odd lines that say what edgeseg says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeseg import Segmenter

pytest.importorskip("onnxruntime")
image = pytest.importorskip("PIL.Image")
SCRIPT = Path(__file__).resolve().parents[2] / "export/python/segment.py"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


@pytest.mark.parametrize("size_hw", [(32, 64), (75, 101)])
def test_its_labels_are_edgesegs(tiny_bundle, tmp_path, size_hw):
    picture = image.fromarray(tiny_bundle.golden().frames[0]).resize(size_hw[::-1], image.Resampling.NEAREST)
    picture.save(tmp_path / "frame.png")
    done = run(tiny_bundle.path, tmp_path / "frame.png", tmp_path / "labels.png")
    assert done.returncode == 0, done.stderr
    ours = Segmenter.load(tiny_bundle, "onnxruntime")(np.asarray(picture))
    assert np.mean(np.asarray(image.open(tmp_path / "labels.png")) == ours) >= 0.999


def test_another_contract_is_refused(tiny_bundle, tmp_path):
    file = tiny_bundle.path / "contract.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fit": "letterbox"}))
    done = run(tiny_bundle.path, "frame.png", "labels.png")
    assert done.returncode == 1 and "the usual contract, not fit letterbox" in done.stderr
