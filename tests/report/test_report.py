"""The page: well-formed, self-contained, the same each time, and drawn by a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgeseg.errors import BackendMissing, UserError
from edgeseg.measure.scenario import Scenario
from edgeseg.report import plots, report

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

VOID = {"meta", "img", "br", "link", "input", "hr", "col"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a page may load, its ids and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.ids, self.refs, self.texts, self.tags = [], [], [], [], [], Counter()
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href") and value.startswith("#"):
                self.refs.append(value[1:])
            elif name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.loads.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_page_is_whole_and_asks_nobody_for_anything(page):
    text = page.read_text()
    parsed = Page(text)
    assert "http:" not in text and "https:" not in text and "//" not in re.sub(r"base64,[^\"]*", "", text)
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["iframe"] == 0
    assert parsed.loads and all(load.startswith("data:image/png;base64,") for load in parsed.loads)
    assert not [u for u in re.findall(r"url\(([^)]*)\)", text) if not u.startswith("#")] and "@import" not in text
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {*parsed.refs, *re.findall(r"url\(#([^)]*)\)", text)} <= set(parsed.ids)
    assert [p.name for p in page.parent.iterdir()] == ["report.html"]


def test_verdict_before_everything_else(page):
    said = Page(page.read_text()).text
    order = [
        "openvino-int8 keeps 50 frames per second; onnxruntime-int8 misses them.",
        "✗ MISSED",
        "p99 is 25.00 ms, over the 20.00 ms",
        "✓ MET",
        "p99 is 10.00 ms, within the 20.00 ms",
        "Every form, side by side",
        "Accuracy against latency",
        "Time per frame",
        "IoU per class",
        "What it sees",
        "Where this comes from",
        "How to read this",
    ]
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_the_evidence_is_all_there(page):
    parsed = Page(page.read_text())
    for words in (
        "Test CPU, 2 cores usable", "c0ffee" + "0" * 58, "openvino 1.2", "480 × 384", "1.0% of our cores",
        "2950 to 3000 MHz", "70.9%", "absent", "deadline 20.0 ms", "bench-openvino.json", "INT8 engine", "Edges",
        "2026-01-02 03:04:05 UTC", "INT8 is 4.00x faster",
    ):  # fmt: skip
        assert words in parsed.text, words
    assert parsed.tags["svg"] == 10  # four for each of two measurements, the trade-off, the classes
    assert parsed.tags["img"] == 8


def test_names_are_text_and_never_markup(page):
    text = page.read_text()
    assert "A &lt;robot&gt; &amp; co" in text and "road <b>" not in text and "road &lt;b&gt;" in text


def test_colours_follow_the_theme(page):
    """Plots are drawn in stand-ins: none may be left, and every variable that is used is defined."""
    text = page.read_text()
    assert "#0a0b0" not in text and "#0a0c0" not in text and "prefers-color-scheme: dark" in text
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= set(re.findall(r"(--[\w-]+):", text))


def test_the_same_files_give_the_same_bytes(files, page, rest, whole_page, tmp_path):
    again = report(files, tmp_path / "again.html", "A <robot> & co")
    assert again.read_bytes() == page.read_bytes()
    found, against = rest
    first, second = (report(found, tmp_path / f"{n}.md", "T", against).read_bytes() for n in (1, 2))
    assert first == second


def test_evaluations_beyond_the_colours_are_hatched(evaluated):
    many = [evaluated("torch-float", 0.5 + i / 100, name=f"net-{i}") for i in range(12)]
    looks = plots._looks([*many, evaluated("openvino-int8", 0.6)])
    assert len({tuple(look.items()) for look in looks}) == len(looks)
    drawn = plots.per_class(many, "classes").svg
    assert drawn.count("<pattern") == 7 and "#0a0" not in drawn


@pytest.mark.parametrize("pattern", ["bench-openvino.json", "eval-*.json", "panels.json", "profile.json"])
def test_any_kind_of_file_alone_is_enough(files, rest, tmp_path, pattern):
    for suffix in ("html", "md"):
        assert report([f for f in (*files, *rest[0]) if f.match(pattern)], tmp_path / f"one.{suffix}").read_text()


def test_names_in_any_script(tmp_path, evaluated):
    evaluated("torch-float", 0.7, name="_道路$x$", per_class={"道路": 0.5, "$a_$b": 0.1}).write(tmp_path / "e.json")
    parsed = Page(report([tmp_path / "e.json"], tmp_path / "r.html").read_text())
    for words in ("道路", "$a_$b", "torch-float: _道路$x$"):
        assert words in parsed.text


def test_one_frame_that_took_for_ever_does_not_flatten_the_rest(tmp_path, measured):
    measured(ms=[10.0] * 299 + [900.0]).write(tmp_path / "m.json")
    text = report([tmp_path / "m.json"], tmp_path / "r.html").read_text()
    assert "(logarithmic)" in text and "INT8, late" in text


def test_what_a_camera_a_profile_and_an_earlier_run_say(rest, whole_page, tmp_path):
    found, against = rest
    parsed = Page(whole_page.read_text())
    markdown = report(found, tmp_path / "r.md", "The rest", against).read_text()
    for text in (parsed.text, markdown.replace("\\*", "*")):
        for words in (
            "openvino-int8 (stream)",
            "300 frames over 10.0 s: 30 later than 33.3 ms, 2 dropped. The machine was disturbed: other load from 3.0",
            "The harness itself takes 2.0 µs per frame",
            "boundary F1 60.0%",
            "Of a median frame of 12.5 ms, the longest stage is engine with 9.60 ms (77%); wait for the engine 0.50 ms",
            "89.33% of 300 frames were done within 33.3 ms",
            "p50 of frame to labels: faster, 0.50 (0.50 to 0.50) times as long",
            "Older CPU, 2 cores then, Test CPU, 2 cores now",
            "stem takes 75%, the slowest layer, stem.0.Conv, 50%",
            "stem.0.Conv stands lowest under that, at 0.02 of it",
            "(engine: Reorder)",
            "then.json",
        ):
            assert words in text, words
    assert "head &lt;b&gt;" in whole_page.read_text() and "head <b>" not in whole_page.read_text()
    assert "$" not in parsed.text  # no markup of a library that draws


def test_markdown_says_the_same(files, tmp_path):
    text = report(files, tmp_path / "report.md", "Title").read_text()
    assert text.startswith("# Title\n\n**openvino-int8 keeps 50 frames per second; onnxruntime-int8 misses them.**")
    assert "| int8-net | openvino 1.2 | INT8 | 70.9% | 99.93% | 10.0 | 10.0 | 100 | 5.9 MB | MET |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "INT8 is 4.00x faster" in text and "c0ffee" in text


def test_only_html_and_markdown(files, tmp_path):
    with pytest.raises(UserError, match=r"\.html or \.md, got 'report\.pdf'"):
        report(files, tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_named_with_its_remedy(files, tmp_path, monkeypatch, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(BackendMissing, match=rf"{library}: pip install 'edgeseg\[report\]'"):
        report(files, tmp_path / "report.html")
    assert report(files, tmp_path / "report.md").exists()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_draws_it(page, tmp_path):
    image = pytest.importorskip("PIL.Image")
    shot = tmp_path / "shot.png"
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars --window-size=1200,1800"
    )
    subprocess.run(
        [CHROMIUM, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    colors = {color: count for count, color in image.open(shot).convert("RGB").getcolors(2**24)}
    met, missed, int8 = (0x11, 0x75, 0x3B), (0xB4, 0x23, 0x18), (0x24, 0x59, 0xD6)
    assert colors[met] > 500 and colors[missed] > 500, "the cards' edges"
    assert colors[int8] > 1000, "the engine's part of a frame, and its dots"


def test_of_several_cameras_the_worst_is_shown(streamed, tmp_path):
    """As the judge has it: the second camera's frames are all late."""
    from edgeseg.report.html import _judged

    n = len(streamed.samples)
    camera = tuple(int(age > 20e6) for age in streamed.samples.age_ns)
    two = replace(
        streamed,
        samples=replace(streamed.samples, camera=camera),
        drops=replace(streamed.drops, arrived_ns=(1, 2, 3), camera=(0, 0, 0)),
        scenario=Scenario(kind="multi", fps=30.0, cameras=2),
    )
    worst, ages = _judged(two)
    assert (worst, len(ages)) == (0, n - 30 + 3)  # one in a hundred of the first camera's was never looked at
    assert max(ages) == float("inf")
    two = replace(two, drops=replace(two.drops, arrived_ns=(), camera=()))
    assert _judged(two)[0] == 1 and min(_judged(two)[1]) > 40
    two.write(tmp_path / "two.json")
    assert "p99 of camera 1, ms" in Page(report([tmp_path / "two.json"], tmp_path / "two.html").read_text()).text
