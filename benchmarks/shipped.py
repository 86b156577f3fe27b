"""The student that comes with edgeseg: ``camvid-s``, of CamVid's train and val from scratch, quantized and exported.

    python benchmarks/shipped.py --data camvid:PATH --work WORK --budget full --device cuda
    python benchmarks/shipped.py --data camvid:PATH --work WORK --hold-out               # the same on train, to see val

Nothing of the data goes into the bundle: its golden frames are of the synthetic street. It has the integer graphs and
two golden frames, and no float graph, which alone would be larger than all of it. Runs resume; the last step writes
``edgeseg/shipped/camvid-s`` where the engines say what the network says. ``cpu`` is for one core and an hour,
without a teacher; ``full`` has a large one, whose answers are cached, for hundreds of epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from camvid import progress
from PIL import Image

from edgeseg import pipeline
from edgeseg.bundle import GRAPHS, PROVENANCE, Bundle, seal
from edgeseg.checkpoint import Run
from edgeseg.data import open_dataset
from edgeseg.plans import ensure_plan
from edgeseg.target import Target
from edgeseg.train import Options

NAME = "camvid-s"
SHIPPED = Path(pipeline.__file__).parent / "shipped" / NAME
STUDENT = "edgeseg-n"
LABEL_LOSS = ("balanced=1",)  # as in camvid.py
GOLDEN = 2  # frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long everything trains; ``teacher`` holds the options of a U-Net, if there is one."""

    teacher: dict[str, object] | None = None
    teacher_steps: int = 0
    loss: tuple[str, ...] = ()
    batch_size: int
    steps: int
    qat_steps: int
    crop: tuple[int, int] = (352, 480)


BUDGETS = {
    # 468 frames: 59 steps of 8, or 30 of 16, are an epoch.
    "cpu": Budget(batch_size=8, steps=200 * 59, qat_steps=10 * 59, crop=(256, 352)),
    "full": Budget(
        teacher={"width": 64, "stem_stride": 2, "blocks": 3, "attention": True},
        teacher_steps=300 * 30,
        loss=("cwd=3",),
        batch_size=16,
        steps=1000 * 30,
        qat_steps=50 * 30,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="camvid:PATH")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--budget", choices=BUDGETS, default="full")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--hold-out", action="store_true", help="train on train alone, score on val, ship nothing")
    given = parser.parse_args()
    budget, split = BUDGETS[given.budget], "train" if given.hold_out else "train+val"
    work = given.work / f"{given.budget}-{split}"
    options = Options(
        batch_size=budget.batch_size, crop=budget.crop, split=split, device=given.device, resume=True, workers=0
    )
    run = train(budget, given.data, work, options)
    if given.hold_out:
        print({verb: Run.load(work / verb).facts["metrics"] for verb in ("student", "qat")})
        return
    bundle = ship(run, given.data, work)
    megabytes = sum(p.stat().st_size for p in bundle.path.iterdir()) / 1e6
    print(f"{bundle.path} has {megabytes:.1f} MB. Next: edgeseg eval {NAME} --data {given.data} --split test")


def train(budget: Budget, data: str, work: Path, options: Options) -> Run:
    """The quantized student, after its teacher, if there is one, and itself in float."""
    taught: dict[str, Any] = {"label_loss": LABEL_LOSS}
    if budget.teacher is not None:
        teacher = pipeline.train(
            model="unet",
            network=budget.teacher,
            data=data,
            out=work / "teacher",
            label_loss=LABEL_LOSS,
            options=dataclasses.replace(options, steps=budget.teacher_steps),
            listen=progress("teacher"),
        )
        looks = {"flip": True, "scales": (0.75, 1.0, 1.25)}
        answers = work / "answers"
        pipeline.cache(
            teacher=[teacher.path], data=data, split=options.split, out=answers, device=options.device, **looks
        )
        taught |= {"loss": budget.loss, "cache": answers}
    student = pipeline.distill(
        teacher=[],
        student=STUDENT,
        baseline=budget.teacher is None,
        data=data,
        out=work / "student",
        options=dataclasses.replace(options, steps=budget.steps),
        listen=progress("student"),
        **taught,
    )
    return pipeline.qat(
        student.path,
        data=data,
        out=work / "qat",
        options=dataclasses.replace(options, steps=budget.qat_steps),
        listen=progress("qat"),
        **taught,
    )


def ship(run: Run, data: str, work: Path) -> Bundle:
    """Export over frames of a synthetic street, prove both engines, and keep what a robot needs."""
    made = work / "bundle"
    pipeline.export(
        run.path,
        data=f"images:{street(work / 'street', run.size_hw)}",
        target=("openvino", "onnxruntime"),
        out=made,
        overwrite=True,
    )
    small = work / NAME
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir()
    for name in ("contract.json", GRAPHS["int8"], GRAPHS["int8-cpu"]):
        shutil.copy(made / name, small)
    golden = Bundle.load(made).golden()
    kept = {field.name: getattr(golden, field.name)[:GOLDEN] for field in dataclasses.fields(golden)}
    np.savez_compressed(small / "golden.npz", **kept)
    facts = json.loads((made / PROVENANCE).read_text())
    for sealed in ("files", "digest", "format"):
        del facts[sealed]
    facts = without_paths(facts, {str(work): "runs", data.partition(":")[2]: "PATH", str(work.resolve()): "runs"})
    float_steps, qat_steps = (Run.load(work / verb).facts["recipe"]["steps"] for verb in ("student", "qat"))
    trained = (
        f"by benchmarks/{Path(__file__).name} on CamVid's train and val, from scratch: "
        f"{float_steps} steps in float, {qat_steps} through quantization"
    )
    seal(small, {**facts, "trained": trained})
    for backend in ("openvino", "onnxruntime"):
        ensure_plan(Bundle.load(small), Target(backend=backend, precision="int8"))  # refused unless it agrees
    shutil.rmtree(small / "plans")
    shutil.rmtree(SHIPPED, ignore_errors=True)
    shutil.copytree(small, SHIPPED)
    return Bundle.load(SHIPPED)


def street(folder: Path, size_hw: tuple[int, int]) -> Path:
    """Frames of the synthetic street, in the size of the network's."""
    h, w = size_hw
    drawn = open_dataset("synthetic:street?frames=24", "val")
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(len(drawn)):
        Image.fromarray(drawn[i].image).resize((w, h), Image.Resampling.BILINEAR).save(folder / f"{i:02d}.png")
    return folder


def without_paths(value: Any, names: dict[str, str]) -> Any:
    """Provenance without the folders of the machine that it was made on."""
    text = json.dumps(value)
    for path, name in names.items():
        text = text.replace(path, name)
    return json.loads(text)


if __name__ == "__main__":
    main()
