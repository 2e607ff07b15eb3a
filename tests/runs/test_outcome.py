"""How a run ended, in a word and in a sentence."""

import pytest

from mlpconv.runs.outcome import lost_classes, outcome, what_is_wrong
from mlpconv.runs.run import Result


def result(accuracies, *, loss=0.5, dead=None):
    """The result of a run with these accuracies of the classes a, b, c …"""
    names = "abcdefghij"[: len(accuracies)]
    return Result(
        loss=loss,
        train_accuracy=0.5,
        test_accuracy=0.25,
        test_loss=loss,
        examples_per_second=1.0,
        seconds=1.0,
        epochs=1,
        class_accuracy=dict(zip(names, accuracies, strict=True)),
        confusion=[],
        dead_classes=dead,
    )


@pytest.mark.parametrize(
    ("accuracies", "loss", "expected"),
    [
        ([0.9, 0.8, 0.02], 0.5, "learns"),
        ([0.9, 0.8, None], 0.5, "learns"),
        ([0.9, 0.8, 0.0], 0.5, "loses classes"),
        ([0.9, 0.8, 0.009], 0.5, "loses classes"),
        ([1.0, 0.0, 0.0], 0.5, "stalls"),
        ([0.4, 0.4, 0.4], 1.0986, "stalls"),
        ([0.4, 0.4, 0.4], 1.07, "learns"),
    ],
)
def test_outcome(accuracies, loss, expected):
    assert outcome(result(accuracies, loss=loss)) == expected


def test_a_class_without_test_images_is_not_lost():
    assert lost_classes(result([0.9, None, 0.0])) == ["c"]


def test_nothing_is_wrong_with_a_network_that_recognizes_every_class():
    assert what_is_wrong(result([0.9, 0.8, 0.7])) is None


def test_lost_and_dead_classes_are_named():
    assert what_is_wrong(result([0.9, 0.9, 0.0, 0.0], dead=["d"])) == (
        "The network does not recognize 2 of 4 classes: c, d; the class map of d is 0 everywhere."
    )
    assert what_is_wrong(result([0.9, 0.9, 0.0], dead=[])) == "The network does not recognize 1 of 3 classes: c."


def test_a_network_that_learned_nothing_is_named_as_such():
    assert what_is_wrong(result([1.0, 0.0, 0.0])) == "The network has learned nothing: its test accuracy is 0.250."


def test_a_loss_of_guessing_is_named_where_several_classes_are_recognized():
    assert what_is_wrong(result([0.4, 0.4, 0.4], loss=1.0986)) == (
        "The network has hardly learned anything: the training loss of its last epoch, 1.1, is that of guessing, and "
        "its test accuracy is 0.250."
    )
