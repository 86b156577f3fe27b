"""A segmentation model from any framework, as ONNX or OpenVINO IR, becomes a bundle. No torch.

What people bake into a model, normalisation before it and softmax, resize and argmax behind it, is recognised and cut
off: the bundle's graph takes the camera's bytes and returns coarse logits, and the contract says the rest. The original
and the bundle are then run on the same frames, and the bundle is refused unless their labels are the same::

    from edgeseg.adopt import adopt
    adopted = adopt("model.onnx", classes="classes.txt", data="images:frames", out="bundle")
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomllib

from edgeseg import golden
from edgeseg.adopt import proof
from edgeseg.adopt import quantize as int8
from edgeseg.adopt.ends import Model, open_model
from edgeseg.adopt.proof import Proof
from edgeseg.adopt.quantize import Limits, Quantized
from edgeseg.adopt.recognise import Recognised, Triple, Wishes, recognise
from edgeseg.bundle import Bundle, seal, sha256
from edgeseg.contract import Contract
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import BuildRefused, BundleError, DataError, UserError

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


def adopt(
    model: Path | str,
    *,
    classes: Path | str | Sequence[str],
    out: Path | str,
    data: str | None,
    split: str = "val",
    mean: Triple | None = None,
    std: Triple | None = None,
    color: Literal["rgb", "bgr"] = "rgb",
    fit: Literal["stretch", "letterbox"] = "stretch",
    size: tuple[int, int] | None = None,
    output: str | None = None,
    quantize: Limits | None = None,
    overwrite: bool = False,
    listen: Listen = lambda note: None,
) -> Adopted:
    """Write the bundle ``out`` of an ONNX file or an OpenVINO IR, once it is shown to label as the model does.

    ``classes`` are names, or a file with one a line, or a TOML file as in a folder dataset. ``mean``, ``std``: what
    the model's input is, ``(pixels / 255 - mean) / std``, where it does not normalise itself; ``color``, ``size``
    (height and width) and ``output`` where the file leaves them open. ``data`` names the frames for the proof.
    ``quantize`` adds an int8 form, within these limits and only if OpenVINO runs it faster than float; whether it was
    kept is in the answer's ``int8``.

    Raises UserError where the model cannot be understood, BuildRefused where the bundle labels other than the model,
    DataError where no mistake would show on the frames, BundleError where ``out`` exists, BackendMissing where a
    library is not installed.
    """
    model, out = Path(model), Path(out)
    if out.exists() and not overwrite:
        raise BundleError(f"{out} exists: add --overwrite to replace it, or choose another --out")
    if data is None:
        raise UserError(
            "real frames are needed to prove that the bundle labels as the model does: --data images:FOLDER, or a "
            "labelled dataset such as folder:PATH"
        )
    if quantize is not None:
        int8.require()
    names, colors = read_classes(classes)
    wishes = Wishes(classes=names, colors=colors, mean=mean, std=std, color=color, fit=fit, output=output)
    listen("reading the model")
    opened = open_model(model, size)
    found = recognise(opened, wishes)
    dataset = labelled_as(open_dataset(data, split), names)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.writing-") as folder:
        adopted = _write(opened, found, model, dataset, Path(folder), quantize, listen)
        if out.exists():
            shutil.rmtree(out)
        adopted.bundle.path.replace(out)
    return replace(adopted, bundle=Bundle.load(out))


def _write(
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


def _quantize(graph: Path, contract: Contract, dataset: Dataset, limits: Limits) -> tuple[Quantized, Any]:
    """``int8-cpu`` beside ``graph``, calibrated and compared with it; and its engine."""
    out = graph.with_name(f"int8-cpu{graph.suffix}")
    calibration = _training_split(dataset)
    frames = [golden.at_size(calibration[i], contract)[0] for i in golden.spaced(calibration, CALIBRATION)]
    int8.write(graph, out, frames, contract)
    seen = [golden.at_size(dataset[i], contract) for i in golden.spaced(dataset, SCORED)]
    run = proof.engine(int8.ENGINE, out, "int8")
    found = int8.compare(
        proof.engine(int8.ENGINE, graph), run, contract, [f for f, _ in seen], [t for _, t in seen], limits
    )
    return found, run


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


def read_classes(given: Path | str | Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours (none where the file gives none) of the classes. Raises UserError naming what is wrong."""
    if not isinstance(given, (str, Path)):
        return tuple(given), ()
    file = Path(given)
    if not file.is_file():
        raise UserError(f"{file} does not exist: write the names of the classes into it, one a line, in their order")
    text = file.read_text()
    if file.suffix != ".toml":
        names = [line.strip() for line in text.splitlines()]
        return tuple(name for name in names if name and not name.startswith("#")), ()
    try:
        table = tomllib.loads(text)
        colors = tuple((int(r), int(g), int(b)) for r, g, b in table.get("colors", ()))
        return tuple(map(str, table["names"])), colors
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as e:
        raise UserError(f'{file} lists no classes ({e}): expected names = ["road", …] and perhaps colors') from e


def labelled_as(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The dataset, its labels kept only if they are of the same classes."""
    if not len(dataset):
        raise DataError(f"{dataset.spec} has no frames in split {dataset.split!r}")
    if dataset.classes == classes:
        return dataset
    return Dataset(
        spec=dataset.spec,
        split=dataset.split,
        classes=(),
        colors=(),
        names=dataset.names,
        read=lambda i: dataset[i]._replace(mask=None),
    )
