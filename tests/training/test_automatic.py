"""Settings for your own images: balanced classes, the choice of a network, a learning rate that falls in steps."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.cost import count, receptive_fields
from mlpconv.arch.shapes import output_shape
from mlpconv.models import create_model
from mlpconv.training.automatic import (
    FEW,
    MIN_BATCH,
    MIN_STEPS_PER_EPOCH,
    RULE,
    SMALLEST,
    Wishes,
    choose_model,
    resolve,
)
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
    models = ["nin_28", "nin_28", "nin_32", "nin_96", "nin_96", "nin_96"]
    assert [choose_model(side).model for side in (8, 28, 32, 64, 224, 4000)] == models
    assert [choose_model(side).image_size for side in (8, 28, 32, 64, 224, 4000)] == [28, 28, 32, 96, 96, 96]


@pytest.mark.parametrize(("largest", "choice"), RULE)
def test_a_chosen_network_sees_at_least_half_of_the_image_and_large_images_have_a_strided_stem(largest, choice):
    network = create_model(choice.model, 3, 3).replace(input_size=choice.image_size)
    maps, _ = until_class_maps(network)
    sees = receptive_fields(maps)[-1].size
    assert min(sees) >= choice.image_size / 2
    assert min(output_shape(maps)[1:]) >= 5
    if largest is None or largest > 48:
        _, stem = next(network.walk())
        assert min(stem.window[1]) >= 2
        assert count(network).macs < 120e6


FEW_IMAGES = Wishes(get_recipe("photos"), batch=True)


def test_few_images_start_from_weights_of_the_package():
    recipe, said = resolve(get_recipe("folder"), 300, 400, FEW_IMAGES)
    assert (recipe.model, recipe.pretrained, recipe.freeze) == ("nin_photo", "nin_photo", True)
    assert "batches" not in said
    assert "start weights" in said
    assert "--from-scratch" in said
    assert not resolve(get_recipe("folder"), 300, 400)[0].pretrained


@pytest.mark.parametrize(
    ("side", "count", "model"),
    [(300, FEW, "nin_96"), (300, 60_000, "nin_96"), (32, 45_000, "nin_32"), (SMALLEST - 1, 400, "nin_32")],
)
def test_other_images_do_not(side, count, model):
    recipe, _ = resolve(get_recipe("folder"), side, count, FEW_IMAGES)
    assert (recipe.model, recipe.pretrained) == (model, "")


@given(st.integers(1, 10**6), st.integers(1, 10_000), st.sampled_from(["auto", "nin_28", "nin"]))
def test_batches_become_smaller_for_few_images_whoever_chose_the_network(count, side, model):
    recipe = msgspec.structs.replace(get_recipe("folder"), model=model)
    kept, _ = resolve(recipe, side, count, Wishes(batch=False))
    assert kept.batch_size == recipe.batch_size
    found, said = resolve(recipe, side, count, Wishes(batch=True))
    assert MIN_BATCH <= found.batch_size <= recipe.batch_size
    assert found.batch_size == MIN_BATCH or steps_per_epoch(found, count) >= MIN_STEPS_PER_EPOCH
    assert (f"batches of {found.batch_size}" in said) == (found.batch_size < recipe.batch_size)


def test_few_images_get_small_batches_and_given_settings_are_kept():
    recipe, said = resolve(get_recipe("folder"), 40, 640)
    assert (recipe.model, recipe.image_size, recipe.batch_size) == ("nin_32", 32, 16)
    assert "batches of 16, for 640 images" in said
    assert resolve(Recipe(model="auto", image_size=50), 40, 10**6)[0].image_size == 50
    assert resolve(Recipe(model="nin"), 40, 10) == (Recipe(model="nin"), "")


def test_a_learning_rate_that_falls_in_steps():
    recipe = Recipe(learning_rate=1.0, schedule="steps")
    assert [learning_rate(recipe, step, 10) for step in range(10)] == [1.0] * 6 + [0.1] * 2 + [0.01] * 2
