"""A session that begins with the weights of another run."""

import shutil

import numpy as np
import pytest
import tiny

import mlpconv
from mlpconv.data import load_dataset
from mlpconv.errors import RecipeError, RunError, WeightsError
from mlpconv.jobs.session import Session
from mlpconv.runs.run import Run

pytest.importorskip("torch")


def test_a_run_begins_with_the_weights_of_another(whole, tmp_path):
    start, _ = whole
    prepared = Session(tiny.recipe(epochs=1), data=tiny.DATA, device="cpu", start=start)
    weights, model = Run(start).weights(), prepared.make_model()
    assert all(np.array_equal(model.weights()[name], weights[name]) for name in weights)
    again = Session(tiny.recipe(epochs=1), data=tiny.DATA, device="cpu", start=start / "weights.safetensors")
    assert again.config.start == str(start / "weights.safetensors")
    tiny.run(tmp_path / "run", session=prepared, stop_after=2)
    with pytest.raises(RunError, match=r"start: .*, now None"):
        tiny.run(tmp_path / "run", session=tiny.session(epochs=1), resume=True)


@pytest.mark.parametrize("begun", ["before the first checkpoint", "at a checkpoint"])
def test_a_run_that_began_with_weights_goes_on_without_where_they_came_from(whole, tmp_path, begun):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny.recipe(epochs=1)
    for name, steps in (("straight", None), ("stopped", 2)):
        session = Session(recipe, recipe_name="custom", data=tiny.DATA, device="cpu", start=source)
        tiny.run(tmp_path / name, session=session, stop_after=steps)
    if begun == "before the first checkpoint":
        for file in (tmp_path / "stopped" / "checkpoint").iterdir():
            file.unlink()
    shutil.rmtree(source)
    ended = mlpconv.train(recipe, data=tiny.DATA, device="cpu", out=tmp_path / "stopped", resume=True)
    assert ended.result is not None
    expected, found = Run(tmp_path / "straight").weights(), ended.weights()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_pretrained_run_goes_on_without_where_it_began(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny.recipe(epochs=1, pretrained=str(source), model="auto")
    session = Session(recipe, data=tiny.DATA, device="cpu")
    assert session.recipe.model == "tiny:tiny"
    tiny.run(tmp_path / "run", session=session, stop_after=2)
    shutil.rmtree(source)
    assert mlpconv.train(recipe, data=tiny.DATA, device="cpu", out=tmp_path / "run", resume=True).result is not None


def test_a_run_begins_with_the_weights_of_one_other(whole):
    recipe = tiny.recipe(pretrained=str(whole[0]))
    with pytest.raises(RecipeError, match=r"--weights .* and --pretrained .*: both say"):
        Session(recipe, data=tiny.DATA, device="cpu", start=whole[0])


def test_the_weights_of_another_network_are_refused_before_anything_begins(whole):
    start, _ = whole
    with pytest.raises(WeightsError, match=r"--weights .*belong to another network"):
        Session(tiny.recipe(model="nin_28"), data=load_dataset("digits"), device="cpu", start=start)
