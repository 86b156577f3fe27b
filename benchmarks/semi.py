"""What frames without labels bring on CamVid, where a half of train is labelled, a quarter, an eighth or 12 frames.

    python benchmarks/semi.py --data camvid:PATH --work WORK                    # all that the results lack
    python benchmarks/semi.py --data camvid:PATH --work WORK --share 1-8 unimatch
    python benchmarks/semi.py --data camvid:PATH --work WORK --costs            # time and memory of their steps
    python benchmarks/semi.py --table                                           # SEMI.md, from the results
    python benchmarks/semi.py --data camvid:PATH --work WORK --budget full --device cuda

Which frames are labelled is fixed in ``splits/``; the rest of train is footage. Every way sees the same labelled
batches as the baseline, which learns from labels alone, for as many steps; with distillation, also under a heavier
network that was trained on those labels. ``small`` is for one CPU core, a minute a run; ``medium`` says of a few ways,
in some five minutes a run, what they bring once labels are what is short. Runs resume, and several processes may share
the work. Scores go to ``results/semi-BUDGET.json`` as they come.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
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
from edgeseg.committee import teachers
from edgeseg.recipes import segmentation
from edgeseg.train import Options, Recipe

HERE = Path(__file__).resolve().parent
RESULTS, SPLITS = HERE / "results", HERE / "splits"
SHARES = {"1-32": "a thirty-second", "1-8": "an eighth", "1-4": "a quarter", "1-2": "a half"}
STUDENT = "edgeseg-n"
LABEL_LOSS = ("balanced=1",)  # as in camvid.py
LOSS = ("cwd=3",)
BASE = "labels alone"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and how large everything is."""

    teacher: tuple[str, dict[str, object]]  # a network and its options
    teacher_steps: int
    crop: tuple[int, int]
    batch_size: int  # labelled, and as many without labels
    steps: int
    seeds: tuple[int, ...] = (0, 1, 2)


BUDGETS = {
    # 46 labelled frames are an eighth: four of them a step are 17 epochs.
    "small": Budget(teacher=("edgeseg-m", {}), teacher_steps=800, crop=(192, 256), batch_size=4, steps=200),
    # For a few ways: long enough that labels, and not steps, are what is short.
    "medium": Budget(
        teacher=("edgeseg-m", {}),
        teacher_steps=1600,
        crop=(192, 256),
        batch_size=8,
        steps=1200,
        seeds=tuple(range(6)),
    ),
    "full": Budget(
        teacher=("unet", {"width": 64, "stem_stride": 2, "blocks": 3, "attention": True}),
        teacher_steps=100 * 23,
        crop=(352, 480),
        batch_size=16,
        steps=200 * 23,
    ),
}
# Weights are the papers' where they give any, and were not tuned here.
WAYS: Mapping[str, tuple[str, ...]] = {
    BASE: (),
    "mean teacher": ("mean-teacher=1,ramp=0.2",),
    "mean teacher, cutout": ("mean-teacher=1,mix=cutout,ramp=0.2",),
    "mean teacher, cutmix": ("mean-teacher=1,mix=cutmix,ramp=0.2",),
    "mean teacher, classmix": ("mean-teacher=1,mix=classmix,ramp=0.2",),
    "mean teacher, complexmix": ("mean-teacher=1,mix=complexmix,ramp=0.2",),
    "cross-consistency": ("cct=30,ramp=0.1",),
    "cross pseudo supervision": ("cross-pseudo=1,mix=cutmix",),
    "mutual training": ("mutual=1",),
    "pseudo-labels": ("pseudo-labels=1",),
    "self-training": (),
    "confidence-weighted": ("confidence-weighted=1",),
    "adversarial": ("adversarial=1",),
    "contrastive": ("confidence-weighted=1", "contrastive=0.1"),
    "u2pl": ("u2pl=1,ramp=0.3",),
    "unimatch": ("unimatch=1",),
    "taught": ("taught=1,mix=cutmix",),
}
TAUGHT = {"taught"}  # only under a teacher
ROUNDS = {"self-training": 1}  # students that label the footage for the next, each as long as any other
DISTILLED = " + distilled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--data", help="camvid:PATH")
    parser.add_argument("--work", type=Path, help="folder for runs")
    parser.add_argument("--share", choices=SHARES, action="append", help="only this; may be repeated")
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--alone", action="store_true", help="nothing under a teacher")
    parser.add_argument("--costs", action="store_true", help="time steps instead of training: on an idle machine")
    parser.add_argument("--table", action="store_true", help="write SEMI.md and nothing else")
    given = parser.parse_args()
    if given.table:
        (HERE / "SEMI.md").write_text(page())
        return
    if not given.data or not given.work:
        parser.error("--data and --work say what to train on and where")
    if unknown := set(given.ways) - set(WAYS):
        parser.error(f"no way called {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
    budget, ledger = BUDGETS[given.budget], Ledger(RESULTS / f"semi-{given.budget}.json")
    ways = given.ways or list(WAYS)
    forms = ("",) if given.alone else ("", DISTILLED)
    names = [f"{way}{more}" for more in forms for way in ways if more or way not in TAUGHT]
    shares = given.share or list(SHARES)
    if given.costs:  # the same whichever frames have labels; a round of self-training is an ordinary training
        bench = Bench(budget, given.data, shares[0], given.work / shares[0], given.device)
        for name in (name for name in names if name.removesuffix(DISTILLED) not in ROUNDS):
            ledger.keep(f"cost {name}", {"cost": costs.measured(bench.recipe, name, given.device, base=BASE)})
        return
    for share in shares:
        bench = Bench(budget, given.data, share, given.work / share, given.device)
        for seed in budget.seeds:
            for name in names:
                with claimed(bench.work / f".{name}-{seed}") as ours:
                    if not ours or ledger.has(f"{share} {name}", seed):
                        continue
                    if name.endswith(DISTILLED):
                        ledger.under(bench.teacher(), f"{share} teacher")
                    run = bench.student(name, seed)
                    ledger.keep(f"{share} {name}", {"seeds": {str(seed): scored(run)}})
                print(f"{share} {name} {seed}: {run.facts['metrics']['miou']:.4f}", flush=True)


def scored(run: Run) -> dict[str, Any]:
    """Its score, with the time of those before it that labelled frames for it, and how footage was shown."""
    rounds = [Run.load(path) for path in run.path.glob("round-*")]
    shown = {name: value for name, value in run.facts["recipe"]["batches"].items() if name == "strength"}
    return {**score(run), "seconds": round(sum(each.facts["seconds"] for each in (*rounds, run))), **shown}


@dataclasses.dataclass(frozen=True)
class Bench:
    """Everything about one share of labels."""

    budget: Budget
    data: str
    share: str
    work: Path
    device: Any

    @property
    def labelled(self) -> str:
        return f"{self.data}?train={SPLITS / f'camvid-{self.share}.txt'}"

    @property
    def footage(self) -> str:
        return f"{self.data}?train-without={SPLITS / f'camvid-{self.share}.txt'}"

    def options(self, seed: int, steps: int) -> Options:
        return Options(
            steps=steps,
            batch_size=self.budget.batch_size,
            crop=self.budget.crop,
            seed=seed,
            device=self.device,
            resume=True,
        )

    def teacher(self) -> Run:
        """Made once, by whichever process is first."""
        model, network = self.budget.teacher
        with claimed(self.work / ".teacher", wait=True):
            return pipeline.distill(
                teacher=[],
                baseline=True,
                student=model,
                network=network,
                data=self.labelled,
                out=self.work / "teacher",
                label_loss=LABEL_LOSS,
                options=self.options(0, self.budget.teacher_steps),
                listen=progress(f"{self.share} teacher"),
            )

    def student(self, name: str, seed: int) -> Run:
        distilled = name.endswith(DISTILLED)
        methods = WAYS[name.removesuffix(DISTILLED)]
        rounds = ROUNDS.get(name.removesuffix(DISTILLED), 0)
        verb: Any = partial(pipeline.self_trained, rounds) if rounds else partial(pipeline.distill, semi=methods)
        out = self.work / f"{name.replace(',', '').replace(' + ', '-').replace(' ', '-')}-{seed}"
        return verb(
            teacher=[self.teacher().path] if distilled else [],
            baseline=not distilled,
            loss=LOSS,
            label_loss=LABEL_LOSS,
            student=STUDENT,
            data=self.labelled,
            unlabelled=self.footage if methods or rounds else None,
            out=out,
            options=self.options(seed, self.budget.steps),
            listen=progress(f"{self.share} {out.name}"),
        )

    def recipe(self, name: str) -> Recipe:
        """What a run of this way trains, without its being trained."""
        options = self.options(0, self.budget.steps)
        dataset = pipeline.open_training(self.labelled, options)
        methods = WAYS[name.removesuffix(DISTILLED)]
        network = pipeline.fresh(pipeline.network_spec(STUDENT, dataset, None), None, False)
        losses, under = pipeline.from_labels(LABEL_LOSS), None
        if name.endswith(DISTILLED):
            losses += map(distillation.parse, LOSS)
            under = teachers([self.teacher().path], dataset).network
        footage = pipeline.footage(methods, self.footage if methods else None, options)
        return segmentation.student(network, dataset, options, losses, under, footage=footage)


# The page.


def page() -> str:
    files = [f for f in (RESULTS / f"semi-{budget}.json" for budget in BUDGETS) if f.exists()]
    parts: list[str] = []
    for file in files:
        budget, found = file.stem.removeprefix("semi-"), Ledger(file).found()
        parts += [what_labels_bring(budget, found), *(ranking(budget, share, found) for share in SHARES)]
    return (
        "# What frames without labels bring\n\nMade by `benchmarks/semi.py --table` from "
        + " and ".join(f"`results/{f.name}`" for f in files)
        + ".\n\n"
        + "\n".join(filter(None, parts))
    )


def what_labels_bring(budget: str, found: Mapping[str, Any]) -> str:
    """Footage can at most stand in for labels: what more of these bring bounds what it may."""
    alone = {share: scores(found[f"{share} {BASE}"]) for share in SHARES if f"{share} {BASE}" in found}
    if len(alone) < 2:
        return ""
    fewest, *_, most = alone
    chance = Chance.of(alone[fewest], [alone[share] for share in list(alone)[1:]])
    gain, verdict = chance.gain(alone[fewest], alone[most])
    told = ", ".join(f"{mean_and_spread(of)} % with {SHARES[share]}" for share, of in alone.items())
    meaning = {
        "gains": "That is room for what footage may bring.",
        "within noise": "So short a training lacks steps and not labels: it says what a way costs and what it does to "
        "the first steps, and of the worth of footage nothing.",
    }
    return (
        f"## What labels bring, budget `{budget}`\n\nLearning from labels alone gives {told}. More labels bring "
        f"{gain:+.1f} points, {verdict}. {meaning.get(verdict, '')}\n"
    )


def ranking(budget_name: str, share: str, found: dict[str, Any]) -> str:
    """One share of labels: the ways by their means, and what the best bought for each class."""
    budget = BUDGETS[budget_name]
    tried = {
        name.removeprefix(f"{share} "): entry
        for name, entry in found.items()
        if name.startswith(f"{share} ") and len(entry.get("seeds", {})) > 1
    }
    if BASE not in tried:
        return ""
    scored = {name: scores(entry) for name, entry in tried.items()}
    base = scored[BASE]
    others = {name: way for name, way in scored.items() if name != BASE}
    matched = {name: without_footage(name) for name in others if without_footage(name) in scored.keys() - {name}}
    if not matched:
        return ""
    beside = [name for name, of in matched.items() if of != BASE]
    chance = dataclasses.replace(Chance.of(base, list(others.values())), comparisons=len(others) + len(beside))
    ranked = sorted(((name, *chance.gain(base, way)) for name, way in others.items()), key=lambda row: -row[1])
    seconds = {name: statistics.median(s["seconds"] for s in entry["seeds"].values()) for name, entry in tried.items()}
    of_footage = ["of footage, where both are distilled"] if beside else []
    blank = [""] * (2 + len(of_footage))
    rows: list[Sequence[object]] = [
        [f"**{BASE}**", mean_and_spread(base), *blank, *cost(found, BASE), f"{seconds[BASE]:.0f} s"]
    ]
    for name, gain, verdict in ranked:
        ratio = f"{seconds[name] / seconds[BASE]:.1f}x"
        called = name + of_seeds(scored[name], base)
        footage = "{:+.1f} {}".format(*chance.gain(scored[matched[name]], scored[name])) if name in beside else ""
        measured = [mean_and_spread(scored[name]), f"{gain:+.1f}", verdict, *([footage] if beside else [])]
        rows.append([called, *measured, *cost(found, name), ratio])
    chance_says = chance.says(*map(len, scored.values()))
    h, w = budget.crop
    best = max(matched, key=lambda name: chance.gain(scored[matched[name]], scored[name])[0])
    teacher = found.get(f"{share} teacher")
    distilled = (
        f"distilled with {' and '.join(f'`{loss}`' for loss in LOSS)} under {teacher['network']['name']} of "
        f"{100 * teacher['miou']:.1f} % mIoU, which the same labels trained; "
        if teacher
        else ""
    )
    return (
        f"## {SHARES[share].capitalize()} of the labels, budget `{budget_name}`\n\n{STUDENT} from scratch, "
        f"{budget.steps} steps of {budget.batch_size} crops of {h}x{w}, and as many of footage; {distilled}"
        "scored on the 101 frames of `val`, in points of mIoU.\n\n"
        + table(["", "mIoU %", "gain", "", *of_footage, "step", "memory", "training"], rows)
        + f"\nMean ± standard deviation over seeds. {chance_says} Steps are ratios to those on labels "
        "alone, interleaved with them, medians, each with the making of its batch; memory is what a way adds to the "
        "process's peak. A training, which with self-training is two without the labelling between them, is the ratio "
        f"of runs that shared the machine with others.\n\nWhat {best} bought, per class:\n\n"
        + table(["class", matched[best], best, "gain"], per_class(tried[matched[best]], tried[best]))
    )


def without_footage(name: str) -> str:
    """The way that differs in nothing but the footage."""
    return BASE + DISTILLED if name.endswith(DISTILLED) else BASE


def of_seeds(way: Mapping[str, float], base: Mapping[str, float]) -> str:
    return f" ({len(way)} seeds)" if len(way) < len(base) else ""


def cost(found: Mapping[str, Any], name: str) -> list[str]:
    return costs.columns(found.get(f"cost {name}", {}), BASE)


def per_class(base: Mapping[str, Any], best: Mapping[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name in next(iter(base["seeds"].values()))["per_class"]:
        before, after = (
            100 * statistics.mean(s["per_class"][name] or 0.0 for s in entry["seeds"].values())
            for entry in (base, best)
        )
        rows.append([name, f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}"])
    return sorted(rows, key=lambda row: -float(str(row[3])))


if __name__ == "__main__":
    main()
