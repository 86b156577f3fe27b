"""A trained network on disk: portable, self-describing, self-checking, loadable without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeseg import shipped
from edgeseg.contract import Contract
from edgeseg.errors import BundleError
from edgeseg.target import Precision

FORMAT = 2  # 1 took normalised floats; 2 takes pixels
Form = Literal["float", "int8", "int8-cpu", "fp16", "int8-fp16", "program", "program-int8"]
GRAPHS: dict[Form, str] = {
    "float": "float.onnx",
    "int8": "int8.onnx",
    "int8-cpu": "int8-cpu.onnx",
    "fp16": "fp16.onnx",
    "int8-fp16": "int8-fp16.onnx",
}
# Programs of torch.export, there where Torch-TensorRT was asked for at export.
PROGRAMS: dict[Form, str] = {"program": "float.pt2", "program-int8": "int8.pt2"}
IR = ".xml"  # in place of .onnx where a network was adopted as OpenVINO IR; its weights lie beside it in a .bin
PROVENANCE = "provenance.json"
BUDGET = "budget.json"  # what the bundle must meet (edgeseg.budget): no part of what was shipped


@dataclass(frozen=True)
class Golden:
    """Real frames and what the network said about them, so that an engine can be checked anywhere.

    ``frames`` uint8 (n, H, W, 3) in the contract's size and colour order; ``truth`` uint8 (n, H, W), all
    ``ignore_label`` where no labels were known; ``logits_float`` and ``logits_int8`` float32 (n, K, h, w): the float
    network, and the same network with fake quantization (equal to the former where none was trained).
    """

    frames: np.ndarray
    truth: np.ndarray
    logits_float: np.ndarray
    logits_int8: np.ndarray

    def logits(self, precision: Precision) -> np.ndarray:
        return self.logits_int8 if precision == "int8" else self.logits_float


@dataclass(frozen=True)
class Bundle:
    """A directory: graphs, ``contract.json``, ``golden.npz`` and ``provenance.json`` with the SHA-256 of each.

    Plans built for one device live under ``plans/`` and are no part of the digest.
    """

    path: Path
    contract: Contract
    provenance: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path | str) -> Bundle:
        """Open and verify; ``path`` may be the name of one that comes with edgeseg (:mod:`edgeseg.shipped`).

        Raises BundleError naming the first file that is missing or has changed.
        """
        path = shipped.find(path)
        if not (path / PROVENANCE).is_file():
            known = f"; {', '.join(shipped.names())} come with edgeseg" if shipped.names() else ""
            raise BundleError(
                f"{path} is not a bundle (no {PROVENANCE}): make one with 'edgeseg export RUN --out {path}'{known}"
            )
        try:
            provenance = json.loads((path / PROVENANCE).read_text())
            files, digest = provenance["files"], provenance["digest"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as e:
            raise BundleError(f"{path / PROVENANCE} is damaged ({e}): export the bundle again") from e
        if provenance.get("format") != FORMAT:
            raise BundleError(
                f"{path} has bundle format {provenance.get('format')}, this edgeseg reads {FORMAT}: export it again"
            )
        if digest != digest_of(provenance):
            raise BundleError(f"{path / PROVENANCE} was changed after it was written: copy or export the bundle again")
        for name, expected in files.items():
            if not (path / name).is_file():
                raise BundleError(f"{path} is incomplete: {name} is missing; copy or export the bundle again")
            if sha256(path / name) != expected:
                raise BundleError(f"{path / name} was changed after it was written: copy or export the bundle again")
        return cls(path, Contract.from_json((path / "contract.json").read_text()), provenance)

    @property
    def digest(self) -> str:
        """SHA-256 over every file's SHA-256 and the provenance: the identity of what was shipped."""
        return str(self.provenance["digest"])

    @property
    def forms(self) -> tuple[Form, ...]:
        return tuple(form for form in (*GRAPHS, *PROGRAMS) if self._file(form))

    def _file(self, form: Form) -> str | None:
        """The name of a form's graph, in whichever format it is; None where there is none."""
        if form in PROGRAMS:
            return PROGRAMS[form] if PROGRAMS[form] in self.provenance["files"] else None
        names = (GRAPHS[form], str(Path(GRAPHS[form]).with_suffix(IR)))
        return next((name for name in names if name in self.provenance["files"]), None)

    def graph(self, form: Form) -> Path:
        """The file of a form, ONNX or IR: ``int8-cpu`` for OpenVINO and ONNX Runtime, those with fp16 for TensorRT."""
        name = self._file(form)
        if name is None:
            raise BundleError(f"{self.path} holds no {form} graph, only {', '.join(self.forms)}: {self._remedy(form)}")
        return self.path / name

    def _remedy(self, form: Form) -> str:
        adopted = "source" in self.provenance
        if form in PROGRAMS and adopted:
            return "programs come from runs; an adopted network runs on the other targets"
        if form == "program" or (form == "program-int8" and "int8" in self.forms):
            return "export its run again with --target torch-trt"
        if form == "fp16" or (form == "int8-fp16" and "int8" in self.forms):
            return "export its run again with --target trt"
        if form == "float":
            return "it was shipped without; give --precision int8, or export its run"
        if adopted:
            return "adopt the model with --quantize"
        return "it was exported from a float run; train with 'edgeseg qat RUN' and export that"

    def golden(self) -> Golden:
        with np.load(self.path / "golden.npz", allow_pickle=False) as z:
            return Golden(z["frames"], z["truth"], z["logits_float"], z["logits_int8"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_of(provenance: Mapping[str, Any]) -> str:
    """SHA-256 of a provenance without its own ``digest``, in canonical JSON."""
    rest = {k: v for k, v in provenance.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seal(path: Path, facts: Mapping[str, Any]) -> None:
    """Write ``provenance.json`` over the files already in ``path``: the last act of an export."""
    files = {p.name: sha256(p) for p in sorted(path.iterdir()) if p.is_file() and p.name not in (PROVENANCE, BUDGET)}
    provenance = {**facts, "format": FORMAT, "files": files}
    provenance["digest"] = digest_of(provenance)
    (path / PROVENANCE).write_text(json.dumps(provenance, indent=2, sort_keys=True) + "\n")
