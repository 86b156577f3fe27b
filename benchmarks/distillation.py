"""What each way of distilling brings on CamVid: one student, one teacher, the same steps and seeds, and a baseline.

    python benchmarks/distillation.py --data camvid:PATH --work WORK              # all that the results lack
    python benchmarks/distillation.py --data camvid:PATH --work WORK cwd dist     # these ways
    python benchmarks/distillation.py --data camvid:PATH --work WORK --costs      # time and memory of their steps
    python benchmarks/distillation.py --table                                     # DISTILLATION.md, from the results
    python benchmarks/distillation.py --data camvid:PATH --work WORK --budget full --device cuda

Every way sees the baseline's student, batches and loss on labels; only what is said in WAYS differs. ``small`` is for
one CPU core, three to six minutes a run: the student is far from convergence, so a gain is one of speed too, and
``medium`` says of a few ways whether it stays so. Runs resume, and several processes may share the work. Scores go to
``results/distillation-BUDGET.json`` as they come.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import costs
from camvid import progress
from chance import Chance, mean_and_spread, scores
from ledger import Ledger, claimed, score
from tables import table

from edgeseg import distill as distillation
from edgeseg import pipeline
from edgeseg.checkpoint import Run
from edgeseg.committee import Committee, teachers
from edgeseg.recipes import segmentation
from edgeseg.train import Options, Recipe

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STUDENT = "edgeseg-n"
LABEL_LOSS = ("balanced=1",)  # as in camvid.py
BASE = "baseline"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and how large everything is."""

    teacher: tuple[str, dict[str, object]]  # a network and its options
    teacher_steps: int
    crop: tuple[int, int]
    batch_size: int
    steps: int
    seeds: tuple[int, ...] = (0, 1, 2)


BUDGETS = {
    # 367 training frames: 46 steps of 8 are an epoch.
    # The teacher must know more than the student ever will: seven times its weights, seven times as long.
    "small": Budget(teacher=("edgeseg-m", {}), teacher_steps=2000, crop=(192, 256), batch_size=8, steps=300),
    # For a few ways: whether what is true of so short a training is true of one four times as long.
    "medium": Budget(teacher=("edgeseg-m", {}), teacher_steps=2000, crop=(192, 256), batch_size=8, steps=1200),
    "full": Budget(
        teacher=("unet", {"width": 64, "stem_stride": 2, "blocks": 3, "attention": True}),
        teacher_steps=200 * 23,
        crop=(352, 480),
        batch_size=16,
        steps=200 * 23,
    ),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """What differs from the baseline."""

    losses: tuple[str, ...]
    alone: bool = False  # no teacher
    again: bool = False  # the teacher is the baseline's student of the same seed
    online: str | None = None  # a partner that learns at the same time
    begun: bool = False  # the first half of the steps is the baseline's: the method starts from trained weights
    looks: bool = False  # the teacher looks at each image six times: mirrored, and at LOOKS
    cached: bool = False  # ... and was asked about whole frames beforehand


# Weights are the papers' where they give any, and were not tuned here.
WAYS: Mapping[str, Way] = {
    BASE: Way((), alone=True),
    "kl": Way(("kl=1",)),
    "kl T=4": Way(("kl=1,T=4",)),
    "soft cross-entropy": Way(("soft-cross-entropy=1",)),
    "mse": Way(("mse=1",)),
    "cwd": Way(("cwd=3",)),
    "dist": Way(("dist=1",)),
    "fitnet": Way(("fitnet=1",)),
    "attention transfer": Way(("attention-transfer=1",)),
    "nfd": Way(("kl=10", "nfd=0.7")),
    "overhaul": Way(("overhaul=1",)),
    "knowledge adaptation": Way(("knowledge-adaptation=1",)),
    "skd": Way(("skd.pixel=10", "skd.pair=10", "skd.holistic=0.1")),
    "cirkd": Way(("kl=1", "cirkd.batch=1", "cirkd.memory=0.1")),
    "segdist": Way(("segdist=1",), begun=True),
    "self-taught": Way(("self-taught=1",), alone=True),
    "online": Way(("kl=1",), online=STUDENT),
    "born again": Way(("kl=1",), again=True),
    "kl + cwd": Way(("kl=1", "cwd=3")),
    "cwd + dist": Way(("cwd=3", "dist=1")),
    "cwd + attention transfer": Way(("cwd=3", "attention-transfer=1")),
    "cwd + nfd": Way(("cwd=3", "nfd=0.7")),
    "cwd, cached": Way(("cwd=3",), cached=True),
    "cwd, six looks": Way(("cwd=3",), looks=True),
    "cwd, six looks, cached": Way(("cwd=3",), looks=True, cached=True),
}
LOOKS = (0.75, 1.0, 1.25)  # of the image's size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--data", help="camvid:PATH")
    parser.add_argument("--work", type=Path, help="folder for runs")
    parser.add_argument("--teacher", type=Path, help="a finished run, instead of training the budget's teacher")
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--costs", action="store_true", help="time steps instead of training: on an idle machine")
    parser.add_argument("--table", action="store_true", help="write DISTILLATION.md and nothing else")
    given = parser.parse_args()
    if given.table:
        (HERE / "DISTILLATION.md").write_text(page())
        return
    if not given.data or not given.work:
        parser.error("--data and --work say what to train on and where")
    if unknown := set(given.ways) - set(WAYS):
        parser.error(f"no way called {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
    ledger = Ledger(RESULTS / f"distillation-{given.budget}.json")
    bench = Bench(BUDGETS[given.budget], given.data, given.work, given.device, ledger)
    teacher = Run.load(given.teacher) if given.teacher else bench.train_teacher()
    ways = [name for name in WAYS if name in given.ways or not given.ways]
    if given.costs:
        bench.costs(teacher.path, ways)
        return
    ledger.under(teacher)
    bench.train(teacher.path, ways)


@dataclasses.dataclass(frozen=True)
class Bench:
    budget: Budget
    data: str
    work: Path
    device: Any
    ledger: Ledger

    def options(self, seed: int, steps: int | None = None) -> Options:
        return Options(
            steps=steps or self.budget.steps,
            batch_size=self.budget.batch_size,
            crop=self.budget.crop,
            seed=seed,
            device=self.device,
            resume=True,
        )

    def train_teacher(self) -> Run:
        model, network = self.budget.teacher
        return pipeline.distill(
            teacher=[],
            baseline=True,
            student=model,
            network=network,
            data=self.data,
            out=self.work / "teacher",
            label_loss=LABEL_LOSS,
            options=self.options(0, self.budget.teacher_steps),
            listen=progress("teacher"),
        )

    def train(self, teacher: Path, ways: list[str]) -> None:
        """Every way under the first seed, then under the next: what is cut short can be compared."""
        for seed in self.budget.seeds:
            for name in ways:
                with claimed(self.work / f".{name}-{seed}") as ours:
                    if not ours or self.ledger.has(name, seed):
                        continue
                    run = self.one(name, seed, teacher)
                    self.ledger.keep(name, {"losses": WAYS[name].losses, "seeds": {str(seed): score(run)}})
                print(f"{name} {seed}: {run.facts['metrics']['miou']:.4f}", flush=True)

    def one(self, name: str, seed: int, teacher: Path) -> Run:
        way, steps, init = WAYS[name], self.budget.steps, None
        if way.begun:
            steps, init = steps // 2, self.work / f"baseline-half-{seed}"
            self.student(WAYS[BASE], seed, (), init, steps=steps)
        teachers = () if way.alone or way.online else (self.work / f"baseline-{seed}" if way.again else teacher,)
        if way.again:
            self.student(WAYS[BASE], seed, (), teachers[0])
        out = self.work / f"{name.replace(',', '').replace(' ', '-')}-{seed}"
        return self.student(way, seed, teachers, out, init=init, steps=steps)

    def cache(self, way: Way, teacher: Path) -> Path:
        """The teacher's answers to all frames; made once."""
        out = self.work / ("answers-six-looks" if way.looks else "answers")
        pipeline.cache(
            teacher=[teacher], data=self.data, out=out, device=self.device, **looks(way), listen=progress(out.name)
        )
        return out

    def student(
        self,
        way: Way,
        seed: int,
        teachers: tuple[Path, ...],
        out: Path,
        *,
        init: Path | None = None,
        steps: int | None = None,
    ) -> Run:
        return pipeline.distill(
            teacher=teachers,
            student=STUDENT,
            online=way.online,
            cache=self.cache(way, teachers[0]) if way.cached else None,
            **looks(way),
            baseline=not way.losses,
            loss=way.losses,
            label_loss=LABEL_LOSS,
            init=init,
            data=self.data,
            out=out,
            options=self.options(seed, steps),
            listen=progress(out.name),
        )

    def recipe(self, name: str, teacher: Path) -> Recipe:
        """What a run of this way trains, without its being trained."""
        way, options = WAYS[name], self.options(0)
        dataset = pipeline.open_training(self.data, options)
        spec = pipeline.network_spec(STUDENT, dataset, None)
        partner = pipeline.fresh(spec, None, False) if way.online else None
        under = Committee(None, [])
        if way.again:
            under = under._replace(network=pipeline.fresh(spec, None, False)())
        elif way.losses and not way.alone and not way.online:
            cache = self.cache(way, teacher) if way.cached else None
            under = teachers([teacher], dataset, cache=cache, **looks(way))
        losses = [*pipeline.from_labels(LABEL_LOSS), *map(distillation.parse, way.losses)]
        return segmentation.student(
            pipeline.fresh(spec, None, False), dataset, options, losses, under.network, (), partner, under.answers
        )

    def costs(self, teacher: Path, ways: list[str]) -> None:
        for name in ways:
            cost = costs.measured(partial(self.recipe, teacher=teacher), name, self.device, base=BASE)
            self.ledger.keep(name, {"losses": WAYS[name].losses, "cost": cost})


def looks(way: Way) -> dict[str, Any]:
    return {"flip": True, "scales": LOOKS} if way.looks else {}


# The page.


def page() -> str:
    files = [f for f in (RESULTS / f"distillation-{budget}.json" for budget in BUDGETS) if f.exists()]
    parts = [ranking(file.stem.removeprefix("distillation-"), json.loads(file.read_text())) for file in files]
    return (
        "# What distillation brings\n\nMade by `benchmarks/distillation.py --table` from "
        + " and ".join(f"`results/{f.name}`" for f in files)
        + ".\n\n"
        + "\n".join(parts)
    )


def ranking(budget_name: str, found: dict[str, Any]) -> str:
    budget, teacher = BUDGETS[budget_name], found["teacher"]
    tried = {name: scores(way) for name, way in found.items() if name in WAYS and way.get("seeds")}
    base = tried.pop(BASE)
    chance = Chance.of(base, list(tried.values()))
    rows = [[f"**{BASE}**", "", mean_and_spread(base), "", "", *costs.columns(found[BASE], BASE)]]
    gains = {name: chance.gain(base, way) for name, way in tried.items()}
    for name, (gain, verdict) in sorted(gains.items(), key=lambda item: -item[1][0]):
        losses = ", ".join(f"`{text}`" for text in found[name]["losses"])
        cost = costs.columns(found[name], BASE)
        rows.append([name, losses, mean_and_spread(tried[name]), f"{gain:+.1f}", verdict, *cost])
    h, w = budget.crop
    return (
        f"## Budget `{budget_name}`\n\n{STUDENT} on CamVid (480x360, 11 classes) from scratch, {budget.steps} steps of "
        f"{budget.batch_size} crops of {h}x{w}, under {teacher['network']['name']} of {100 * teacher['miou']:.1f} % "
        "mIoU; scored on the 101 frames of `val`, in points of mIoU.\n\n"
        + table(["", "losses beside that on labels", "mIoU %", "gain", "", "step", "memory"], rows)
        + f"\nMean ± standard deviation over seeds. {chance.says(len(base))} Steps are ratios to the baseline's, "
        "interleaved with it, medians, each with the making of its batch; memory is what a way adds to the process's "
        f"peak.\n{same_gradient(tried)}"
    )


def same_gradient(tried: Mapping[str, Mapping[str, float]]) -> str:
    """What two ways that differ in rounding alone say of chance."""
    one, two = (tried.get(name, {}) for name in ("kl", "soft cross-entropy"))
    if not (common := sorted(one.keys() & two.keys())):
        return ""
    apart = ", ".join(f"{two[seed] - one[seed]:+.1f}" for seed in common)
    return (
        "\nThe gradients of `kl` and `soft cross-entropy` are the same, and rounding alone parts them: between their "
        f"trainings, seed by seed, lie {apart} points, which is what chance does in a training of this length.\n"
    )


if __name__ == "__main__":
    main()
