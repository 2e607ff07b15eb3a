"""What an evaluation says, against scikit-learn and by hand."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpconv.errors import DataError
from mlpconv.training.metrics import accuracy_interval, accuracy_note, evaluate, interval_text, likely_labels, softmax

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


@given(st.integers(1, 2000).flatmap(lambda images: st.tuples(st.integers(0, images), st.just(images))))
def test_the_ends_of_an_interval_solve_the_equation_of_the_score_test(answers):
    correct, images = answers
    share = correct / images
    low, high = accuracy_interval(share, images)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        # Wilson's definition: the shares that a test with this share cannot reject, at 1.96 standard errors.
        assert (share - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / images, abs=1e-12)
    assert accuracy_interval(1 - share, images) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_intervals_of_known_shares():
    # statsmodels.stats.proportion.proportion_confint(10, 100, method="wilson"), and the same of 0 of 10 and 10 of 10.
    assert accuracy_interval(0.1, 100) == pytest.approx((0.05522914, 0.17436566), abs=1e-8)
    assert accuracy_interval(0.0, 10) == (0.0, pytest.approx(0.27753280, abs=1e-8))
    assert accuracy_interval(1.0, 10) == (pytest.approx(0.72246720, abs=1e-8), 1.0)
    assert accuracy_interval(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("images", [20, 59, 200])
def test_intervals_contain_the_true_accuracy_as_often_as_they_promise(images):
    contained = []
    for true in np.linspace(0.05, 0.95, 91):
        for correct in range(images + 1):
            low, high = accuracy_interval(correct / images, images)
            chance = comb(images, correct) * true**correct * (1 - true) ** (images - correct)
            contained.append(chance * (low <= true <= high))
    assert 0.945 < sum(contained) / 91 < 0.96


def test_an_accuracy_of_few_images_is_shown_with_their_number_and_its_interval():
    assert accuracy_note(48 / 59, 59) == " (59 images, 95 % interval 0.696 to 0.893)"
    assert accuracy_note(1.0, 1) == " (1 image, 95 % interval 0.207 to 1.000)"
    assert interval_text(0.5, 999) == "0.469 to 0.531"
    assert accuracy_note(0.5, 1000) == interval_text(0.5, 1000) == accuracy_note(0.0, 0) == ""


@given(logits_and_labels)
def test_likely_labels_follow_their_definition(pair):
    logits, labels = pair
    chances = softmax(logits)
    found, probability = likely_labels(chances, labels)
    confidence = [chances[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(chances.shape[1])]
    for row, label, suggested, chance in zip(chances, labels, found, probability, strict=True):
        others = [k for k, value in enumerate(row) if value >= confidence[k] and value > row[label]]
        if row[label] < confidence[label] and others:
            assert row[suggested] == max(row[k] for k in others)
            assert suggested in others
            assert chance == np.float32(row[suggested])
        else:
            assert (suggested, chance) == (-1, 0)


def test_wrong_labels_are_found_by_a_good_classifier():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 5, 500)
    logits = draw.normal(0, 1, (500, 5)).astype(np.float32)
    logits[np.arange(500), true] += 6
    labels = true.copy()
    wrong = draw.choice(500, 25, replace=False)
    labels[wrong] = (true[wrong] + draw.integers(1, 5, 25)) % 5
    found = evaluate(logits, labels)
    listed = np.flatnonzero(found.suggested >= 0)
    # Some are missed, because another class has to reach its mean; almost nothing else is listed.
    assert len(set(listed) & set(wrong)) >= 20
    assert len(set(listed) - set(wrong)) <= 2
    assert (found.suggested[wrong] == true[wrong]).sum() >= 20
    assert (evaluate(logits, true).suggested >= 0).sum() <= 2
