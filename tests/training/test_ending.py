"""When training is over: all epochs, the target accuracy, patience at its end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.errors import RecipeError
from mlpconv.training.ending import ending, ending_words
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import get_recipe

ACCURACIES = st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), max_size=20)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], ""),
        ([0.5, 0.6, 0.7], ""),
        ([0.7, 0.6], ""),
        ([0.7, 0.6, 0.7], "patience"),  # reached again is no better
        ([0.1, 0.7, 0.6, 0.5], "patience"),
        ([0.7, 0.6, 0.71], ""),
        ([0.5, 0.9], "target"),
        ([0.5, 0.6, 0.7, 0.8, 0.85, 0.9], "epochs"),
    ],
)
def test_which_conditions_end_training(held, expected):
    recipe = Recipe(epochs=6, validation=0.1, patience=2, target_accuracy=0.9)
    assert ending(recipe, held) == expected


@given(ACCURACIES, st.integers(1, 6))
def test_patience_counts_the_epochs_since_the_best(held, patience):
    recipe = Recipe(epochs=99, validation=0.1, patience=patience)
    best = int(np.argmax(held)) if held else 0
    assert (ending(recipe, held) == "patience") == (len(held) - 1 - best >= patience)
    assert ending(Recipe(epochs=99, validation=0.1), held) == ""


def test_without_validation_images_only_the_last_epoch_ends_it():
    recipe = Recipe(epochs=3, validation=0.1, patience=1)
    assert [ending(recipe, [None] * count) for count in range(4)] == ["", "", "", "epochs"]


def test_the_reason_is_described():
    recipe = Recipe(epochs=30, validation=0.1, patience=2, target_accuracy=0.9)
    assert (
        ending_words(recipe, [0.5, 0.4, 0.3])
        == "ended early, after 3 of 30 epochs: no better validation accuracy for 2 epochs"
    )
    assert "that was asked for is reached (0.9)" in ending_words(recipe, [0.95])
    assert ending_words(recipe, [0.5]) == ""
    assert ending_words(Recipe(epochs=1), [None]) == ""


def test_patience_needs_validation_images():
    with pytest.raises(RecipeError, match=r"patience needs validation images.*validation = 0\.1"):
        Recipe(patience=3)
    with pytest.raises(RecipeError, match="patience must be at least 0, not -1"):
        Recipe(patience=-1)
    own = get_recipe("folder")
    assert own.patience == 10
    assert change(own, {"validation": 0}).patience == 0
    assert change(own, {"validation": 0.2}).patience == 10
