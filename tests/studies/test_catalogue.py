"""The studies: their arms are networks and recipes that exist, differ in what they say, and fit their sizes."""

from types import FunctionType

import numpy as np
import pytest

from mlpconv.arch.cost import count
from mlpconv.arch.layers import Conv2d, Dropout, GlobalAvgPool2d, Linear
from mlpconv.arch.shapes import output_shape
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import MlpconvError
from mlpconv.models import create_model
from mlpconv.studies import networks
from mlpconv.studies.catalogue import STUDIES
from mlpconv.studies.perform import arms, base, find, part
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe

EVERY = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)


def test_every_exercise_has_its_study():
    assert set(STUDIES) == {
        "epochs",
        "one-by-one",
        "three-by-three",
        "head",
        "one-step",
        "learning-rate",
        "batch-size",
        "classics",
        "family",
        "resources",
        "collapse",
        "paper",
    }


@EVERY
@pytest.mark.parametrize("budget", ["small", "laptop", "gpu"])
def test_every_arm_can_be_executed(study, budget):
    size = study.budgets[budget]
    recipes = [change(base(study, size), arm.changes) for arm in arms(study, size)]
    assert len(set(map(repr, recipes))) == len(recipes)
    for recipe in recipes:
        network = create_model(recipe.model, 10, 1)
        side = recipe.image_size if study.kind != "resources" or max(network.input_size) > 64 else 28
        assert side is not None
        assert output_shape(network, (1, side, side)) == (10,)
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names)
    assert {name for pair in study.pairs for name in pair} <= set(names)


@pytest.mark.parametrize(
    "study", [study for study in STUDIES.values() if study.kind == "map"], ids=lambda study: study.name
)
def test_the_names_of_the_arms_in_a_map_are_row_and_learning_rate(study):
    """The figure takes a cell's position from the name."""
    for arm in study.arms:
        row, _, rate = arm.name.rpartition("-")
        assert row
        assert float(rate) == arm.changes["learning_rate"]


def test_every_network_of_the_studies_is_used_by_an_arm():
    public = {
        name
        for name, value in vars(networks).items()
        if isinstance(value, FunctionType) and value.__module__ == networks.__name__ and not name.startswith("_")
    }
    models = [arm.changes.get("model", "") for study in STUDIES.values() for arm in study.arms]
    assert public == {name for model in models for module, _, name in [model.partition(":")] if name}


@EVERY
def test_arms_differ_only_in_what_the_study_compares(study):
    asked = {key for arm in study.arms for key in arm.changes}
    size = study.budgets["laptop"]
    start = base(study, size)
    for arm in arms(study, size):
        made = change(start, arm.changes)
        differing = {name for name in start.__struct_fields__ if getattr(start, name) != getattr(made, name)}
        assert differing <= asked


@pytest.mark.parametrize(
    "study", [each for each in STUDIES.values() if each.kind not in ("map", "resources")], ids=lambda each: each.name
)
def test_a_part_of_the_images_gives_enough_steps(study):
    size = study.budgets["laptop"]
    for arm in arms(study, size):
        recipe = change(base(study, size), arm.changes)
        # `quick` has learned next to nothing after 200 of them.
        assert recipe.epochs * steps_per_epoch(recipe, size.images) >= 300


def test_the_chapters_network_is_among_its_variants():
    nin = create_model("nin").replace(name="")
    assert networks.mlp2() == nin
    assert networks.one_step() == nin


def convolutions(network):
    return [layer.kernel_size for _, layer in network.walk() if isinstance(layer, Conv2d)]


def test_the_variants_match_their_descriptions():
    for number in range(4):
        assert convolutions(getattr(networks, f"mlp{number}")()).count(1) == 4 * number
    assert 1 not in convolutions(networks.three_by_three())
    assert convolutions(networks.one_three_by_three()) == [11, 3, 5, 3, 3, 3, 3, 3]
    for name, number in (("connected", 3), ("one_connected", 1)):
        kinds = [type(layer) for _, layer in getattr(networks, name)().walk()]
        assert kinds.count(Linear) == number
        assert GlobalAvgPool2d not in kinds
    for name, widths in (("one_step", [10, 10, 10]), ("two_steps", [62, 10, 10]), ("three_steps", [114, 34, 10])):
        block = getattr(networks, name)().layers["block4"]
        assert [layer.out_channels for layer in block.layers.values() if isinstance(layer, Conv2d)] == widths


def test_the_ablations_of_the_paper():
    paper = create_model("nin_cifar10")
    without = networks.paper_without_dropout()
    assert count(without).parameters == count(paper).parameters
    assert [type(layer) for _, layer in paper.walk()].count(Dropout) == 2
    assert Dropout not in [type(layer) for _, layer in without.walk()]
    for name, dropouts in (("paper_connected", 2), ("paper_connected_dropout", 3)):
        network = getattr(networks, name)()
        kinds = [type(layer) for _, layer in network.walk()]
        assert GlobalAvgPool2d not in kinds
        assert kinds.count(Dropout) == dropouts
        # 10 maps of 8×8 positions, each with a weight for each class, and a bias for each class.
        assert count(network).parameters == count(paper).parameters + 640 * 10 + 10


def test_the_modern_arm_is_the_recipe_modern():
    study = find("paper")
    size = study.budgets["gpu"]
    arm = next(arm for arm in arms(study, size) if arm.name == "modern")
    made = change(base(study, size), arm.changes)
    expected = change(get_recipe("modern"), {"on_trouble": "ignore", "epochs": size.epochs, "image_size": 32})
    assert made == expected


def test_the_family_counts_layers_as_vgg_does():
    for name, depth in (("nin11", 11), ("nin16", 16), ("nin19", 19)):
        network = create_model(name)
        assert len(convolutions(network)) == depth
        shapes = [cost.output_shape for cost in count(network).layers if cost.kind == "MaxPool2d"]
        assert shapes == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]


def test_a_part_of_the_data_is_stratified_and_reproducible():
    draw = np.random.default_rng(0)
    labels = np.arange(100) % 5
    whole = ImageDataset(draw.integers(0, 256, (100, 4, 4, 1), np.uint8), labels, tuple("abcde"), "noise/train")
    data = Splits(whole, whole)
    budget = STUDIES["family"].budgets["small"]._replace(images=20, test_images=10)
    first, second = part(data, budget), part(data, budget)
    assert np.bincount(first.train.labels).tolist() == [4] * 5
    assert len(first.test) == 10
    assert first.train.name == "noise-20/train"
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert part(data, budget._replace(images=None, test_images=100)) == data


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(MlpconvError, match="unknown study 'heads'; did you mean 'head'"):
        find("heads")
