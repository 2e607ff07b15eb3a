"""The fit of a head: logistic regression with weight decay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.training.head_fit import Examples, HeadWeights, choose_strength, fit, fold_numbers, minimize


def clusters(count=60, classes=3, width=5, spread=1.0, seed=0, views=1):
    """Points around one center for each class, whose features have different scales."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    points = draw.normal(0, 1.5, (classes, width))[labels] + draw.normal(0, spread, (views, count, width))
    return Examples(points * 10.0 ** np.arange(width) / 100 + 7, labels, classes)


def probabilities(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


@pytest.mark.parametrize("strength", [0.3, 0.01])
def test_it_is_the_logistic_regression_of_scikit_learn(strength):
    linear_model = pytest.importorskip("sklearn.linear_model")
    seen = clusters()
    points = (seen.features[0] - seen.features[0].mean(0)) / seen.features[0].std(0)
    theirs = linear_model.LogisticRegression(C=1 / (strength * len(points)), max_iter=5000, tol=1e-10)
    expected = theirs.fit(points, seen.labels).predict_proba(points)
    found = probabilities(fit(seen, strength).logits(seen.features[0]))
    assert np.allclose(found, expected, atol=2e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_other_weights_are_better(seed, views, balance):
    seen = clusters(seed=seed, views=views)
    best = fit(seen, 0.1, balance=balance)
    sizes = np.bincount(seen.labels)
    each = sizes[seen.labels] ** -balance

    def objective(head):
        flat = seen.features.reshape(-1, seen.features.shape[2])
        chances = probabilities(head.logits(flat))[np.arange(len(flat)), np.tile(seen.labels, views)]
        decay = ((head.weight * flat.std(0)) ** 2).sum()
        return -(np.tile(each, views) * np.log(chances)).sum() / (views * each.sum()) + 0.05 * decay

    draw = np.random.default_rng(seed)
    scale = np.abs(best.weight).mean(0)
    for _ in range(5):
        other = HeadWeights(
            best.weight + 0.1 * scale * draw.normal(size=best.weight.shape),
            best.bias + 0.1 * draw.normal(size=best.bias.shape),
        )
        assert objective(best) <= objective(other) + 1e-6


def test_a_feature_that_never_changes_has_no_weight():
    seen = clusters()
    seen.features[..., 2] = 3.0
    assert (fit(seen, 0.01).weight[:, 2] == 0).all()


def test_a_strong_decay_keeps_the_weights_from_which_it_starts():
    seen = clusters()
    prior = fit(clusters(seed=1), 0.1)
    far, near = (np.abs(fit(seen, strength, prior).weight - prior.weight).mean(0) for strength in (0.01, 1e4))
    assert (near < 1e-3 * far).all()


def test_noise_is_given_a_stronger_decay_than_clear_classes():
    noisy, clear = clusters(width=40, spread=8.0), clusters(width=40, spread=0.5)
    assert choose_strength(noisy) > choose_strength(clear)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_folds_are_even_and_keep_groups_together(labels, folds, seed):
    labels = np.array(labels)
    found = fold_numbers(labels, folds, seed=seed)
    for label in set(labels.tolist()):
        counts = np.bincount(found[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    groups = np.arange(len(labels)) // 2
    kept = fold_numbers(labels, folds, groups, seed)
    assert (kept[::2][: len(labels) // 2] == kept[1::2]).all()
    assert set(kept) <= set(range(folds))


def test_lbfgs_finds_the_minimum_of_a_quadratic():
    matrix = np.diag(10.0 ** np.arange(-2, 3))
    found = minimize(lambda x: (float((x - 1) @ matrix @ (x - 1)) / 2, matrix @ (x - 1)), np.zeros(5))
    assert np.allclose(found, 1, atol=1e-2)
