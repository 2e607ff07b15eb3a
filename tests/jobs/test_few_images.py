"""Few images in a folder: start weights of the package, a budget of time."""

import numpy as np
import pytest
from PIL import Image

from mlpconv.errors import RecipeError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.models import shipped_weights
from mlpconv.runs.classifier_file import read_classifier
from support import image_folders

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty pictures of 48×56 in each of two classes."""
    root = tmp_path_factory.mktemp("few") / "photos"
    for label, seed in (("a", 0), ("b", 100)):
        for index in range(20):
            image_folders.save_image(root / label / f"{index}.png", image_folders.random_pixels(seed + index, 56, 48))
    return root


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """Twenty gray pictures of 64×64 in each of two classes."""
    root = tmp_path_factory.mktemp("few") / "gray"
    for index in range(40):
        picture = Image.fromarray(image_folders.random_pixels(index, 64, 64, 1)[:, :, 0])
        image_folders.save_image(root / "ab"[index % 2] / f"{index}.png", picture)
    return root


def prepared(folder, **request):
    changes = {"data": str(folder), **request.pop("changes", {})}
    return prepare(Request(changes=changes, device="cpu", precision="float32", **request))


def test_few_pictures_start_from_the_weights_of_the_package(photos):
    job = prepared(photos, budget=1000.0)
    assert (job.job.recipe_name, job.network.name) == ("photos", "nin_photo")
    stored = read_classifier(shipped_weights("nin_photo"), float16=True)
    assert job.job.preprocess.mean == stored.preprocess.mean
    weights = job.make_model().weights()
    assert all(np.array_equal(weights[name], value) for name, value in stored.weights.items() if "block15" not in name)
    assert len(weights["block15.conv.bias"]) == 2
    assert "start weights" in job.run_data.chosen


def test_a_job_with_these_weights_is_stored_and_loaded_again(photos):
    from mlpconv.jobs.prepare import load_job

    job = prepared(photos, budget=1000.0)
    again = load_job(job.job)
    first, second = job.first_weights(0), again.first_weights(0)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "request_",
    [
        {"from_scratch": True},
        {"changes": {"model": "nin_32"}},
        {"recipe": "folder"},
        {"changes": {"model": "nin_photo"}, "from_scratch": True},
    ],
    ids=str,
)
def test_a_request_may_start_from_scratch(photos, request_):
    job = prepared(photos, budget=1000.0, **request_)
    assert not job.recipe.pretrained
    assert job.start is None


def test_the_network_named_explicitly_starts_from_its_weights(photos):
    assert prepared(photos, budget=1000.0, changes={"model": "nin_photo"}).recipe.pretrained == "nin_photo"


@pytest.mark.parametrize(
    ("changes", "frozen", "epochs"),
    [({}, True, 1), ({"freeze": False}, False, 60), ({"epochs": 3}, False, 3), ({"epochs": 1}, True, 1)],
    ids=str,
)
def test_only_the_last_block_is_trained_unless_the_request_says_otherwise(photos, changes, frozen, epochs):
    recipe = prepared(photos, budget=None if "epochs" in changes else 1e6, changes=changes).recipe
    assert (recipe.freeze, recipe.epochs, recipe.fit_head) == (frozen, epochs, True)


def test_changes_of_the_recipe_are_kept(photos):
    changes = {"learning_rate": 0.004, "batch_size": 16, "image_size": 80, "model": "auto"}
    recipe = prepared(photos, changes=changes, settings={"label_smoothing": 0.2}, budget=1000.0).recipe
    assert (recipe.learning_rate, recipe.batch_size, recipe.image_size) == (0.004, 16, 80)
    assert (recipe.label_smoothing, recipe.pretrained) == (0.2, "nin_photo")


def test_gray_pictures_start_from_these_weights_too(gray):
    job = prepared(gray, budget=1000.0)
    assert (job.network.name, job.network.input_channels, job.recipe.pretrained) == ("nin_photo", 1, "nin_photo")
    # From black to white, the input of the first layer changes as that of three equal channels does; batch
    # normalization removes the rest.
    stored = read_classifier(shipped_weights("nin_photo"), float16=True)
    of_color = (stored.weights["block1.conv.weight"] / np.array(stored.preprocess.std)[:, None, None]).sum(1)
    of_gray = job.first_weights(0)["block1.conv.weight"][:, 0] / job.job.preprocess.std[0]
    np.testing.assert_allclose(of_gray, of_color, atol=1e-4)


def test_the_weights_can_be_asked_for_by_their_name(photos):
    job = prepared(photos, changes={"pretrained": "nin_photo"}, budget=1000.0)
    assert job.network.name == "nin_photo"
    assert job.start is not None


def test_a_run_with_the_weights_of_the_package_is_cross_validated_and_has_no_curves(photos, tmp_path):
    execution = execute(prepared(photos, changes={"freeze": True}), tmp_path / "run")
    list(execution)
    found = execution.run.result.cross_validation
    assert found.images == 40
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Cross-validation over all 40 images" in page
    assert "Loss and accuracy" not in page  # of a single evaluation


def test_batches_and_epochs_follow_from_the_images_whoever_chose_the_network(photos):
    job = prepared(photos, changes={"model": "nin_28"}, budget=1000.0)
    assert job.recipe.batch_size == 8
    assert job.recipe.epochs > 100
    assert f"{job.recipe.epochs:,} epochs, so that" in job.run_data.chosen
    assert prepared(photos, changes={"model": "nin_28", "batch_size": 32}, budget=1000.0).recipe.batch_size == 32


def test_a_budget_leaves_as_many_epochs_as_fit(photos):
    long = prepared(photos, changes={"model": "nin_32"}, budget=10_000.0)
    forecast = long.forecast().seconds
    short = prepared(photos, changes={"model": "nin_32"}, budget=forecast / 10)
    assert 1 <= short.recipe.epochs < long.recipe.epochs
    assert short.recipe.patience < long.recipe.patience
    assert f"instead of {long.recipe.epochs:,}" in short.run_data.chosen
    assert short.forecast().seconds < forecast
    least = prepared(photos, changes={"model": "nin_32"}, budget=0.001)
    assert least.recipe.epochs == 1
    assert "may take longer" in least.run_data.chosen


def test_without_a_budget_few_images_take_two_minutes_at_most_and_given_epochs_stay(photos):
    assert prepared(photos, changes={"model": "nin_28"}).expected is not None  # it was compared with the budget
    asked = prepared(photos, changes={"epochs": 77})
    assert asked.recipe.epochs == 77
    assert asked.expected is None
    assert prepared(photos, recipe="folder").expected is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"from_scratch": True, "changes": {"pretrained": "x"}}, "--from-scratch and --pretrained x"),
        ({"from_scratch": True, "settings": {"pretrained": "x"}}, "--from-scratch and --pretrained x"),
        ({"from_scratch": True, "start_from": "y"}, "--from-scratch and --start-from y"),
        ({"budget": 60.0, "changes": {"epochs": 3}}, "--budget and --epochs"),
        ({"budget": 60.0, "settings": {"epochs": 3}}, "--budget and --epochs"),
    ],
)
def test_contradictions_are_errors(photos, request_, message):
    with pytest.raises(RecipeError, match=message):
        prepared(photos, **request_)


def test_few_images_are_all_learned_from_and_validation_images_can_be_asked_for(photos):
    job = prepared(photos, budget=1000.0)
    assert job.validation is None
    assert len(job.data.train) + len(job.data.test) == 40
    held_out = prepared(photos, budget=1000.0, changes={"validation": 0.2}).validation
    assert held_out is not None
    scratch = prepared(photos, budget=1000.0, from_scratch=True).validation
    assert scratch is not None


def test_the_last_block_alone_can_be_trained(photos):
    job = prepared(photos, changes={"freeze": True})
    assert (job.job.recipe_name, job.recipe.freeze, job.recipe.epochs) == ("photos", True, 1)
    assert job.start is not None
