"""Every tail that is cut off an ONNX model leaves the labels as they were; every other tail stays."""

from __future__ import annotations

import numpy as np
import pytest
from models import SIZE_HW, Build, K, law, wishes

from edgeseg.errors import UserError

H, W = SIZE_HW
BILINEAR = ("none", "bilinear", "half_pixel", 8)
SOFT = ("softmax", "bilinear", "half_pixel", 8)
NEAREST = ("none", "nearest", "half_pixel", 8)


def argmax(b: Build, x: str, **attributes: object) -> str:
    return b("ArgMax", x, axis=1, keepdims=0, **attributes)


def top1(b: Build, x: str, **attributes: object) -> str:
    return b("Squeeze", b("TopK", x, b.ints(1), axis=1, outputs=2, **attributes)[1], b.ints(1))


def nearest(b: Build, x: str, **attributes: object) -> str:
    return b.resize(x, mode="nearest", coordinate_transformation_mode="asymmetric", **attributes)


def to_labels(b: Build, x: str, op: str = "float32") -> str:
    """Labels (1, h, w), argmaxed first, enlarged then: (1, 1, H, W)."""
    small = b("ArgMax", x, axis=1, keepdims=1)
    kind = {"float32": 1, "int32": 6, "int64": 7}[op]
    return nearest(b, b("Cast", small, to=kind))


CUT = {
    "resize": (lambda b, x: b.resize(x), BILINEAR),
    "resize argmax": (lambda b, x: argmax(b, b.resize(x)), BILINEAR),
    "resize argmax kept": (lambda b, x: b("ArgMax", b.resize(x), axis=-3, keepdims=1), BILINEAR),
    "resize softmax argmax": (lambda b, x: argmax(b, b("Softmax", b.resize(x), axis=1)), BILINEAR),
    "resize softmax": (lambda b, x: b("Softmax", b.resize(x), axis=1), BILINEAR),
    "resize sigmoid argmax": (lambda b, x: argmax(b, b("Sigmoid", b.resize(x))), BILINEAR),
    "resize logsoftmax argmax": (lambda b, x: argmax(b, b("LogSoftmax", b.resize(x), axis=1)), BILINEAR),
    "softmax resize argmax": (lambda b, x: argmax(b, b.resize(b("Softmax", x, axis=1))), SOFT),
    "softmax resize": (lambda b, x: b.resize(b("Softmax", x, axis=1)), SOFT),
    "softmax resize softmax argmax": (
        lambda b, x: argmax(b, b("Softmax", b.resize(b("Softmax", x, axis=1)), axis=1)),
        SOFT,
    ),
    "logsoftmax resize argmax": (lambda b, x: argmax(b, b.resize(b("LogSoftmax", x, axis=1))), BILINEAR),
    "logsoftmax softmax resize argmax": (
        lambda b, x: argmax(b, b.resize(b("Softmax", b("LogSoftmax", x, axis=1), axis=1))),
        SOFT,
    ),
    "pytorch_half_pixel": (
        lambda b, x: argmax(b, b.resize(x, coordinate_transformation_mode="pytorch_half_pixel")),
        BILINEAR,
    ),
    "align_corners": (
        lambda b, x: argmax(b, b.resize(x, coordinate_transformation_mode="align_corners")),
        ("none", "bilinear", "align_corners", 8),
    ),
    "softmax align_corners": (
        lambda b, x: argmax(b, b.resize(b("Softmax", x, axis=1), coordinate_transformation_mode="align_corners")),
        ("softmax", "bilinear", "align_corners", 8),
    ),
    "asymmetric": (
        lambda b, x: argmax(b, b.resize(x, coordinate_transformation_mode="asymmetric")),
        ("none", "bilinear", "asymmetric", 8),
    ),
    "resize to sizes": (
        lambda b, x: argmax(b, b("Resize", x, "", "", b.ints(1, K, H, W), mode="linear")),
        BILINEAR,
    ),
    "resize topk": (lambda b, x: top1(b, b.resize(x)), BILINEAR),
    "topk cast": (lambda b, x: b("Cast", top1(b, b.resize(x)), to=6), BILINEAR),
    "argmax cast uint8": (lambda b, x: b("Cast", argmax(b, b.resize(x)), to=2), BILINEAR),
    "argmax unsqueeze": (lambda b, x: b("Unsqueeze", argmax(b, b.resize(x)), b.ints(1)), BILINEAR),
    "argmax squeeze": (lambda b, x: b("Squeeze", argmax(b, b.resize(x)), b.ints(0)), BILINEAR),
    "argmax reshape": (lambda b, x: b("Reshape", argmax(b, b.resize(x)), b.ints(H, W)), BILINEAR),
    "argmax identity": (lambda b, x: b("Identity", argmax(b, b.resize(x))), BILINEAR),
    "nearest logits": (lambda b, x: argmax(b, nearest(b, x)), NEAREST),
    "nearest half_pixel": (
        lambda b, x: argmax(
            b,
            b.resize(
                x, mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor"
            ),
        ),
        NEAREST,
    ),
    "softmax nearest argmax": (lambda b, x: argmax(b, nearest(b, b("Softmax", x, axis=1))), NEAREST),
    "sigmoid nearest argmax": (lambda b, x: argmax(b, nearest(b, b("Sigmoid", x))), NEAREST),
    "argmax nearest": (lambda b, x: b("Cast", to_labels(b, x), to=7), NEAREST),
    "argmax nearest int32": (lambda b, x: to_labels(b, x, "int32"), NEAREST),
    "argmax nearest as floats": (to_labels, NEAREST),
    "argmax alone": (argmax, NEAREST),
    "transposed": (
        lambda b, x: b("ArgMax", b("Transpose", b.resize(x), perm=[0, 2, 3, 1]), axis=3, keepdims=0),
        BILINEAR,
    ),
    "channels last": (
        lambda b, x: b(
            "ArgMax",
            b(
                "Softmax",
                b("Resize", b("Transpose", x, perm=[0, 2, 3, 1]), "", b.constant([1, 8, 8, 1]), mode="linear"),
                axis=-1,
            ),
            axis=-1,
            keepdims=0,
        ),
        BILINEAR,
    ),
    "scores": (lambda b, x: x, BILINEAR),
    "coarse probabilities": (lambda b, x: b("Softmax", x, axis=1), SOFT),
}  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_a_tail_that_the_contract_can_say_is_cut(case, make, tmp_path):
    tail, (activation, interpolation, coordinates, stride) = CUT[case]
    found = law(make(tail), tmp_path)
    c = found.contract
    assert (c.activation, c.interpolation, c.coordinates, c.stride) == (activation, interpolation, coordinates, stride)
    assert (c.output, found.left) == ("logits", "")
    assert case == "scores" or found.cut


def cubic(b: Build, x: str) -> str:
    return b.resize(x, mode="cubic")


# name: (tail, stride of what is returned instead, what is said)
LEFT = {
    "cubic argmax": (lambda b, x: argmax(b, cubic(b, x)), 1, "a cubic resize"),
    "sigmoid resize argmax": (lambda b, x: argmax(b, b.resize(b("Sigmoid", x))), 8, "other than softmax"),
    "softmax twice": (
        lambda b, x: argmax(b, b.resize(b("Softmax", b("Softmax", x, axis=1), axis=1))),
        8,
        "other than softmax",
    ),
    "softmax over rows": (lambda b, x: argmax(b, b.resize(b("Softmax", x, axis=2))), 8, "another axis"),
    "two resizes": (lambda b, x: argmax(b, b.resize(b.resize(x, 2), 4)), 4, "two resizes"),
    "nearest to other pixels": (
        lambda b, x: argmax(
            b, b.resize(x, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil")
        ),
        1,
        "takes other pixels",
    ),
    "coarse": (lambda b, x: b.resize(x, 2), 4, "not to the input's"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT)
def test_what_the_contract_cannot_say_stays_in_the_graph(case, make, tmp_path):
    tail, stride, why = LEFT[case]
    found = law(make(tail), tmp_path)
    assert (found.contract.output, found.contract.stride) == ("logits", stride)
    assert why in found.left


@pytest.mark.parametrize(
    "tail",
    [
        lambda b, x: argmax(b, b.resize(x), select_last_index=1),
        lambda b, x: top1(b, b.resize(x), largest=0),
        lambda b, x: b("Add", argmax(b, b.resize(x)), b.ints(0)),
        lambda b, x: b("Unsqueeze", argmax(b, b.resize(x), select_last_index=1), b.ints(0)),
        lambda b, x: b("Squeeze", argmax(b, b.resize(x), select_last_index=1), b.ints(0)),
    ],
    ids=["last of equals", "smallest", "unknown", "four axes", "two axes"],
)
def test_labels_made_in_another_way_stay_labels(tail, make, tmp_path):
    found = law(make(tail), tmp_path)
    assert (found.contract.output, found.contract.stride) == ("labels", 1)


def test_antialiasing_stays(make, tmp_path):
    found = law(make(lambda b, x: argmax(b, b.resize(x, antialias=1)), opset=18), tmp_path)
    assert found.contract.stride == 1
    assert "antialiasing" in found.left


def test_a_size_that_is_no_multiple_of_the_stride(make, tmp_path):
    """65 = 513 / 8, rounded up, as networks with align_corners have it."""
    tail = lambda b, x: argmax(  # noqa: E731
        b, b("Resize", x, "", "", b.ints(1, K, 49, 81), mode="linear", coordinate_transformation_mode="align_corners")
    )
    found = law(make(tail, size_hw=(49, 81)), tmp_path)
    assert (found.contract.stride, found.contract.output_shape) == (8, (1, K, 7, 11))


def test_a_full_size_network_has_stride_1(make, tmp_path):
    found = law(make(argmax, strides=(1, 1)), tmp_path)
    assert (found.contract.stride, found.cut) == (1, ("ArgMax",))


@pytest.mark.parametrize("opset", [9, 10, 11, 12])
def test_old_operators(opset, make, tmp_path):
    def tail(b: Build, x: str) -> str:
        if opset == 9:
            x = b("Upsample", x, b.constant([1, 1, 8, 8]), mode="linear")
        elif opset == 10:
            x = b("Resize", x, b.constant([1, 1, 8, 8]), mode="nearest")
        else:
            x = b("Resize", x, b.constant(()), b.constant([1, 1, 8, 8]), mode="linear")
        x = b("Softmax", b("Transpose", x, perm=[0, 2, 3, 1]), axis=3)
        return b("ArgMax", x, axis=3, keepdims=0)

    found = law(make(tail, opset=opset), tmp_path)
    want = {9: ("bilinear", "asymmetric"), 10: ("nearest", "half_pixel")}.get(opset, ("bilinear", "half_pixel"))
    assert (found.contract.interpolation, found.contract.coordinates, found.contract.stride) == (*want, 8)


def test_the_output_is_chosen(make, tmp_path):
    def two(b: Build, x: str) -> tuple[str, str]:
        return b("ReduceMean", x, axes=[1]), argmax(b, b.resize(x))

    file = make(two)
    found = law(file, tmp_path)
    assert found.cut[-1] == "ArgMax"
    with pytest.raises(UserError, match="neither labels nor logits"):
        law(file, tmp_path, wishes(output="t5_0"))
    with pytest.raises(UserError, match="has no output 'aux'"):
        law(file, tmp_path, wishes(output="aux"))


def test_another_number_of_classes_is_said(make, tmp_path):
    with pytest.raises(UserError, match=r"logits of 3 classes .* \(1, 5, 48, 80\).* does --classes list every"):
        law(make(lambda b, x: b.resize(x)), tmp_path, wishes(classes=("a", "b", "c")))


def test_labels_are_as_exact_as_the_original_with_equal_scores(tmp_path):
    """Where scores are equal the lower class wins, before and after."""
    b = Build()
    weight = np.zeros((K, 3, 8, 8), np.float32)
    weight[1:3, 0] = weight[3:, 1] = 1 / 64
    logits = b("Conv", "x", b.constant(weight), strides=[8, 8])
    file = b.save(tmp_path / "ties.onnx", (np.float32, (1, 3, *SIZE_HW)), [argmax(b, b.resize(logits))])
    assert law(file, tmp_path, wishes(mean=(0, 0, 0), std=(1, 1, 1))).contract.stride == 8
