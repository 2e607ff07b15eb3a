"""A job that starts from the weights of another run."""

import shutil

import numpy as np
import pytest

import mlpconv
from mlpconv.data import load_dataset
from mlpconv.errors import RecipeError, RunError, WeightsError
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.runs.run import Run
from support import tiny_training

pytest.importorskip("torch")


def test_a_run_starts_with_the_weights_of_another(whole, tmp_path):
    start, _ = whole
    prepared = tiny_training.prepared(request={"start_from": str(start)}, epochs=1)
    weights, model = Run(start).weights(), prepared.make_model()
    assert all(np.array_equal(model.weights()[name], weights[name]) for name in weights)
    again = tiny_training.prepared(request={"start_from": str(start / "weights.safetensors")}, epochs=1)
    assert again.job.start == str(start / "weights.safetensors")
    tiny_training.train(tmp_path / "run", job=prepared, stop_after=2)
    with pytest.raises(RunError, match=r"start: .*, now None"):
        tiny_training.train(tmp_path / "run", job=tiny_training.prepared(epochs=1), resume=True)


@pytest.mark.parametrize("begun", ["before the first checkpoint", "at a checkpoint"])
def test_a_run_resumes_after_the_source_of_its_start_weights_is_removed(whole, tmp_path, begun):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny_training.recipe(epochs=1)
    for name, steps in (("straight", None), ("stopped", 2)):
        prepared = tiny_training.prepared(request={"start_from": str(source)}, epochs=1)
        tiny_training.train(tmp_path / name, job=prepared, stop_after=steps)
    if begun == "before the first checkpoint":
        for file in (tmp_path / "stopped" / "checkpoint").iterdir():
            file.unlink()
    shutil.rmtree(source)
    ended = mlpconv.train(recipe, data=tiny_training.DATA, device="cpu", out=tmp_path / "stopped", resume=True)
    assert ended.result is not None
    expected, found = Run(tmp_path / "straight").weights(), ended.weights()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_pretrained_run_resumes_after_its_source_is_removed(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny_training.recipe(epochs=1, pretrained=str(source), model="auto")
    prepared = prepare(Request(recipe=recipe, device="cpu"), tiny_training.DATA)
    assert prepared.recipe.model == "support.tiny_training:tiny_network"
    tiny_training.train(tmp_path / "run", job=prepared, stop_after=2)
    shutil.rmtree(source)
    run = mlpconv.train(recipe, data=tiny_training.DATA, device="cpu", out=tmp_path / "run", resume=True)
    assert run.result is not None


def test_a_run_has_only_one_source_of_start_weights(whole):
    with pytest.raises(RecipeError, match=r"--start-from .* and --pretrained .*: both choose the start weights"):
        tiny_training.prepared(request={"start_from": str(whole[0])}, pretrained=str(whole[0]))


def test_start_weights_of_another_network_are_refused_before_any_work(whole):
    start, _ = whole
    with pytest.raises(WeightsError, match=r"--start-from .*belong to another network"):
        tiny_training.prepared(load_dataset("digits"), {"start_from": str(start)}, model="nin_28")
