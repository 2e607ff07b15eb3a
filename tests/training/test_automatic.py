"""Settings for your own images: balanced classes, the choice of a network, a learning rate that falls in steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.models import create_model
from mlpconv.training.automatic import RULE, choose_model, resolve
from mlpconv.training.plan import plan_step, steps_per_epoch
from mlpconv.training.recipe import Recipe
from mlpconv.training.recipes import get_recipe
from mlpconv.training.schedules import learning_rate


def epoch_of(recipe, labels, epoch=0):
    steps = steps_per_epoch(recipe, len(labels))
    parts = [plan_step(recipe, len(labels), (8, 8), 8, epoch, step, labels).indices for step in range(steps)]
    return np.concatenate(parts)


@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=60),
    st.floats(0, 1),
    st.integers(1, 16),
    st.integers(0, 3),
)
def test_balancing_keeps_the_length_and_moves_towards_even(classes, balance, batch, epoch):
    labels = np.array(classes, np.int64)
    recipe = Recipe(batch_size=batch, balance=balance)
    seen = epoch_of(recipe, labels, epoch)
    assert len(seen) == len(labels)
    sizes, shown = np.bincount(labels, minlength=5), np.bincount(labels[seen], minlength=5)
    shares = np.where(sizes > 0, np.maximum(sizes, 1.0) ** (1 - balance), 0)
    np.testing.assert_allclose(shown, shares / shares.sum() * len(labels), atol=1)
    # Within a class no image is seen twice before each was seen once.
    times = np.bincount(seen, minlength=len(labels))
    for label in range(5):
        own = times[labels == label]
        assert own.size == 0 or own.max() - own.min() <= 1
    np.testing.assert_array_equal(seen, epoch_of(recipe, labels.copy(), epoch))


def test_without_balancing_an_epoch_is_a_permutation():
    labels = np.array([0] * 9 + [1])
    assert sorted(epoch_of(Recipe(batch_size=4), labels).tolist()) == list(range(10))


def test_the_network_is_chosen_by_the_image_size():
    assert [choose_model(side).model for side in (8, 28, 32, 64, 224, 4000)] == ["nin_28"] * 2 + ["nin_32"] * 4
    assert [choose_model(side).image_size for side in (8, 28, 32, 64, 224, 4000)] == [28, 28, 32, 64, 96, 96]
    for _, choice in RULE:
        assert create_model(choice.model, 3, 3)


def test_few_images_get_small_batches_and_given_settings_are_kept():
    recipe, said = resolve(get_recipe("folder"), 40, 640)
    assert (recipe.model, recipe.image_size, recipe.batch_size) == ("nin_32", 32, 16)
    assert "batches of 16, for 640 images" in said
    assert resolve(Recipe(model="auto", image_size=50), 40, 10**6)[0].image_size == 50
    assert resolve(Recipe(model="nin"), 40, 10) == (Recipe(model="nin"), "")


def test_a_learning_rate_that_falls_in_steps():
    recipe = Recipe(learning_rate=1.0, schedule="steps")
    assert [learning_rate(recipe, step, 10) for step in range(10)] == [1.0] * 6 + [0.1] * 2 + [0.01] * 2
