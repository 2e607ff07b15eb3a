"""A job from request to run directory: it learns, its directory is complete, invalid requests are refused."""

import os

import numpy as np
import pytest

from mlpconv.data import ImageDataset, Splits, load_dataset
from mlpconv.errors import DataError, MlpconvError, NetworkError, RecipeError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.runs.run import Run
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.trainer import EpochEnded
from support import tiny_training
from support.run_contents import contents_without_times
from support.tiny_training import STEPS, file_names

pytest.importorskip("torch")


def test_training_learns_real_digits(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    recipe = change(
        get_recipe("study"),
        {
            "model": "nin_28",
            "data": "digits",
            "epochs": 1,
            "batch_size": 32,
            "initializer": "he",
            "augmentation": {"flip": False},
            "precision": "float32",
        },
    )
    data = load_dataset("digits")
    prepared = prepare(Request(recipe=recipe, recipe_name="study"))
    assert prepared.job.data.fingerprint == data.train.fingerprint()
    assert prepared.network.input_size == (28, 28)
    execution = execute(prepared, tmp_path / "run")
    events = [event for event in execution if isinstance(event, EpochEnded)]
    assert events[-1].test.accuracy > 0.8
    assert execution.run.result.test_accuracy == events[-1].test.accuracy


def test_training_learns_fashion_mnist(tmp_path):
    try:
        train, test = load_dataset("fashion-mnist", download=False)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {str(error).splitlines()[0]}")
    data = Splits(train.subset(range(1500), name=train.name), test.subset(range(400), name=test.name))
    recipe = change(
        get_recipe("study"),
        {
            "model": "nin_28",
            "image_size": 14,
            "epochs": 2,
            "batch_size": 50,
            "initializer": "he",
            "precision": "float32",
        },
    )
    execution = execute(prepare(Request(recipe=recipe), data), tmp_path / "run")
    list(execution)
    assert execution.run.result.test_accuracy > 0.6


def test_a_run_directory_contains_every_file(whole):
    path, events = whole
    assert file_names(path) == [
        "checkpoint",
        "class_maps.safetensors",
        "config.json",
        "curves.png",
        "environment.json",
        "evaluation.safetensors",
        "history.jsonl",
        "report.html",
        "result.json",
        "weights.safetensors",
    ]
    assert file_names(path / "checkpoint") == [
        "epoch-0002-step-000000.safetensors",
        "epoch-0003-step-000000.safetensors",
    ]
    ends = [event for event in events if isinstance(event, EpochEnded)]
    run = Run(path)
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    for line, event in zip(run.history, ends, strict=True):
        assert line["loss"] == event.loss
        assert line["test_accuracy"] == event.test.accuracy
        assert line["class_accuracy"] == dict(zip(tiny_training.NAMES, event.test.class_accuracy, strict=True))
        assert [point[0] for point in line["curve"]] == [event.epoch + step / STEPS for step in range(1, STEPS + 1)]
        assert line["curve"][-1][1:] == [event.loss, event.accuracy]
    result = run.result
    assert (result.loss, result.test_accuracy) == (ends[-1].loss, ends[-1].test.accuracy)
    assert result.confusion == ends[-1].test.confusion.tolist()
    assert result.epochs == 3
    assert result.seconds > sum(event.seconds for event in ends)
    timed = sum(event.seconds for event in ends)
    assert result.examples_per_second == pytest.approx(3 * 70 / timed)
    assert result.loss < run.history[0]["loss"]
    config = run.config
    assert (config.backend, config.device, config.precision) == ("torch", "cpu", "float32")
    assert config.data.name == "stripes"
    assert (config.data.train, config.data.test, config.data.class_names) == (70, 30, tiny_training.NAMES)
    assert config.preprocess.mean == tiny_training.DATA.train.mean
    assert config.preprocess.source_size == (6, 6)


def test_the_same_job_gives_the_same_run(whole, tmp_path):
    tiny_training.train(tmp_path / "again")
    assert contents_without_times(tmp_path / "again") == contents_without_times(whole[0])


def test_another_seed_gives_another_run(whole, tmp_path):
    tiny_training.train(tmp_path / "again", job=tiny_training.prepared(seed=1))
    assert contents_without_times(tmp_path / "again")["weights"] != contents_without_times(whole[0])["weights"]


def test_the_back_end_switches_deterministic_algorithms_on(monkeypatch):
    import torch

    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        prepared = tiny_training.prepared(request={"deterministic": True})
        assert prepared.job.deterministic
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
    assert not tiny_training.prepared().job.deterministic


def test_the_precision_of_the_recipe_takes_precedence():
    assert tiny_training.prepared(precision="float32").job.precision == "float32"
    prepared = tiny_training.prepared(request={"precision": "bfloat16"}, precision="float32")
    assert prepared.job.precision == "float32"


def test_classes_and_channels_come_from_the_data(tmp_path):
    classes = ("é", "b ", "$c", "空")
    draw = np.random.default_rng(1)
    parts = [
        ImageDataset(draw.integers(0, 256, (n, 5, 9, 3), dtype=np.uint8), np.arange(n) % 3, classes, f"x/{n}")
        for n in (20, 7)
    ]
    run, events = tiny_training.train(tmp_path / "run", job=tiny_training.prepared(data=Splits(*parts), epochs=1))
    assert run.config.make_network().input_channels == 3
    assert run.weights()["block2.conv.weight"].shape == (4, 8, 3, 3)
    assert run.config.preprocess.mode == "RGB"
    assert events[-1].test.confusion.shape == (4, 4)
    assert run.result.class_accuracy["空"] is None  # it has no images
    assert list(run.result.class_accuracy) == list(classes)


def test_training_with_constant_images(tmp_path):
    parts = [
        ImageDataset(np.full((9, 6, 6, 1), 7, np.uint8), np.arange(9) % 3, tiny_training.NAMES, "flat") for _ in "ab"
    ]
    run, _ = tiny_training.train(tmp_path / "run", job=tiny_training.prepared(data=Splits(*parts), epochs=1))
    assert run.config.preprocess.std == (1.0,)
    assert np.isfinite(run.result.loss)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "nim"}, NetworkError, "unknown model 'nim'; did you mean 'nin'"),
        ({"model": "nin", "image_size": 20}, RecipeError, r"image_size 20: .*pool"),
        ({"model": "lenet", "image_sizes": [[0, 14]]}, RecipeError, "image_size 14: .*layers fix the images at 28"),
        ({"image_sizes": [[0, 1]]}, RecipeError, "image_size 1: "),
    ],
)
def test_invalid_jobs_are_refused_before_anything_is_written(changes, error, message):
    with pytest.raises(error, match=message):
        tiny_training.prepared(**changes)


def test_a_network_with_linear_layers_is_built_for_the_requested_size():
    prepared = tiny_training.prepared(model="lenet", image_size=32)
    assert prepared.make_model().weights()["fc1.weight"].shape == (120, 16 * 6 * 6)


def test_the_errors_of_an_unknown_data_set_and_device_name_them():
    with pytest.raises(DataError, match="unknown data set 'fashion-mnits'"):
        prepare(Request(recipe=tiny_training.recipe(data="fashion-mnits"), device="cpu"))
    with pytest.raises(MlpconvError, match="unknown device 'gpu'"):
        prepare(Request(recipe=tiny_training.recipe(), device="gpu"), tiny_training.DATA)
    grey_alpha = ImageDataset(np.zeros((3, 6, 6, 2), np.uint8), np.arange(3), tiny_training.NAMES, "two")
    with pytest.raises(DataError, match=r"two: expected images of 1 \(gray\) or 3 \(RGB\) channels, received 2"):
        tiny_training.prepared(data=Splits(grey_alpha, grey_alpha))


def test_a_network_without_weights_is_refused():
    with pytest.raises(RecipeError, match="no weights, so there is nothing to train"):
        tiny_training.prepared(model="support.tiny_training:network_without_weights")
