"""Images, folders and videos in; label maps and overlays out, one pair per frame."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeseg import Segmenter
from edgeseg.errors import DataError
from edgeseg.predict import predict


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def frames(tiny_bundle) -> np.ndarray:
    return tiny_bundle.golden().frames


@pytest.fixture
def video(frames, tmp_path):
    """Two golden frames, four times over, without loss."""
    return film(tmp_path / "drive.mkv", [*frames[:2]] * 4)


def film(path, frames, *, turned=0):
    """Frames as a video without loss; ``turned`` degrees counterclockwise is how it is to be shown."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        if turned:
            stream.set_display_rotation(turned)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_an_image_becomes_labels_and_an_overlay(tiny_bundle, frames, tmp_path):
    Image.fromarray(frames[0]).save(tmp_path / "street.png")
    done = predict(tiny_bundle, tmp_path / "street.png", target="onnxruntime", out=tmp_path / "out")
    labels = read(tmp_path / "out/labels/street.png")
    assert done.frames == 1 and labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, Segmenter.load(tiny_bundle, "onnxruntime")(frames[0]))
    assert read(tmp_path / "out/overlays/street.png").shape == frames[0].shape


def test_a_folder_keeps_its_shape(tiny_bundle, frames, tmp_path):
    for name in ("a/one.png", "a/two.png", "b/one.png", "b/one.bmp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[0]).save(path)
    done = predict(tiny_bundle, tmp_path / "in", target="onnxruntime", out=tmp_path / "out")
    written = sorted(str(p.relative_to(tmp_path / "out/labels")) for p in (tmp_path / "out/labels").rglob("*.png"))
    assert done.frames == 4
    assert written == ["a/one.png", "a/two.png", "b/one.bmp.png", "b/one.png.png"]  # two of one stem stay apart


def test_a_video_is_labelled_frame_by_frame(tiny_bundle, frames, video, tmp_path):
    named = []
    done = predict(tiny_bundle, video, target="onnxruntime", out=tmp_path / "out", progress=named.append)
    segmenter = Segmenter.load(tiny_bundle, "onnxruntime")
    assert done.frames == 8 and named[-1] == "drive-000007"
    for i in range(8):
        np.testing.assert_array_equal(read(tmp_path / f"out/labels/drive-{i:06d}.png"), segmenter(frames[i % 2]))


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_video_of_a_camera_held_sideways_is_labelled_as_players_show_it(tiny_bundle, frames, turned, tmp_path):
    shown = frames[0]
    stored = np.ascontiguousarray(np.rot90(shown, -turned // 90))
    drive = film(tmp_path / "drive.mkv", [stored], turned=turned)
    predict(tiny_bundle, drive, target="onnxruntime", out=tmp_path / "out")
    labels = read(tmp_path / "out/labels/drive-000000.png")
    np.testing.assert_array_equal(labels, Segmenter.load(tiny_bundle, "onnxruntime")(shown))


def test_and_so_is_a_still(tiny_bundle, frames, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is the right side
    Image.fromarray(np.rot90(frames[0])).save(tmp_path / "still.png", exif=exif)
    predict(tiny_bundle, tmp_path / "still.png", target="onnxruntime", out=tmp_path / "out")
    labels = read(tmp_path / "out/labels/still.png")
    np.testing.assert_array_equal(labels, Segmenter.load(tiny_bundle, "onnxruntime")(frames[0]))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nothing.png", None, "does not exist"),
        ("notes.txt", b"text", "neither an image"),
        ("broken.png", b"no image", "broken.png cannot be read as an image"),
        ("broken.mp4", b"no video", "broken.mp4 cannot be read as a video"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_written(tiny_bundle, name, content, says, tmp_path):
    if name.endswith(".mp4"):
        pytest.importorskip("av")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        predict(tiny_bundle, tmp_path / name, target="onnxruntime", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
