"""Cross-validation of a head, and the extrapolation of its learning curve."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.training.cross_validation import CrossValidation, cross_validate, extrapolate
from mlpconv.training.head_fit import Examples, choose_strength, fit

NAMES = ("a", "b", "c")
CENTERS = np.random.default_rng(0).normal(0, 1, (3, 12))


def drawn(count, seed, spread=2.0):
    """Points around one center for each of three classes, always the same centers."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(count) % 3)
    return Examples((CENTERS[labels] + draw.normal(0, spread, (count, 12)))[None], labels, 3)


@pytest.fixture(scope="module")
def many():
    return drawn(6000, 99)


def test_its_interval_contains_the_accuracy_on_many_other_images(many):
    inside = 0
    for seed in range(8):
        few = drawn(60, seed)
        strength = choose_strength(few)
        low, high = cross_validate(few, strength, 60, NAMES).interval
        accuracy = (fit(few, strength).logits(many.features[0]).argmax(1) == many.labels).mean()
        inside += low <= accuracy <= high
    assert inside >= 7


def test_labels_at_random_are_not_predicted():
    few = drawn(120, 0)
    mixed = few._replace(labels=np.random.default_rng(1).permutation(few.labels))
    assert cross_validate(mixed, choose_strength(mixed), 120, NAMES).accuracy < 0.5


def test_copies_are_in_one_fold():
    # Each image twice, with labels that only the copy tells.
    draw = np.random.default_rng(0)
    half = Examples(draw.normal(size=(1, 60, 80)), draw.integers(0, 2, 60), 2)
    twice = Examples(np.concatenate([half.features] * 2, 1), np.tile(half.labels, 2), 2)
    groups = np.tile(np.arange(60), 2).tolist()
    assert cross_validate(twice, 1e-3, 120, NAMES[:2], groups=groups).accuracy < 0.7
    assert cross_validate(twice, 1e-3, 120, NAMES[:2]).accuracy > 0.8


def test_a_curve_rises_to_the_accuracy_and_is_extrapolated(many):
    few = drawn(90, 3)
    found = cross_validate(few, choose_strength(few), 90, NAMES)
    assert [point.images for point in found.curve] == pytest.approx([81 / 4, 81 / 2, 81], abs=2)
    assert found.curve[-1].accuracy == found.accuracy
    assert found.doubled is not None
    assert found.doubled.low <= found.doubled.accuracy <= found.doubled.high
    bigger = drawn(found.doubled.images, 4)
    head = fit(bigger, choose_strength(bigger))
    accuracy = (head.logits(many.features[0]).argmax(1) == many.labels).mean()
    assert found.doubled.accuracy == pytest.approx(accuracy, abs=0.08)


def test_the_classes_that_are_recognized_least_are_named_weakest_first():
    # Class c is where b is, so it is taken for b; a is apart.
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], (40, 40, 20))
    points = CENTERS[np.minimum(labels, 1)] + draw.normal(0, 0.3, (100, 12))
    found = cross_validate(Examples(points[None], labels, 3), 0.1, 100, NAMES)
    assert found.weakest[0].name == "c"
    assert "a" not in [each.name for each in found.weakest]
    weakest = found.weakest[0]
    assert (weakest.images, weakest.taken_for) == (20, "b")
    assert weakest.mistaken == 20 - weakest.recognized > 10
    assert all(each.recognized / each.images < found.accuracy for each in found.weakest)


def test_where_everything_is_recognized_no_class_is_weak():
    assert cross_validate(drawn(60, 0, spread=0.01), 0.01, 60, NAMES).weakest == []


def test_classes_of_few_images_have_no_curve():
    few = drawn(18, 0)
    found = cross_validate(few, 0.1, 18, NAMES)
    assert (found.images, found.curve, found.doubled) == (18, [], None)


def rows(*accuracies, count=2000):
    """(P, N) with these shares of images that are right, the same images first."""
    return np.array([np.arange(count) < accuracy * count for accuracy in accuracies], float)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 0.8), st.floats(0.05, 0.7))
def test_a_power_law_is_found_exactly(error, exponent):
    sizes = np.array([50.0, 100.0, 200.0])
    right = rows(*(1 - error * (sizes / 50) ** -exponent), count=5000)
    found = extrapolate(right, sizes)
    if found is not None:
        assert found.images == 400
        assert found.accuracy == pytest.approx(1 - error * 8**-exponent, abs=2e-3)
        assert found.low <= found.accuracy <= found.high


@pytest.mark.parametrize("accuracies", [(0.8, 0.7, 0.6), (0.7, 0.7, 0.7), (0.5, 0.9, 0.8), (0.9, 1.0, 1.0)])
def test_what_is_no_power_law_is_not_extrapolated(accuracies):
    assert extrapolate(rows(*accuracies), np.array([50.0, 100.0, 200.0])) is None


def test_few_images_are_too_uncertain_to_extrapolate():
    draw = np.random.default_rng(0)
    right = (draw.random((3, 12)) < [[0.4], [0.55], [0.7]]).astype(float)
    assert extrapolate(right, np.array([5.0, 10.0, 20.0])) is None


def test_it_is_stored_and_read():
    found = cross_validate(drawn(90, 3), 0.1, 90, NAMES)
    assert msgspec.json.decode(msgspec.json.encode(found), type=CrossValidation) == found
