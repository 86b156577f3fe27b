"""The whole chain on CamVid: teacher, baseline and distilled students over several seeds, QAT, engines.

    python benchmarks/camvid.py --data camvid:PATH --work WORK --budget small

``small`` is for two CPU cores and about an hour, ``full`` for a GPU. Everything resumes: run it again after a cut, and
what is finished is kept. Raw results (one JSON per evaluation and measurement, the loss of every step, the seconds of
every training) go to ``benchmarks/results/camvid-BUDGET/``; ``benchmarks/tables.py`` turns them into Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path

from edgeseg import pipeline
from edgeseg.checkpoint import Run
from edgeseg.errors import EdgesegError
from edgeseg.measure import bench, judge
from edgeseg.target import Target
from edgeseg.train import Event, Options

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long each part trains. Distilled and baseline students differ in the teacher and nothing else."""

    teacher: dict[str, object]  # options of the U-Net
    width: float  # of DDRNet-23-slim
    crop: tuple[int, int]
    batch_size: int
    teacher_steps: int
    student_steps: int
    qat_steps: int
    seeds: tuple[int, ...]
    # A class, not a pixel, counts as one, as in the loss on labels. Chosen on val, after kl=1,cwd=3 (three seeds) and
    # kl=3,cwd=3 (two) had brought nothing beside that loss: the gain is that of the choice too.
    loss: tuple[str, ...] = ("cwd=3",)
    label_loss: tuple[str, ...] = (
        "balanced=1",
    )  # plain cross-entropy leaves the rarest five of 11 classes at 0 for long


BUDGETS = {
    # 367 training frames: 46 steps of 8 are an epoch.
    "small": Budget(
        teacher={"width": 32, "stem_stride": 4},
        width=0.5,
        crop=(256, 384),
        batch_size=8,
        teacher_steps=1000,
        student_steps=450,
        qat_steps=120,
        seeds=(0, 1, 2),
    ),
    "full": Budget(
        teacher={"width": 64, "stem_stride": 2, "blocks": 3, "attention": True},
        width=1.0,
        crop=(352, 480),
        batch_size=16,
        teacher_steps=200 * 23,
        student_steps=200 * 23,
        qat_steps=20 * 23,
        seeds=(0, 1, 2),
    ),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True, help="camvid:PATH")
    arguments.add_argument("--work", type=Path, required=True, help="folder for runs and bundles")
    arguments.add_argument("--budget", choices=BUDGETS, default="small")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments.add_argument("--seeds", type=int, help="only the first so many seeds")
    given = arguments.parse_args()
    budget, work = BUDGETS[given.budget], given.work
    results = RESULTS / f"camvid-{given.budget}"
    results.mkdir(parents=True, exist_ok=True)

    def options(steps: int, seed: int) -> Options:
        return Options(
            steps=steps, batch_size=budget.batch_size, crop=budget.crop, seed=seed, device=given.device, resume=True
        )

    teacher = pipeline.train(
        model="unet",
        network=budget.teacher,
        data=given.data,
        out=work / "teacher",
        label_loss=budget.label_loss,
        options=options(budget.teacher_steps, 0),
        listen=progress("teacher"),
    )
    keep(teacher, results)
    for seed in budget.seeds[: given.seeds]:
        for baseline in (True, False):
            name = f"{'baseline' if baseline else 'distilled'}-{seed}"
            run = pipeline.distill(
                teacher=[] if baseline else [work / "teacher"],
                student="ddrnet-23-slim",
                network={"width": budget.width},
                baseline=baseline,
                loss=budget.loss,
                label_loss=budget.label_loss,
                data=given.data,
                out=work / name,
                options=options(budget.student_steps, seed),
                listen=progress(name),
            )
            keep(run, results)
    quantized = pipeline.qat(
        work / "distilled-0",
        teacher=[work / "teacher"],
        loss=budget.loss,
        label_loss=budget.label_loss,
        data=given.data,
        out=work / "qat",
        options=options(budget.qat_steps, 0),
        listen=progress("qat"),
    )
    keep(quantized, results)
    engines(work, results, given.data)


def engines(work: Path, results: Path, data: str) -> None:
    """Export once with both engines, then score and time each."""
    bundle = work / "bundle"
    if not bundle.exists():
        pipeline.export(work / "qat", target=("openvino", "onnxruntime"), out=bundle, listen=progress("export"))
    for plan in sorted((bundle / "plans").iterdir()):
        parity = json.loads((plan / "parity.json").read_text()) | {"data": "camvid"}
        (results / f"parity-{plan.name}.json").write_text(json.dumps(parity, indent=2) + "\n")
        backend, _, precision = plan.name.rpartition("-")
        found = pipeline.evaluate(
            bundle, data=data, target=backend, precision=precision, reference=work / "qat", listen=progress(plan.name)
        )
        # Where the frames lie is this machine's business.
        dataclasses.replace(found, data="camvid").write(results / f"eval-{plan.name}.json")
    for backend in ("openvino", "onnxruntime"):
        target = Target(backend=backend, precision="int8", deadline_ms=1000 / 30)
        measurement = bench(bundle, target=target, out=results / f"bench-{backend}.json")
        verdict = judge(measurement, target)
        print(f"{target.name}: {verdict.status}, {verdict.why}", flush=True)


def keep(run: Run, results: Path) -> None:
    """Copy what a run says of itself into the results, without the paths of this machine."""
    facts = {k: run.facts[k] for k in ("verb", "network", "metrics", "seconds", "recipe", "versions", "finished")}
    facts["recipe"] = json.loads(json.dumps(facts["recipe"]).replace(str(run.facts["data"]), "camvid"))
    (results / f"run-{run.path.name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.copy(run.path / "log.jsonl", results / f"log-{run.path.name}.jsonl")
    print(f"{run.path.name}: mIoU {facts['metrics']['miou']:.4f} in {facts['seconds']:.0f} s", flush=True)


def progress(name: str):
    began = time.monotonic()

    def show(event: Event) -> None:
        if event.losses and event.step % 50 == 0:
            losses = "  ".join(f"{k} {v:.3f}" for k, v in event.losses.items())
            print(f"{name} {event.step}/{event.steps}  {losses}  {time.monotonic() - began:.0f} s", flush=True)

    return show


if __name__ == "__main__":
    try:
        main()
    except EdgesegError as e:
        raise SystemExit(f"error: {e}") from e
