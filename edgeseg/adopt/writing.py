"""Writing the bundle of a recognised model: graph, proof beside the original, golden frames, int8 if it is worth it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg import golden
from edgeseg.adopt import proof
from edgeseg.adopt import quantize as int8
from edgeseg.adopt.ends import Model
from edgeseg.adopt.proof import Proof, Run
from edgeseg.adopt.quantize import Limits, Quantized
from edgeseg.adopt.recognise import Recognised
from edgeseg.bundle import Bundle, seal, sha256
from edgeseg.contract import Contract
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import BuildRefused, DataError

FRAMES = 24  # for the comparison with the original
SCORED = 100  # for that of int8 with float
CALIBRATION = 300
MIN_SAME = 0.9999  # float rounding may tip a tie; anything else shows on far more pixels
MIN_SAME_HALF = 0.999  # a model that takes or returns half floats has rounded what the bundle has not
Listen = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The bundle, what was cut off and what was left, and the original beside it."""

    bundle: Bundle
    cut: tuple[str, ...]
    left: str
    proof: Proof
    int8: Quantized | None = None  # where it was asked for; the bundle holds it unless it says why not

    @property
    def sentence(self) -> str:
        """``cut Softmax, Resize x8 linear, ArgMax; labels equal on 100.00 % of 24 frames; 78 -> 48 ms``."""
        cut = f"cut {', '.join(self.cut)}" if self.cut else "nothing to cut"
        p = self.proof
        parts = [cut, self.left, f"labels equal on {p.agreement:.2%} of {p.frames} frames"]
        parts.append(f"{p.before_ms:.1f} → {p.after_ms:.1f} ms")
        return "; ".join([*filter(None, parts), *([self.int8.sentence] if self.int8 else [])])


def write(
    model: Model,
    found: Recognised,
    source: Path,
    dataset: Dataset,
    folder: Path,
    limits: Limits | None,
    listen: Listen,
) -> Adopted:
    """The bundle in ``folder / "bundle"``, proved."""
    contract, path = found.contract, folder / "bundle"
    path.mkdir()
    graph = path / f"float{model.suffix}"
    model.write(found.ends, contract, graph)
    (path / "contract.json").write_text(contract.to_json())
    run = proof.engine(model.engine, graph)

    listen("comparing with the original")
    proved = _prove(model, found, source, run, dataset, folder)
    listen("choosing golden frames")
    frames, truth = golden.choose(dataset, contract, proof.adopted(run, contract))
    reference = _answers(run, frames)
    quantized_answers = reference
    facts = _facts(found, source, dataset, proved, run.library)
    quantized = None
    if limits is not None:
        listen("quantizing")
        quantized, int8_run = _quantize(graph, contract, dataset, limits)
        facts["quantization"] = {"by": "nncf", **asdict(quantized)}
        if quantized.refused is None:
            quantized_answers = _answers(int8_run, frames)
            facts["convolutions"] = int8.convolutions(path / f"int8-cpu{model.suffix}", model.engine)
        else:
            for file in path.glob("int8-cpu.*"):
                file.unlink()
    np.savez_compressed(
        path / "golden.npz", frames=frames, truth=truth, logits_float=reference, logits_int8=quantized_answers
    )
    seal(path, facts)
    return Adopted(bundle=Bundle.load(path), cut=found.cut, left=found.left, proof=proved, int8=quantized)


def _prove(model: Model, found: Recognised, source: Path, run: Any, dataset: Dataset, folder: Path) -> Proof:
    """Original and bundle on the same frames. Raises BuildRefused where they do not give the same labels."""
    contract = found.contract
    untouched = folder / f"original{model.suffix}"
    model.write_original(found.output.name, untouched)
    theirs = proof.original(proof.untouched(model.engine, untouched), found)
    frames = [golden.at_size(dataset[i], contract)[0] for i in golden.spaced(dataset, FRAMES)]
    proved = proof.compare(theirs, proof.adopted(run, contract), frames)
    least = MIN_SAME_HALF if np.float16 in (found.input.dtype, found.output.dtype) else MIN_SAME
    if proved.agreement < least:
        raise BuildRefused(
            f"the bundle labels {proved.agreement:.3%} of the pixels of {proved.frames} frames as {source.name} does, "
            f"less than {least:.2%}: the adoption is refused (cut: {', '.join(found.cut) or 'nothing'})"
        )
    return proved


def _quantize(graph: Path, contract: Contract, dataset: Dataset, limits: Limits) -> tuple[Quantized, Run]:
    """``int8-cpu`` beside ``graph``, calibrated and compared with it; and its engine."""
    out = graph.with_name(f"int8-cpu{graph.suffix}")
    seen = _training_split(dataset)
    numbers = golden.spaced(seen, CALIBRATION)
    int8.write(graph, out, numbers, lambda i: golden.at_size(seen[i], contract)[0], contract)
    run = proof.engine(int8.ENGINE, out, "int8")
    pairs = (golden.at_size(dataset[i], contract) for i in golden.spaced(dataset, SCORED))
    return int8.compare(proof.engine(int8.ENGINE, graph), run, contract, pairs, limits), run


def _training_split(dataset: Dataset) -> Dataset:
    """Other frames to calibrate on than those that are scored, where there are any."""
    try:
        return open_dataset(dataset.spec, "train")
    except DataError:
        return dataset


def _answers(run: Any, frames: np.ndarray) -> np.ndarray:
    """What an engine returns for each frame, in one array."""
    return np.concatenate([np.array(run(frame[None]), copy=True) for frame in frames])


def _facts(found: Recognised, source: Path, dataset: Dataset, proved: Proof, library: str) -> dict[str, Any]:
    from edgeseg import __version__

    return {
        "source": {"file": source.name, "sha256": sha256(source), "output": found.output.name},
        "adopted": {"cut": list(found.cut), "left": found.left, "agreement": proved.agreement, "frames": proved.frames},
        "convolutions": {"int8": [], "float": []},
        "golden": {"data": dataset.spec, "split": dataset.split},
        "versions": {"edgeseg": __version__, "engine": library},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
