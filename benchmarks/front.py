"""Accuracy beside latency: students trained alike on CamVid, from scratch and on its labels alone, then quantized.

    python benchmarks/front.py --data camvid:PATH --work WORK                # all that results/front.json lacks
    python benchmarks/front.py --data camvid:PATH --work WORK edgeseg-n      # these
    python benchmarks/front.py --data camvid:PATH --work WORK --budget full --device cuda

One recipe for all, no teacher, no pretrained backbone: what differs is the network. ``small`` is for one CPU core and
about ten minutes a network: far from convergence, so it says how fast a network learns too. Runs resume. The mean IoU
of val, float and quantized, goes to ``results/front-BUDGET.json``; ``benchmarks/zoo.py --table`` puts it beside the
latencies and marks the front: networks than which none is both faster and more accurate.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from camvid import progress

from edgeseg import pipeline, students
from edgeseg.checkpoint import Run
from edgeseg.train import Options

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    crop: tuple[int, int]
    batch_size: int
    steps: int
    qat_steps: int
    seeds: tuple[int, ...]


BUDGETS = {
    # 367 training frames: 46 steps of 8 are an epoch.
    "small": Budget(crop=(192, 256), batch_size=8, steps=450, qat_steps=45, seeds=(0,)),
    "full": Budget(crop=(352, 480), batch_size=16, steps=200 * 23, qat_steps=20 * 23, seeds=(0, 1, 2)),
}
LABEL_LOSS = ("balanced=1",)  # as in camvid.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="STUDENT")
    parser.add_argument("--data", required=True, help="camvid:PATH")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args()
    budget, results = BUDGETS[given.budget], RESULTS / f"front-{given.budget}.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in given.networks or students.names():
        for seed in map(str, budget.seeds):
            if seed in found.get(name, {}):
                continue
            runs = trained(name, int(seed), budget, given.data, given.work / f"{name}-{seed}", given.device)
            latest = json.loads(results.read_text()) if results.exists() else {}  # others may write beside this one
            latest.setdefault(name, {})[seed] = {verb: score(run) for verb, run in runs.items()}
            results.write_text(json.dumps(latest, indent=1, sort_keys=True) + "\n")
            print(name, seed, {verb: f"{run.facts['metrics']['miou']:.4f}" for verb, run in runs.items()}, flush=True)


def trained(name: str, seed: int, budget: Budget, data: str, work: Path, device: str) -> dict[str, Run]:
    options = Options(
        steps=budget.steps, batch_size=budget.batch_size, crop=budget.crop, seed=seed, device=device, resume=True
    )
    run = pipeline.train(
        model=name, data=data, out=work / "float", label_loss=LABEL_LOSS, options=options, listen=progress(name)
    )
    quantized = pipeline.qat(
        run.path,
        data=data,
        out=work / "int8",
        label_loss=LABEL_LOSS,
        options=dataclasses.replace(options, steps=budget.qat_steps),
        listen=progress(f"{name} int8"),
    )
    return {"float": run, "int8": quantized}


def score(run: Run) -> dict[str, object]:
    return {
        "miou": run.facts["metrics"]["miou"],
        "seconds": round(run.facts["seconds"]),
        "steps": run.facts["recipe"]["steps"],
    }


if __name__ == "__main__":
    main()
