"""``export/cpp``: built as its page says, with pip's OpenVINO, and labelling every pixel as Python does."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg import Segmenter, pixels
from edgeseg.bundle import Bundle, seal

CPP = Path(__file__).resolve().parents[2] / "export/cpp"
PAGE = (CPP / "README.md").read_text()
SIZES = [(32, 64), (33, 65), (101, 67), (7, 300), (240, 320), (1, 1)]
PRECISIONS = ("int8", "fp32")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def json_headers() -> Path | None:
    """Those that pip installs; where it has not, CMake looks for a package of the system."""
    spec = importlib.util.find_spec("nlohmann_json")
    return Path(spec.submodule_search_locations[0]) / "include" if spec else None


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def build(factory: pytest.TempPathFactory, name: str, project: str, *options: str) -> Path:
    """Configure and build a project that takes ``export/cpp`` in as the page says; the folder of what was built.

    Once per test run: the processes of one run share a folder, and the second waits for the first.
    """
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder = root / name
    folder.mkdir(exist_ok=True)
    made, done = folder / "build", folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _build(folder, made, project, *options)
            done.touch()
    return made


def _build(folder: Path, made: Path, project: str, *options: str) -> None:
    (folder / "robot.cpp").write_text(block("cpp"))
    head = "cmake_minimum_required(VERSION 3.20)\nproject(robot LANGUAGES CXX)\n"
    (folder / "CMakeLists.txt").write_text(head + project.replace("edgeseg/export/cpp", str(CPP)))
    headers = [f"-DNLOHMANN_JSON_INCLUDE_DIR={found}"] if (found := json_headers()) else []
    for command in (
        ["cmake", "-S", folder, "-B", made, "-DEDGESEG_STRICT=ON", "-DEDGESEG_TENSORRT=OFF", *headers, *options],
        ["cmake", "--build", made, "-j", "2"],
    ):
        ran = run(*command)
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    from openvino.utils import get_cmake_path

    options = ["-DCMAKE_CXX_FLAGS=-O1", "-DEDGESEG_OPENVINO=ON", f"-DOpenVINO_DIR={get_cmake_path()}"]
    samples = ["-DEDGESEG_SAMPLES=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_OpenCV=ON"]
    return build(tmp_path_factory, "cpp", block("cmake"), *options, *samples)


@pytest.fixture(scope="module")
def segment(built: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *words: run(built / "edgeseg_cpp/segment", *words, "--threads", "1")


def write_ppm(path: Path, frame: np.ndarray) -> Path:
    h, w, _ = frame.shape
    path.write_bytes(b"P6\n# a comment\n%d %d\n255\n" % (w, h) + frame.tobytes())
    return path


def read_pnm(path: Path, channels: int) -> np.ndarray:
    magic, size, depth, data = path.read_bytes().split(b"\n", 3)
    assert (magic, depth) == (b"P5" if channels == 1 else b"P6", b"255")
    w, h = map(int, size.split())
    return np.frombuffer(data, np.uint8).reshape((h, w) if channels == 1 else (h, w, channels))


def frames_of(bundle: Bundle) -> list[np.ndarray]:
    """A golden frame, and noise of sizes that divide nothing, some of it coarse enough to keep its labels."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    coarse = [n[:: max(1, n.shape[0] // 5), :: max(1, n.shape[1] // 5)].repeat(9, 0).repeat(11, 1) for n in noise]
    return [bundle.golden().frames[0], *noise, *coarse]


def agree(segment: Any, bundle: Bundle, folder: Path, precision: str, color: str) -> list[np.ndarray]:
    """Assert that C++ labels the frames of a bundle as Python does; Python's labels."""
    frames = frames_of(bundle)
    paths = [write_ppm(folder / f"{i}.ppm", frame) for i, frame in enumerate(frames)]
    done = segment(bundle.path, *paths, "--out", folder / "out", "--precision", precision, "--color", color)
    assert done.returncode == 0, done.stderr
    python = Segmenter.load(bundle, "openvino", precision=precision, threads=1, color=color)
    wants = [python(frame).copy() for frame in frames]
    for i, want in enumerate(wants):
        np.testing.assert_array_equal(read_pnm(folder / f"out/{i}.pgm", 1), want, err_msg=f"{frames[i].shape}")
    return wants


def resealed(bundle: Bundle, **fields: Any) -> Bundle:
    """The bundle with another contract."""
    (bundle.path / "contract.json").write_text(replace(bundle.contract, **fields).to_json())
    seal(bundle.path, {"convolutions": bundle.provenance["convolutions"]})
    return Bundle.load(bundle.path)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_pixel_is_labelled_as_in_python(segment, tiny_bundle, tmp_path, precision, color):
    wants = agree(segment, tiny_bundle, tmp_path, precision, color)
    assert len(np.unique(wants[0])) == 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_trained_network_says_the_same(segment, exported, tmp_path, precision):
    """With roundings held, sums fused and logits in the order of the last convolution."""
    agree(segment, Bundle.load(exported), tmp_path, precision, "rgb")


@pytest.mark.parametrize(
    "fields",
    [
        {"fit": "letterbox", "border": 30},
        {"fit": "letterbox", "coordinates": "align_corners", "color": "bgr"},
        {"fit": "letterbox", "coordinates": "asymmetric", "interpolation": "nearest"},
        {"activation": "softmax", "coordinates": "align_corners"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_the_contract_is_honoured(segment, tiny_bundle, tmp_path, fields):
    agree(segment, resealed(tiny_bundle, **fields), tmp_path, "int8", "rgb")


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_labels_that_the_network_makes_are_taken(segment, tiny_bundle, tmp_path, fit):
    bundle = resealed(_with_labels(tiny_bundle), output="labels", stride=1, output_name="labels", fit=fit)
    wants = agree(segment, bundle, tmp_path, "fp32", "rgb")
    assert len(np.unique(wants[0])) == 3


def _with_labels(bundle: Bundle) -> Bundle:
    """In place of its float network one that answers the channel with the largest value, int64 (1, H, W)."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = bundle.contract.input_shape
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["real"], ["labels"], axis=3, keepdims=0),
    ]
    ends = [
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("labels", TensorProto.INT64, shape[:3])],
    ]
    model = helper.make_model(helper.make_graph(nodes, "labels", *ends), opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, bundle.path / "float.onnx")
    golden = bundle.golden()
    labels = golden.frames.argmax(3)
    np.savez(
        bundle.path / "golden.npz", frames=golden.frames, truth=golden.truth, logits_float=labels, logits_int8=labels
    )
    return bundle


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_an_overlay_is_pythons(segment, tiny_bundle, tmp_path, color):
    frame = frames_of(tiny_bundle)[3]
    path = write_ppm(tmp_path / "a.ppm", frame)
    done = segment(tiny_bundle.path, path, "--out", tmp_path, "--overlay", "--alpha", "0.3", "--color", color)
    assert done.returncode == 0, done.stderr
    labels = read_pnm(tmp_path / "a.pgm", 1)
    colors = tuple(c if color == "rgb" else c[::-1] for c in tiny_bundle.contract.colors)
    want = pixels.overlay(frame, labels, colors, 0.3)
    np.testing.assert_array_equal(read_pnm(tmp_path / "a-overlay.ppm", 3), want)


def test_it_says_how_long_frames_take(segment, tiny_bundle, tmp_path):
    done = segment(tiny_bundle.path, write_ppm(tmp_path / "a.ppm", frames_of(tiny_bundle)[4]), "--repeat", "20")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^openvino \d+\.\d+\.\d+, 20 frames, frame to labels: min [\d.]+ ms, median [\d.]+, p99 [\d.]+;", done.stdout
    )


def wrongs() -> Iterator[tuple[str, Callable[[Path], object], list[str], str]]:
    """Name; what is done to the folder that holds ``bundle`` and ``a.ppm``; more words; what stderr names."""
    yield "no bundle", lambda at: (at / "bundle/provenance.json").unlink(), [], "is not a bundle"
    yield "changed", lambda at: _edit(at / "bundle/contract.json", "rgb", "bgr"), [], "contract.json was changed"
    yield "damaged", lambda at: _damage(at / "bundle"), [], "contract.json: it is damaged"
    yield "unknown field", lambda at: _damage(at / "bundle", "{", '{"crop": 1,'), [], "'crop'"
    yield "no graph", lambda at: (at / "bundle/int8-cpu.onnx").unlink(), [], "int8-cpu.onnx is missing"
    yield "no such form", _leave_out_int8, [], "holds no int8-cpu graph, only float, int8: it was exported from a float"
    yield "other shape", lambda at: _damage(at / "bundle", "32,", "40,"), [], "expected 'image' of shape (1, 40, 64, 3)"
    yield (
        "other name",
        lambda at: _damage(at / "bundle", '"image"', '"frame"'),
        [],
        "expected tensors 'frame' and 'logits'",
    )
    yield "short frame", lambda at: _cut(at / "a.ppm", -1), [], "fewer pixels than the 64 x 32"
    yield "long frame", lambda at: (at / "a.ppm").write_bytes((at / "a.ppm").read_bytes() + b"0"), [], "more pixels"
    yield "grey frame", lambda at: _edit(at / "a.ppm", "P6", "P5"), [], "not a binary PPM"
    yield "no frame", lambda at: (at / "a.ppm").unlink(), [], "cannot be read"
    yield "bad precision", lambda at: None, ["--precision", "int4"], "got 'int4'"
    yield "bad option", lambda at: None, ["--fast"], "no option --fast"
    yield "bad number", lambda at: None, ["--repeat", "many"], "--repeat takes a number"
    yield "not built in", lambda at: None, ["--target", "trt"], "without TensorRT"


def _edit(path: Path, old: str, new: str) -> None:
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))


def _cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def _damage(bundle: Path, old: str = "}", new: str = "") -> None:
    """Change the contract, and seal the bundle over it as if that were what was exported."""
    _edit(bundle / "contract.json", old, new)
    seal(bundle, {"convolutions": {}})


def _leave_out_int8(at: Path) -> None:
    (at / "bundle/int8-cpu.onnx").unlink()
    seal(at / "bundle", {"convolutions": {}})


@pytest.mark.parametrize(("do", "words", "named"), [pytest.param(*rest, id=name) for name, *rest in wrongs()])
def test_what_is_wrong_ends_in_one_line_and_2(segment, tiny_bundle, tmp_path, do, words, named):
    write_ppm(tmp_path / "a.ppm", tiny_bundle.golden().frames[0])
    do(tmp_path)
    done = segment(tiny_bundle.path, tmp_path / "a.ppm", "--out", tmp_path / "out", *words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(r"error: .*\n", done.stderr) and named in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_library_refuses_ends_in_one_line_and_1(segment, tiny_bundle, tmp_path):
    (tiny_bundle.path / "int8-cpu.onnx").write_bytes(b"no graph")
    seal(tiny_bundle.path, {"convolutions": {}})
    done = segment(tiny_bundle.path, write_ppm(tmp_path / "a.ppm", frames_of(tiny_bundle)[0]))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: openvino cannot run "), done.stderr  # it says much itself


def test_the_pages_program_runs(built, tiny_bundle, tmp_path):
    done = run(built / "robot", tiny_bundle.path)
    assert (done.returncode, done.stderr) == (0, "")
    want = Segmenter.load(tiny_bundle, "openvino", threads=1)(np.full((720, 1280, 3), 128, np.uint8))
    assert done.stdout == f"{tiny_bundle.contract.classes[want[360, 640]]} in the middle\n"
    done = run(built / "robot", tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "is not a bundle" in done.stderr


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ tests, without OpenVINO, in which the sanitizers would find things; TensorRT and CUDA are played."""
    tests = Path(__file__).parent
    project = f"""{block("cmake")}
        add_executable(test_segmenter {tests}/test_segmenter.cpp)
        add_executable(test_tensorrt {tests}/test_tensorrt.cpp {CPP}/src/tensorrt_engine.cpp)
        target_include_directories(test_tensorrt PRIVATE {tests}/fake_cuda)
        foreach(test test_segmenter test_tensorrt)
          target_include_directories(${{test}} PRIVATE {CPP}/src)
          target_include_directories(${{test}} SYSTEM PRIVATE {json_headers() or "/usr/include"})
          target_link_libraries(${{test}} PRIVATE edgeseg::Segmenter)
          target_compile_options(${{test}} PRIVATE -Wall -Wextra -Wconversion -Werror)
        endforeach()
        """
    flags = "-O0 -fsanitize=address,undefined -fno-sanitize-recover=all"
    options = ["-DEDGESEG_OPENVINO=OFF", "-DCMAKE_UNITY_BUILD=ON", f"-DCMAKE_CXX_FLAGS={flags}"]
    return build(tmp_path_factory, "cpp-sanitized", project, *options)


@pytest.mark.parametrize("test", ["test_segmenter", "test_tensorrt"])
def test_the_cpp_tests_pass_under_the_sanitizers(sanitized, tmp_path, test):
    done = run(sanitized / test, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
