"""Bundles that are found by name."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from edgeseg import shipped
from edgeseg.bundle import Bundle
from edgeseg.cli import main
from edgeseg.errors import BundleError


@pytest.fixture
def street(tiny_bundle, tmp_path, monkeypatch):
    """The tiny bundle, shipped as ``street-s``."""
    (tmp_path / "shipped").mkdir()
    shutil.copytree(tiny_bundle.path, tmp_path / "shipped" / "street-s")
    monkeypatch.setattr(shipped, "HERE", tmp_path / "shipped")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "shipped" / "..")
    return tiny_bundle


def test_a_name_is_a_copy_in_the_users_cache(street, tmp_path):
    assert shipped.names() == ["street-s"]
    found = Bundle.load("street-s")
    assert found.digest == street.digest
    assert found.path == tmp_path / "home" / "edgeseg" / "bundles" / street.digest[:12] / "street-s"
    assert Bundle.load("street-s").path == found.path and len(list(found.path.parent.iterdir())) == 1
    (found.path / "plans").mkdir()  # builds go into the copy
    assert Bundle.load("street-s").path == found.path and not (shipped.HERE / "street-s" / "plans").exists()


def test_what_is_there_comes_before_a_name(street, tmp_path):
    (tmp_path / "street-s").mkdir()
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.load("street-s")


def test_an_unknown_name_says_which_there_are(street):
    with pytest.raises(BundleError, match="street-s come with edgeseg"):
        Bundle.load("street-m")


def test_the_command_takes_names(street, capsys):
    assert main(["check", "street-s", "--target", "openvino"]) == 0


@pytest.mark.parametrize("name", shipped.names())
def test_each_is_whole_small_and_says_where_it_is_from(name):
    folder = shipped.HERE / name
    bundle = Bundle.load(folder)
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 4 << 20
    assert not (folder / "plans").exists() and bundle.provenance["trained"]
    golden = bundle.golden()
    assert len(golden.frames) >= 2 and "int8-cpu" in bundle.forms


@pytest.mark.parametrize("name", shipped.names())
def test_each_does_what_the_readme_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "bench.json"
    code = main(["bench", name, "--target", "onnxruntime", "--fps", "30", "--frames", "20", "--out", str(out)])
    assert code in (0, 3, 4) and out.is_file()  # a machine may be slow or busy
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, frame in enumerate(Bundle.load(name).golden().frames):
        Image.fromarray(frame).save(frames / f"{i}.png")
    assert main(["predict", name, str(frames), "--target", "openvino", "--out", str(tmp_path / "labelled")]) == 0
    assert len(list((tmp_path / "labelled" / "labels").iterdir())) == len(list(frames.iterdir()))
