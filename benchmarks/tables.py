"""The README's results, made from the raw ones in ``benchmarks/results``.

python benchmarks/tables.py           # rewrite the README's part between the results markers
python benchmarks/tables.py --print   # only print it
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeseg.report import rows
from edgeseg.report.documents import read
from edgeseg.report.table import HEADINGS, footnotes

HERE = Path(__file__).resolve().parent
RESULTS, README = HERE / "results", HERE.parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--print", action="store_true", help="leave the README alone")
    if arguments.parse_args().print:
        print(render(RESULTS))
    else:
        README.write_text(inserted(README.read_text(), render(RESULTS)))


def inserted(readme: str, results: str) -> str:
    """The README with its results replaced."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}{results}{END}{rest.split(END, 1)[1]}"


def render(results: Path) -> str:
    """Every part whose raw results are there."""
    parts = [camvid(folder) for folder in sorted(results.glob("camvid-*"))]
    parts += [latency(file) for file in sorted(results.glob("latency-*.json"))]
    parts += [quantizers(file) for file in sorted(results.glob("quantizers.json"))]
    return "\n".join(parts)


def camvid(folder: Path) -> str:
    """Networks as trained, over seeds; then the engines."""
    runs = {file.stem.removeprefix("run-"): json.loads(file.read_text()) for file in sorted(folder.glob("run-*.json"))}
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, run in runs.items():
        groups.setdefault(name.rstrip("0123456789").rstrip("-"), []).append(run)
    lines = []
    for name in ("teacher", "baseline", "distilled", "qat"):
        if name not in groups:
            continue
        ious = [100 * run["metrics"]["miou"] for run in groups[name]]
        seconds = statistics.median(run["seconds"] for run in groups[name])
        network = groups[name][0]["network"]
        described = f"{network['name']}, width {network['width']:g}"
        lines.append([name, described, groups[name][0]["recipe"]["steps"], spread(ious), f"{seconds:.0f}"])
    budget = folder.name.removeprefix("camvid-")
    found = read(sorted(folder.glob("bench-*.json")) + sorted(folder.glob("eval-*.json")))
    engines = rows(found.measurements, found.evaluations)
    notes = "".join(f"\n{note}\n" for note in footnotes(engines))
    train = next(iter(runs.values()))["recipe"]["batches"]["crop_hw"]
    return (
        f"**CamVid, 480x360, 11 classes, `benchmarks/camvid.py --budget {budget}`** "
        f"(crops of {train[0]}x{train[1]}, from scratch, scored on the 101 frames of `val`; mean ± standard deviation "
        "over seeds)\n\n"
        + table(["", "network", "steps", "mIoU %", "s to train"], lines)
        + "\nThe QAT network on its engines, from camera frame to label map at 30 frames per second:\n\n"
        + table(HEADINGS, [row.cells for row in engines])
        + notes
    )


def latency(file: Path) -> str:
    found = json.loads(file.read_text())
    lines = []
    for name, ms in found["samples_ms"].items():
        backend = name.split()[0]
        ratios = [a / b for a, b in zip(found["samples_ms"][f"{backend} fp32"], ms, strict=True)]
        lines.append([name, f"{statistics.median(ms):.1f}", f"{statistics.median(ratios):.2f}x"])
    h, w = found["size_hw"]
    rounds = len(next(iter(found["samples_ms"].values())))
    return (
        f"**What int8 buys: {found['network']}, {h}x{w}, engine only** ({cpu(found)}, {found['threads']} thread(s); "
        f"medians of {rounds} interleaved rounds)\n\n" + table(["engine", "ms", "against its fp32"], lines)
    )


def quantizers(file: Path) -> str:
    found = json.loads(file.read_text())
    lines = []
    for name, way in found["ways"].items():
        for engine, e in way["engines"].items():
            lines.append(
                [
                    name,
                    f"{way['step_wall_ratio']:.2f}x",
                    engine,
                    f"{100 * e['miou']:.1f}",
                    f"{100 * e['agreement']:.2f} %",
                    e["int8_convs"],
                    f"{e['ratio']:.2f}x",
                    way.get("code_lines", "-"),
                ]
            )
    s = found["settings"]
    headings = ["", "step", "engine", "mIoU %", "agreement", "int8 convolutions", "latency", "lines of user code"]
    return (
        f"**Three quantizers on one student** ({s['network']}, width {s['width']:g}, {s['steps']} steps of QAT on "
        f"{s['data']}, {cpu(found)}; step and latency as ratios to float, agreement of engine and fake-quantized "
        "network; `-u8`: after our pass to u8)\n\n" + table(headings, lines)
    )


def table(headings: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    rule = ["---"] * len(headings)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in (headings, rule, *lines))


def cpu(found: dict[str, Any]) -> str:
    return f"{found['cpu']['model']} with {', '.join(found['cpu']['features'])}"


def spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f} ({len(values)} seeds)" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
