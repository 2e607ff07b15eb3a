"""Recipes: the named ones, files, changes, and what is refused with which words."""

import math
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.arch.cost import count
from mlpconv.arch.layers import Flatten, GlobalAvgPool2d, Linear
from mlpconv.arch.preprocess import FITS
from mlpconv.backends.weights import INITIALIZERS, Initializer
from mlpconv.errors import MlpconvError, RecipeError
from mlpconv.models import create_model, list_models
from mlpconv.optimizers import Optimizer
from mlpconv.training.recipe import Augmentation, Recipe, change, describe, differences, parse_settings, to_toml
from mlpconv.training.recipes import RECIPES, get_recipe, read_recipe

rates = st.floats(1e-12, 1e12)
shares = st.floats(0, 0.99)
optimizers = st.one_of(
    st.builds(Optimizer, st.just("sgd"), weight_decay=rates),
    st.builds(Optimizer, st.just("sgd"), momentum=st.floats(1e-6, 0.99), nesterov=st.booleans()),
    st.builds(Optimizer, st.just("adam"), beta1=shares, beta2=shares, eps=rates),
    st.builds(Optimizer, st.just("adamw"), weight_decay=rates),
    st.builds(Optimizer, st.just("muon"), momentum=st.floats(1e-6, 0.99), nesterov=st.booleans(), weight_decay=rates),
)
recipes = st.builds(
    Recipe,
    model=st.sampled_from(list_models()) | st.text(st.characters(codec="utf-8", exclude_characters="\x7f")),
    data=st.text(st.characters(codec="utf-8", exclude_characters="\x7f")),
    epochs=st.integers(1, 10**6),
    batch_size=st.integers(1, 10**6),
    optimizer=optimizers,
    learning_rate=rates,
    schedule=st.sampled_from(["constant", "one-cycle", "linear"]),
    warmup=st.floats(0, 1),
    image_size=st.none() | st.integers(1, 999),
    image_sizes=st.lists(st.tuples(st.floats(0, 99), st.integers(1, 999)), unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(sorted(pairs))
    ),
    normalize=st.sampled_from(["none", "data"]),
    fit=st.sampled_from(FITS),
    antialias=st.booleans(),
    initializer=st.sampled_from(list(INITIALIZERS.values()))
    | st.builds(Initializer, st.sampled_from(["xavier", "he", "torch"]), st.sampled_from(["zeros", "framework"])),
    augmentation=st.builds(Augmentation, st.booleans(), st.integers(0, 9), st.integers(0, 9), st.floats(0, 9)),
    label_smoothing=shares,
    seed=st.integers(0, 2**63 - 1),
    precision=st.sampled_from([None, "float32", "bfloat16"]),
)


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_are_independent(name):
    named = RECIPES[name]
    assert get_recipe(name) == named.recipe
    assert named.recipe.model == "auto" or create_model(named.recipe.model)
    assert named.source
    assert named.expect


@pytest.mark.parametrize("name", [name for name, named in RECIPES.items() if named.target is not None])
def test_a_recipe_with_a_target_trains_a_small_nin(name):
    named = RECIPES[name]
    network = create_model(named.recipe.model)
    assert count(network).parameters <= 2_000_000
    assert [type(layer) for layer in list(network.layers.values())[-2:]] == [GlobalAvgPool2d, Flatten]
    assert not any(isinstance(layer, Linear) for _, layer in network.walk())
    (reached, *_) = re.findall(r"0\.\d+", named.expect)
    assert float(reached) >= named.target
    assert "two CPU cores" in named.expect


def test_the_recipe_of_the_chapter():
    recipe = get_recipe("d2l")
    assert (recipe.model, recipe.epochs, recipe.batch_size, recipe.learning_rate) == ("nin", 10, 128, 0.1)
    assert recipe.optimizer == Optimizer("sgd")
    assert recipe.initializer.weights == "xavier"
    assert (recipe.schedule, recipe.normalize, recipe.augmentation) == ("constant", "none", Augmentation())
    assert get_recipe("d2l-2023") == change(recipe, {"learning_rate": 0.05})


@pytest.mark.parametrize("name", ["d2l", "d2l-2023", "gluonbook", "d2lzh"])
def test_a_recipe_of_the_book_trains_in_float32_and_is_not_repaired(name):
    recipe = get_recipe(name)
    assert (recipe.precision, recipe.on_trouble) == ("float32", "ignore")


@given(recipes)
def test_a_recipe_is_restored_from_toml(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe
    assert get_recipe(str(path)) == recipe


@given(recipes, recipes)
def test_differences_name_exactly_the_fields_that_differ(one, other):
    fields = list(differences(one, other))
    assert fields == [name for name in Recipe.__struct_fields__ if getattr(one, name) != getattr(other, name)]
    assert differences(one, one) == {}


def test_differences_state_both_values():
    recipe = get_recipe("study")
    changed = change(recipe, {"learning_rate": 0.1, "image_size": 28, "model": "nin_28", "precision": "float32"})
    assert differences(recipe, changed) == {
        "model": '"nin", now "nin_28"',
        "learning_rate": "0.002, now 0.1",
        "image_size": "70, now 28",
        "precision": 'none, now "float32"',
    }


def test_a_file_can_change_a_named_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "d2l"\nepochs = 2\n[optimizer]\nmomentum = 0.9\n[augmentation]\nflip = true\n')
    expected = change(get_recipe("d2l"), {"epochs": 2})
    assert read_recipe(path) == msgspec.structs.replace(
        expected, optimizer=Optimizer(momentum=0.9), augmentation=Augmentation(flip=True)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = 1\nepochs = = 3\n", "cannot be read: .*line 2"),
        (b"\xff\xfe", "cannot be read"),
        (b'base = "quik"', "unknown recipe 'quik'; did you mean 'quick'"),
        (b"base = 3", "unknown recipe '3'"),
        (b"epoch = 3", "unknown key 'epoch'; did you mean 'epochs'"),
        (b'epochs = "3"', r"Expected `int`, got `str` - at `\$\.epochs`"),
        (b"epochs = 0", "epochs must be at least 1, not 0"),
        (b"image_sizes = [[2, 32], [1, 64]]", "image_sizes are .*rising epochs"),
        (b"image_sizes = [[nan, 32]]", "image_sizes are"),
        (b"image_sizes = [[0, 0]]", "image_sizes are"),
        (b"image_sizes = [32]", "image_sizes"),
    ],
)
def test_the_error_of_an_invalid_recipe_file_states_the_place(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path)
    assert "mine.toml" in str(caught.value) or "recipe" in message


def test_a_missing_recipe_file_is_reported(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read: .*No such file"):
        get_recipe(str(tmp_path / "none.toml"))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(RecipeError, match=r"unknown recipe 'dl2'; did you mean 'd2l'\? .*gluonbook.*a TOML file"):
        get_recipe("dl2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 1}, "here: unknown key 'lerning_rate'; did you mean 'learning_rate'"),
        ({"optimizer": {"momntum": 1}}, "here: optimizer: unknown key 'momntum'; did you mean 'momentum'"),
        ({"augmentation": {"flips": True}}, "here: augmentation: unknown key 'flips'; did you mean 'flip'"),
        ({"initializer": {"weigths": "he"}}, "here: initializer: unknown key 'weigths'; did you mean 'weights'"),
        ({"initializer": "hee"}, "unknown initializer 'hee'; did you mean 'he'"),
        ({"initializer": {"weights": "hee"}}, "here: initializer: unknown weights 'hee'; did you mean 'he'"),
        ({"optimizer": "adamv"}, "here: optimizer: unknown name 'adamv'; did you mean 'adam'"),
        ({"schedule": "one_cycle"}, "here: unknown schedule 'one_cycle'; did you mean 'one-cycle'"),
        ({"precision": "bfloat"}, "here: unknown precision 'bfloat'; did you mean 'bfloat16'"),
        ({"fit": "cropp"}, "here: unknown fit 'cropp'; did you mean 'crop'"),
        ({"schedule": 3}, r"here: .*\$\.schedule"),
        ({"optimizer": 3}, "here: optimizer is a table of name, momentum.*, not 3"),
        (
            {"augmentation": {"flip": "alternating"}},
            "here: augmentation: unknown flip 'alternating'; did you mean 'altern",
        ),
        (
            {"augmentation": True},
            "here: augmentation is a table of flip, shift, erase, mixup, crop, color, cutmix, not True",
        ),
        ({"epochs": 1.5}, r"here: .*\$\.epochs"),
        ({"epochs": True}, r"here: .*\$\.epochs"),
        ({"batch_size": 0}, "here: batch_size must be at least 1, not 0"),
        ({"image_size": 0}, "here: image_size must be at least 1, not 0"),
        ({"learning_rate": 0}, "here: learning_rate must be above 0 and finite, not 0"),
        ({"learning_rate": math.nan}, "here: learning_rate must be above 0 and finite, not nan"),
        ({"learning_rate": math.inf}, "here: learning_rate must be above 0 and finite, not inf"),
        ({"warmup": 1.5}, "here: warmup is a share"),
        ({"warmup": math.nan}, "here: warmup is a share"),
        ({"label_smoothing": 1}, "here: label_smoothing must be at least 0 and below 1"),
        ({"seed": -1}, "here: seed must be at least 0, not -1"),
        ({"seed": 2**63}, r"here: seed must be below 2\*\*63"),
        ({"augmentation": {"shift": -1}}, "here: augmentation: shift"),
        ({"augmentation": {"mixup": math.nan}}, "here: augmentation: shift"),
        ({"optimizer": {"momentum": 1}}, r"here: optimizer\.momentum must be at least 0 and below 1"),
    ],
)
def test_the_error_of_an_invalid_change_states_the_field_and_the_value(changes, message):
    with pytest.raises(RecipeError, match=message):
        change(get_recipe("d2l"), changes, "here")


def test_no_changes_leave_the_recipe_equal():
    for name in RECIPES:
        assert change(get_recipe(name), {}) == get_recipe(name)


def test_a_change_keeps_the_other_fields():
    recipe = get_recipe("study")
    changed = change(recipe, {"optimizer": {"weight_decay": 0.1}, "augmentation": {"shift": 2}})
    assert changed.optimizer == Optimizer("adamw", weight_decay=0.1)
    assert changed.augmentation == Augmentation(flip=True, shift=2)
    alternate = change(changed, {"augmentation": {"flip": "alternate"}})
    assert alternate.augmentation == Augmentation(flip="alternate", shift=2)
    assert "alternating flips" in describe(alternate, "it")
    assert list(differences(recipe, changed)) == ["optimizer", "augmentation"]


@pytest.mark.parametrize("adam", ["adam", {"name": "adam"}])
def test_another_optimizer_starts_with_its_own_defaults(adam):
    momentum = change(Recipe(), {"optimizer": {"momentum": 0.9, "nesterov": True}})
    assert change(momentum, {"optimizer": adam}).optimizer == Optimizer("adam")
    assert change(momentum, {"optimizer": "sgd"}).optimizer == momentum.optimizer
    study = get_recipe("study")
    assert change(study, {"optimizer": adam}).optimizer == Optimizer("adam")
    assert change(study, {"optimizer": {"name": "sgd", "momentum": 0.5}}).optimizer == Optimizer(momentum=0.5)


def test_an_initializer_is_a_name_or_a_table():
    assert change(Recipe(), {"initializer": "open"}).initializer == INITIALIZERS["open"]
    assert change(Recipe(), {"initializer": {"weights": "he"}}).initializer == Initializer("he", "framework")
    assert change(Recipe(), {"initializer": {"open_last": True}}).initializer == Initializer(
        "xavier", "framework", True
    )


def test_another_model_drops_the_previous_image_size():
    recipe = change(Recipe(), {"image_size": 80, "image_sizes": [[0, 64], [2, 96]]})
    assert (recipe.image_size, recipe.image_sizes) == (80, ((0.0, 64), (2.0, 96)))
    other = change(recipe, {"model": "nin_28"})
    assert (other.image_size, other.image_sizes) == (None, ())
    assert change(recipe, {"model": "nin"}) == recipe
    given = change(recipe, {"model": "nin_28", "image_size": 28})
    assert (given.image_size, given.image_sizes) == (28, ())
    given = change(recipe, {"model": "nin_28", "image_sizes": [[1, 32]]})
    assert (given.image_size, given.image_sizes) == (None, ((1.0, 32),))


def test_another_image_size_drops_those_on_the_way_to_the_previous_one():
    recipe = change(Recipe(), {"image_size": 80, "image_sizes": [[0, 64]]})
    assert change(recipe, {"image_size": 96}).image_sizes == ()
    assert change(recipe, {"image_size": 80}) == recipe
    assert change(recipe, {"image_size": 96, "image_sizes": [[0, 72]]}).image_sizes == ((0.0, 72),)


def test_a_file_that_changes_the_model_drops_the_image_size(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "quick"\nmodel = "nin_28"\n')
    assert read_recipe(path).image_size is None


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (["epochs=3"], {"epochs": 3}),
        (["learning_rate=1e-3"], {"learning_rate": 1e-3}),
        (["model=nin_28"], {"model": "nin_28"}),
        (["model='nin_28'"], {"model": "nin_28"}),
        (["antialias=false"], {"antialias": False}),
        (["data=a=b"], {"data": "a=b"}),
        (["image_sizes=[[0, 32], [1.5, 64]]"], {"image_sizes": [[0, 32], [1.5, 64]]}),
        (["optimizer.momentum=0.9", "optimizer.nesterov=true"], {"optimizer": {"momentum": 0.9, "nesterov": True}}),
        (["epochs=3", "epochs=4"], {"epochs": 4}),
        ([], {}),
    ],
)
def test_settings_are_parsed(settings, changes):
    assert parse_settings(settings) == changes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs"], "--set epochs: expected key=value, such as"),
        (["=3"], "--set =3: expected key=value"),
        (["optimizer=adam", "optimizer.momentum=1"], "--set optimizer.momentum=1: optimizer was already given a value"),
    ],
)
def test_invalid_settings_are_quoted(settings, message):
    with pytest.raises(MlpconvError, match=message):
        parse_settings(settings)


def test_a_name_never_means_a_file_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quick").write_text("epochs = 99")
    assert get_recipe("quick") == RECIPES["quick"].recipe


@pytest.mark.parametrize("text", ["seed = " + "[" * 5000, "seed = " + "9" * 5000, "\ufffe="])
def test_a_file_nested_too_deeply_is_refused_with_a_message(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.toml: cannot be read: "):
        read_recipe(path)
    with pytest.raises(RecipeError):
        change(Recipe(), parse_settings([text.replace(" ", "")]))
