"""Runs: reproducible, resumable to the same weights, and refused where they would mislead."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgeseg import pipeline
from edgeseg.checkpoint import Run
from edgeseg.errors import DataError, NetworkError, RunError, UserError
from edgeseg.train import Event, Options

SHORT = {"batch_size": 4, "crop": (128, 192)}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights.safetensors")


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Interrupt:
    """Sends Ctrl-C after so many steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, event: Event) -> None:
        if event.losses and event.step == self.after:
            signal.raise_signal(signal.SIGINT)


def test_a_run_says_what_it_is(runs):
    run = Run.load(runs / "student")
    assert run.classes == ("sky", "road", "box") and run.size_hw == (128, 192)
    assert run.facts["metrics"]["miou"] > 0.5
    assert run.facts["parents"]["teacher"] == [Run.load(runs / "teacher").identity()]
    assert run.facts["recipe"]["objective"]["losses"][1] == [1.0, "edgeseg.distill.kl:kl"]
    assert not (runs / "student" / "resume").exists()


def test_training_lowers_every_loss(runs):
    lines = [json.loads(line) for line in (runs / "student" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 81))
    for name in ("cross-entropy", "kl", "cwd"):
        first, last = (sum(line[name] for line in part) for part in (lines[:10], lines[-10:]))
        assert last < first, name


LEARNED = ("nfd=0.7", "skd.holistic=0.1", "cirkd.memory=0.1", "kl=1,T=4:1,ramp=0.5")  # all that draws by chance


@pytest.mark.parametrize(("verb", "loss"), [("distill", ("kl=1", "cwd=3")), ("qat", ("kl=1",)), ("distill", LEARNED)])
def test_an_interrupted_run_resumes_to_the_same_weights(verb, loss, runs, drawn, tmp_path):
    def go(out: Path, resume: bool = False, listen=lambda event: None) -> None:
        options = Options(steps=6, resume=resume, seed=3, **SHORT)
        common = {"teacher": [runs / "teacher"], "loss": loss, "data": drawn, "out": out, "options": options}
        if verb == "qat":
            pipeline.qat(runs / "student", listen=listen, **common)
        else:
            pipeline.distill(student="ddrnet-23-slim", network={"width": 0.25}, listen=listen, **common)

    go(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "broken", listen=Interrupt(after=3))
    with pytest.raises(RunError, match="unfinished"):
        Run.load(tmp_path / "broken")
    go(tmp_path / "broken", resume=True)
    assert same(tmp_path / "unbroken", tmp_path / "broken")
    log = (tmp_path / "broken" / "log.jsonl").read_text()
    assert log == (tmp_path / "unbroken" / "log.jsonl").read_text()


def test_two_networks_learn_from_each_other(drawn, tmp_path):
    common = {"student": "ddrnet-23-slim", "network": {"width": 0.25}, "data": drawn, "teacher": []}
    options = Options(steps=3, **SHORT)
    run = pipeline.distill(
        **common, online="fast-scnn", loss=["kl=1", "skd.pair=1"], out=tmp_path / "run", options=options
    )
    partner = Run.load(tmp_path / "run" / "partner")
    assert partner.facts["network"]["name"] == "fast-scnn" and partner.facts["metrics"]["miou"] >= 0
    assert run.network().stride == partner.network().stride == 8
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert {"kl", "partner-kl", "skd.pair", "partner-skd.pair"} <= last.keys()
    with pytest.raises(UserError, match="what learns online is the teacher"):
        pipeline.distill(**{**common, "teacher": [run.path]}, online="fast-scnn", out=tmp_path / "other")


def test_students_are_born_again(drawn, tmp_path):
    said = {"student": "ddrnet-23-slim", "network": {"width": 0.25}, "data": drawn, "loss": ["kl=1"]}
    options = Options(steps=2, seed=5, resume=True, **SHORT)
    run = pipeline.born_again(3, out=tmp_path / "run", options=options, **said)
    first, second = (Run.load(tmp_path / "run" / f"generation-{i}") for i in (1, 2))
    assert "teacher" not in first.facts["parents"]
    assert second.facts["parents"]["teacher"] == [first.identity()]
    assert run.facts["parents"]["teacher"] == [second.identity()]
    assert [r.facts["recipe"]["seed"] for r in (first, second, run)] == [5, 6, 7]
    written = (first.path / "run.json").stat().st_mtime_ns
    pipeline.born_again(3, out=tmp_path / "run", options=options, **said)
    assert (first.path / "run.json").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="second generation"):
        pipeline.born_again(1, out=tmp_path / "one", **said)


def test_a_student_labels_footage_for_itself(drawn, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("train/00\ntrain/01\ntrain/02\n")
    said = {"teacher": [], "baseline": True, "student": "ddrnet-23-slim", "network": {"width": 0.25}}
    said |= {"data": f"{drawn}?train={few}", "unlabelled": f"{drawn}?train-without={few}", "keep": 0.6}
    options = Options(steps=3, batch_size=2, crop=(64, 96), resume=True)
    run = pipeline.self_trained(2, out=tmp_path / "run", options=options, **said)
    first, second = (Run.load(tmp_path / "run" / f"round-{i}") for i in (0, 1))
    assert "also" not in first.facts["recipe"]["batches"]["args"][0]
    for earlier, later in ((first, second), (second, run)):
        dataset = later.facts["recipe"]["batches"]["args"][0]
        assert dataset["also"] == [f"folder:{earlier.path / 'labels'}"] and dataset["frames"] == 3 + 9
        assert dataset["again"] == 9 - 3, "labels that people gave are a half of what is learned"
        document = json.loads((earlier.path / "labels" / "labels.json").read_text())
        assert document["teachers"] == [earlier.identity()]
    written = (first.path / "run.json").stat().st_mtime_ns
    pipeline.self_trained(2, out=tmp_path / "run", options=options, **said)
    assert (first.path / "run.json").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="at least one round"):
        pipeline.self_trained(0, out=tmp_path / "none", **said)


def test_more_data_must_have_the_same_classes(drawn, tmp_path):
    options = Options(steps=1, also=("synthetic:street?frames=4",), **SHORT)
    with pytest.raises(DataError, match="both must be the same"):
        pipeline.train(model="unet", data=drawn, out=tmp_path / "run", options=options)


def test_evenly_is_said_beside_more_data():
    with pytest.raises(UserError, match="beside those of --also"):
        Options(evenly=True)


def test_a_student_may_teach_itself(drawn, tmp_path):
    common = {"student": "ddrnet-23-slim", "network": {"width": 0.25}, "data": drawn, "teacher": []}
    run = pipeline.distill(**common, loss=["self-taught=1"], out=tmp_path / "run", options=Options(steps=2, **SHORT))
    assert run.facts["parents"] == {}


def test_a_killed_process_resumes_to_the_same_weights(drawn, tmp_path):
    """Killed outright, with no chance to save: it goes on from the last state that was."""
    code = (
        "import sys, os, signal\n"
        "from edgeseg import pipeline, train\n"
        "train.SAVE_SECONDS = 0\n"
        "def listen(event):\n"
        "    if event.losses and event.step == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "options = train.Options(steps=6, batch_size=4, crop=(64, 96))\n"
        "pipeline.train(model='unet', network=dict(width=8, stem_stride=4), data=sys.argv[1], out=sys.argv[2],\n"
        "               options=options, listen=listen)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, drawn, tmp_path / "killed"]).returncode == -signal.SIGKILL
    begun = []
    for out in (tmp_path / "killed", tmp_path / "whole"):
        pipeline.train(
            model="unet",
            network={"width": 8, "stem_stride": 4},
            data=drawn,
            out=out,
            options=Options(steps=6, batch_size=4, crop=(64, 96), resume=True),
            listen=lambda event: begun.append(event.step) if event.losses else None,
        )
    assert begun == [4, 5, 6, 1, 2, 3, 4, 5, 6]  # killed in the fourth, after the third was saved
    assert same(tmp_path / "killed", tmp_path / "whole")


def test_a_finished_run_is_neither_repeated_nor_overwritten(runs, drawn):
    again = {"model": "unet", "network": {"width": 8, "stem_stride": 4}, "data": drawn, "out": runs / "teacher"}
    before = weights(runs / "teacher")
    with pytest.raises(RunError, match="holds a finished run"):
        pipeline.train(**again, options=Options(steps=30, **SHORT))
    run = pipeline.train(**again, options=Options(steps=30, resume=True, **SHORT))
    assert run.path == runs / "teacher"
    with pytest.raises(RunError, match="steps: 30 then, 31 now"):
        pipeline.train(**again, options=Options(steps=31, resume=True, **SHORT))
    assert all(torch.equal(before[k], v) for k, v in weights(runs / "teacher").items())


def test_the_baseline_is_the_same_recipe_without_the_teacher(runs, drawn, tmp_path):
    student = {"student": "ddrnet-23-slim", "network": {"width": 0.25}, "data": drawn}
    run = pipeline.distill(teacher=[], baseline=True, out=tmp_path / "b", options=Options(steps=2, **SHORT), **student)
    ours, theirs = run.facts["recipe"], Run.load(runs / "student").facts["recipe"]
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert differing == {"objective", "steps"}


def test_a_student_may_start_from_a_run(runs, drawn, tmp_path):
    run = pipeline.train(
        model="ddrnet-23-slim",
        network={"width": 0.25},
        init=runs / "student",
        data=drawn,
        out=tmp_path / "on",
        options=Options(steps=1, lr=1e-9, **SHORT),
    )
    start, end = weights(runs / "student"), weights(run.path)
    parameters = [k for k in start if k.endswith("weight")]
    assert all(torch.allclose(start[k], end[k], atol=1e-5) for k in parameters)


def test_two_teachers_and_flips(runs, drawn, tmp_path):
    run = pipeline.distill(
        teacher=[runs / "teacher", runs / "student"],
        flip=True,
        labels=False,
        student="fast-scnn",
        network={"width": 0.25},
        data=drawn,
        out=tmp_path / "two",
        options=Options(steps=1, **SHORT),
    )
    log = json.loads((run.path / "log.jsonl").read_text().splitlines()[0])
    assert set(log) == {"step", "kl", "cwd"}


def test_a_quantized_run_keeps_the_students_keys(runs):
    student, quantized = weights(runs / "student"), weights(runs / "qat")
    assert set(student) <= set(quantized)
    assert all(k.startswith("quantizers.") for k in set(quantized) - set(student))
    assert same_tensors(load_file(runs / "qat" / "float.safetensors"), student)


def same_tensors(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "unett"}, NetworkError, "did you mean 'unet'"),
        ({"network": {"widht": 8}}, NetworkError, "widht"),
        ({"data": "folder:/nowhere"}, DataError, "/nowhere"),
        ({"options": {"steps": 1, "epochs": 1}}, UserError, "not both"),
        ({"options": {"steps": 0}}, UserError, "positive"),
        ({"model": "fast-scnn", "options": {"steps": 1, "batch_size": 1}}, UserError, "--batch-size 2"),
        ({"label_loss": ["focal=1"]}, UserError, "no loss on labels called 'focal'"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(change, error, words, drawn, tmp_path):
    call = {"model": "unet", "data": drawn, "out": tmp_path / "run"} | {
        k: v for k, v in change.items() if k != "options"
    }
    with pytest.raises(error, match=words):
        pipeline.train(**call, options=Options(**change.get("options", {"steps": 1})))
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused(runs, tmp_path):
    with pytest.raises(DataError, match="knows the classes sky, road, box"):
        pipeline.evaluate(runs / "student", data="synthetic:street?frames=4")


def test_a_damaged_run_is_refused(runs, tmp_path):
    (tmp_path / "run.json").write_text((runs / "teacher" / "run.json").read_text())
    (tmp_path / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match="damaged"):
        Run.load(tmp_path).network()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        Run.load(tmp_path)


def test_one_program_trains_in_one_precision_after_another(drawn, tmp_path):
    call = {"model": "fast-scnn", "network": {"width": 0.25}, "data": drawn}
    for precision in ("bf16", "fp32", "bf16"):
        options = Options(steps=1, batch_size=2, crop=(64, 96), precision=precision)
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        assert pipeline.train(**call, out=out, options=options).facts["recipe"]["precision"] == precision


def test_training_works_outside_the_main_thread(drawn, tmp_path):
    failed = []

    def go() -> None:
        try:
            options = Options(steps=1, **SHORT)
            pipeline.train(model="fast-scnn", network={"width": 0.25}, data=drawn, out=tmp_path / "t", options=options)
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert not failed and Run.load(tmp_path / "t")
