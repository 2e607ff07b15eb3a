"""What an evaluation says, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpconv.errors import DataError
from mlpconv.training.metrics import evaluate, softmax

logits_and_labels = st.tuples(st.integers(1, 20), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-80, 80, width=32)),
        arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


@given(logits_and_labels)
def test_the_values_of_an_evaluation_follow_their_definitions(pair):
    logits, labels = pair
    found = evaluate(logits, labels)
    chances = softmax(logits)
    np.testing.assert_allclose(chances.sum(1), 1)
    own = np.maximum(chances[np.arange(len(labels)), labels], 1e-300)
    assert found.loss == pytest.approx(-np.log(own).mean(), rel=1e-9, abs=1e-9)
    predicted = logits.argmax(1)
    assert found.accuracy == (predicted == labels).mean()
    assert found.confusion.sum() == len(labels)
    for true, guess in zip(labels, predicted, strict=True):
        assert found.confusion[true, guess] >= 1
    assert np.trace(found.confusion) == (predicted == labels).sum()


def test_an_evaluation_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(1)
    logits, labels = draw.normal(size=(200, 5)).astype(np.float32), draw.integers(0, 4, 200)
    found = evaluate(logits, labels)
    predicted = logits.argmax(1)
    np.testing.assert_array_equal(found.confusion, sklearn.confusion_matrix(labels, predicted, labels=range(5)))
    assert found.loss == pytest.approx(sklearn.log_loss(labels, softmax(logits), labels=range(5)))
    recall = sklearn.recall_score(labels, predicted, labels=range(4), average=None)
    np.testing.assert_allclose(found.class_accuracy[:4], recall)
    assert np.isnan(found.class_accuracy[4])  # it has no images


def test_large_logits_stay_exact():
    found = evaluate(np.array([[1e30, 0], [0, 1e30]], np.float32), np.array([0, 0]))
    assert found.loss == pytest.approx(5e29)
    np.testing.assert_array_equal(softmax(np.array([[1e30, 0.0]], np.float32)), [[1, 0]])


def test_infinite_logits_give_an_infinite_loss():
    assert not np.isfinite(evaluate(np.array([[np.inf, 0]], np.float32), np.array([0])).loss)
    assert not np.isfinite(evaluate(np.array([[np.nan, 0]], np.float32), np.array([0])).loss)


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(DataError, match="not one image to evaluate"):
        evaluate(np.empty((0, 3), np.float32), np.empty(0, np.int64))
