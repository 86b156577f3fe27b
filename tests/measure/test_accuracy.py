"""IoU by hand, and evaluations as JSON."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeseg.errors import ContractError, UserError
from edgeseg.measure.accuracy import Confusion, Evaluation, agreement

TRUTH = np.array([[0, 0, 1], [1, 255, 0]], np.uint8)
LABELS = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)


def test_iou_by_hand():
    confusion = Confusion(4)
    confusion.add(LABELS, TRUTH)
    # class 0: 2 hits of 3 true and 2 given; class 1: 2 hits of 2 true and 3 given; 2 stands on an ignored pixel only.
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 2 / 3, np.nan, np.nan])
    assert confusion.miou == pytest.approx(2 / 3)
    assert confusion.pixel_accuracy == pytest.approx(4 / 5)


def test_a_class_given_but_never_true_counts_as_zero():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 2]], np.uint8), np.array([[0, 0]], np.uint8))
    np.testing.assert_allclose(confusion.iou(), [0.5, np.nan, 0.0])


def test_frames_add_up_before_they_are_divided():
    """Not the mean over frames, which would be (1 + 0) / 2 for class 0."""
    confusion = Confusion(2)
    confusion.add(np.zeros((1, 3), np.uint8), np.zeros((1, 3), np.uint8))
    confusion.add(np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    assert confusion.iou()[0] == pytest.approx(3 / 4)


def test_nothing_labelled_is_nan_without_a_warning():
    confusion = Confusion(2)
    confusion.add(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert np.isnan(confusion.miou) and np.isnan(confusion.pixel_accuracy)


@pytest.mark.parametrize(
    ("labels", "truth", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((4, 6), np.uint8), "at the size of the truth"),
        (np.zeros((1, 1), np.uint8), np.full((1, 1), 7, np.uint8), "truth hold class 7"),
        (np.full((1, 1), 9, np.uint8), np.zeros((1, 1), np.uint8), "labels hold class 9"),
    ],
)
def test_what_cannot_be_compared_is_refused(labels, truth, message):
    with pytest.raises(ContractError, match=message):
        Confusion(3).add(labels, truth)


def test_agreement_is_a_share_of_pixels():
    assert agreement(LABELS, TRUTH) == pytest.approx(4 / 6)
    with pytest.raises(ContractError, match="shapes"):
        agreement(LABELS, TRUTH[:1])


def evaluation(confusion=None, **changes):
    if confusion is None:
        confusion = Confusion(3)
        confusion.add(LABELS, TRUTH)
    conditions = {
        "name": "qat",
        "subject": "engine",
        "target": "openvino-int8",
        "precision": "int8",
        "frames": 1,
        "data": "folder:here",
        "split": "val",
    }
    return Evaluation.of(confusion, ("sky", "road", "car"), **{**conditions, **changes})


def test_an_evaluation_survives_json_and_keeps_the_order_of_classes(tmp_path):
    before = evaluation(agreement=0.9991, bundle_digest="ab" * 32)
    before.write(tmp_path / "deep" / "eval.json")
    after = Evaluation.from_json((tmp_path / "deep" / "eval.json").read_text())
    assert after == before
    assert list(after.per_class.items()) == [
        ("sky", pytest.approx(2 / 3)),
        ("road", pytest.approx(2 / 3)),
        ("car", None),
    ]
    assert after.backend == "openvino"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["eval.json"]


def test_shares_are_between_0_and_1():
    with pytest.raises(ContractError, match="miou is a share"):
        dataclasses.replace(evaluation(), miou=71.0)
    with pytest.raises(ContractError, match="were any pixels labelled"):
        evaluation(confusion=Confusion(3))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "measurement"}', '{"kind": "evaluation", "miou": 1}'])
def test_other_documents_are_refused(text):
    with pytest.raises(UserError):
        Evaluation.from_json(text)
