"""Networks in ONNX files that are written here: what they answer is known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgeseg.errors import NetworkError, UserError
from edgeseg.foreign import open_foreign

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

WEIGHTS = np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype(np.float32)


def write(
    file, *, size=(None, None), batch="n", dtype=TensorProto.FLOAT, rows_first=False, tail=(), kind=TensorProto.FLOAT
):
    """A 4x4 convolution with stride 4 to three classes, and the operations ``tail`` on its logits."""
    h, w = (n or name for n, name in zip(size, "hw"))
    shape = [batch, h, w, 3] if rows_first else [batch, 3, h, w]
    nodes = [helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Transpose", ["real"], ["x"], perm=[0, 3, 1, 2] if rows_first else [0, 1, 2, 3]))
    nodes.append(helper.make_node("Conv", ["x", "w"], ["logits"], strides=[4, 4]))
    last = "logits"
    for i, (op, attributes) in enumerate(tail):
        nodes.append(helper.make_node(op, [last], [f"t{i}"], **attributes))
        last = f"t{i}"
    rank = 3 if any(a.get("keepdims") == 0 for _, a in tail) else 4
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info(last, kind, [None] * rank)],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, file)
    return file


def logits(images: torch.Tensor) -> torch.Tensor:
    return F.conv2d(images, torch.from_numpy(WEIGHTS), stride=4)


IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
ARGMAX = ("ArgMax", {"axis": 1, "keepdims": 0})
SOFTMAX = ("Softmax", {"axis": 1})


@pytest.mark.parametrize("batch", ["n", 1])
def test_logits_are_taken_as_they_are(tmp_path, batch):
    found, identity = open_foreign(f"onnx:{write(tmp_path / 'm.onnx', batch=batch)}?mean=0.1,0.2,0.3&std=0.5")
    assert (found.mean, found.std, found.classes) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), ())
    assert found.network.stride == 4 and identity["weights_sha256"] == found.digest
    torch.testing.assert_close(found.network(IMAGES).logits, logits(IMAGES), atol=1e-4, rtol=1e-4)
    assert found.network(IMAGES[..., :50, :70]).logits.shape == (2, 3, 13, 18)


def test_probabilities_are_recognised(tmp_path):
    found, _ = open_foreign(f"onnx:{write(tmp_path / 'm.onnx', tail=[SOFTMAX])}?mean=0&std=1")
    out = found.network(IMAGES).logits
    torch.testing.assert_close(out.softmax(1), logits(IMAGES).softmax(1), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_labels_become_nearly_sure_logits(tmp_path, keepdims):
    tail = [("ArgMax", {"axis": 1, "keepdims": keepdims})]
    file = write(tmp_path / "m.onnx", tail=tail, kind=TensorProto.INT64)
    with pytest.raises(NetworkError, match="num_classes=19"):
        open_foreign(f"onnx:{file}?mean=0&std=1")
    found, _ = open_foreign(f"onnx:{file}?mean=0&std=1&num_classes=3")
    out = found.network(IMAGES).logits
    assert torch.equal(out.argmax(1), logits(IMAGES).argmax(1))
    torch.testing.assert_close(out.softmax(1).amax(1), torch.full((2, 16, 24), 0.99))


def test_a_label_that_is_no_class_is_for_none_of_them(tmp_path):
    file = write(tmp_path / "m.onnx", tail=[ARGMAX], kind=TensorProto.INT64)
    found, _ = open_foreign(f"onnx:{file}?mean=0&std=1&num_classes=2")
    unknown = logits(IMAGES).argmax(1) == 2
    p = found.network(IMAGES).logits.softmax(1)
    assert unknown.any() and torch.equal(p[:, 0][unknown], torch.full_like(p[:, 0][unknown], 0.5))


def test_bytes_in_rows_first_of_one_size(tmp_path):
    file = write(tmp_path / "m.onnx", size=(64, 96), batch=1, dtype=TensorProto.UINT8, rows_first=True)
    found, _ = open_foreign(f"onnx:{file}")
    assert (found.mean, found.std) == ((0, 0, 0), (1, 1, 1))
    out = found.network(IMAGES).logits
    torch.testing.assert_close(out, F.log_softmax(logits((IMAGES * 255).round()), 1), atol=1e-2, rtol=1e-3)
    assert found.network(IMAGES[..., :32, :80]).logits.shape == (2, 3, 8, 20)


def test_channels_may_come_last_and_colours_the_other_way_round(tmp_path):
    file = write(tmp_path / "m.onnx", tail=[("Transpose", {"perm": [0, 2, 3, 1]})])
    found, _ = open_foreign(f"onnx:{file}?mean=0&std=1&color=bgr")
    torch.testing.assert_close(found.network(IMAGES).logits, logits(IMAGES.flip(1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "tail", "says"),
    [
        ("", [], r"how pixels / 255 are normalised"),
        ("?mean=0&std=1&answers=truth", [], "answers must be one of"),
        ("?mean=0&std=1&color=grey", [], "color must be one of"),
        ("?mean=0&std=1&output=x", [], "output must be one of logits"),
        ("?mean=0&std=1", [("Sigmoid", {})], "answers=probabilities"),
        ("?mean=0&std=1", [("Flatten", {"axis": 2})], r"expected \(N, K, h, w\)"),
    ],
)
def test_what_is_unclear_is_asked(options, tail, says, tmp_path):
    with pytest.raises((NetworkError, UserError), match=says):
        open_foreign(f"onnx:{write(tmp_path / 'm.onnx', tail=tail)}{options}")


def test_each_class_by_itself_may_be_told(tmp_path):
    file = write(tmp_path / "m.onnx", tail=[("Sigmoid", {})])
    found, _ = open_foreign(f"onnx:{file}?mean=0&std=1&answers=probabilities")
    p = logits(IMAGES).sigmoid().clamp_min(math.exp(-13.9))
    torch.testing.assert_close(found.network(IMAGES).logits.softmax(1), p / p.sum(1, True), atol=1e-4, rtol=1e-3)


def test_a_file_that_is_no_model_is_told(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no")
    for file in ("m.onnx", "none.onnx"):
        with pytest.raises(UserError, match=f"{file} cannot be opened"):
            open_foreign(f"onnx:{tmp_path / file}?mean=0&std=1")
