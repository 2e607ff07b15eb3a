"""A job that starts from the weights of another run."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mlpconv
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.reference.layers import activations
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.data import load_dataset
from mlpconv.errors import RecipeError, RunError, WeightsError
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.jobs.start_weights import GRAY, Taken, compare, normalization, start_from
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import StoredClassifier
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


def test_all_layers_before_the_head_move_to_other_sizes_and_classes(tmp_path):
    source, _ = tiny_training.train(tmp_path / "source", job=tiny_training.prepared(model="nin_tiny", epochs=1))
    data = tiny_training.splits(channels=1, names=("a", "b", "c", "d"))
    job = tiny_training.prepared(data, model="nin_tiny", image_size=20, pretrained=str(tmp_path / "source"))
    assert job.taken.everything
    assert job.taken.blocks() == "block1, block2 and block3"
    assert job.network.input_size == (20, 20)
    before, after = source.weights(), job.make_model().weights()
    assert all(np.array_equal(after[name], before[name]) for name in before if not name.startswith("block4"))


def test_many_blocks_are_named_by_the_first_and_the_last():
    layers = [f"block{number}.{part}" for number in range(1, 6) for part in ("conv", "mlp1")]
    taken = Taken((*layers,), (), (3, 3), (), ())
    assert taken.blocks() == "block1 to block5"
    some = taken._replace(layers=(*layers, "block6.conv"), left=("block6.mlp1",))
    assert some.blocks() == "block1 to block5 and block6.conv"


def test_layers_that_agree_in_part_are_taken_up_to_the_first_that_differs(tmp_path):
    tiny_training.train(tmp_path / "source", job=tiny_training.prepared(model="nin_fast", image_size=16, epochs=1))
    stored = Run(tmp_path / "source").stored()
    wide = stored.network
    block = wide.layers["block3"]
    other = wide.replace({"block3": block.__class__(**{**block.layers, "mlp1": Conv2d(99, 1)})})
    taken = compare(stored, other)
    assert taken.layers[-1] == "block3.norm"
    assert taken.left[0] == "block3.mlp1"
    assert taken.blocks() == "block1, block2, block3.conv and block3.norm"
    first = initialize(other, INITIALIZERS["he"], 0)
    weights = start_from(stored, other, first)
    for name, value in weights.items():
        source = stored.weights if name.rpartition(".")[0] in taken.layers else first
        assert np.array_equal(value, source[name])
    assert not taken.everything
    with pytest.raises(RunError, match="the first layers of its network, nin_fast, differ from those of nin_tiny"):
        tiny_training.prepared(model="nin_tiny", pretrained=str(tmp_path / "source"))


@pytest.mark.parametrize("normalize", ["none", "data"])
@pytest.mark.parametrize(("theirs", "ours"), [(1, 3), (3, 1)])
def test_between_gray_and_color(tmp_path, theirs, ours, normalize):
    data = {channels: tiny_training.splits(channels=channels) for channels in (1, 3)}
    made = {"model": "nin_tiny", "image_size": 12, "epochs": 1, "normalize": normalize}
    tiny_training.train(tmp_path / "source", job=tiny_training.prepared(data[theirs], **made))
    job = tiny_training.prepared(data[ours], **made, pretrained=str(tmp_path / "source"))
    assert job.taken.channels == (theirs, ours)
    assert job.taken.everything
    draw = np.random.default_rng(0)
    gray = draw.integers(0, 256, (8, 6, 6, 1), dtype=np.uint8)
    color = gray.repeat(3, axis=3)  # a picture whose gray is known exactly
    before, after = Classifier(tmp_path / "source", precision="float32"), job.make_model()
    images = {1: gray, 3: color}
    expected = before.model.outputs(images[theirs], "block1.norm")
    found = after.outputs(images[ours], "block1.norm")
    assert np.allclose(found[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2], atol=1e-3)


def test_color_is_seen_as_its_gray():
    network = create_model("nin_tiny", 3, 1)
    weights = initialize(network, INITIALIZERS["he"], 0)
    mean, std = (0.3,), (0.2,)
    gray = Preprocess(mode="L", size=28, mean=mean, std=std)
    stored = StoredClassifier(Path("gray"), network, gray, ("a", "b", "c"), weights)
    wide = create_model("nin_tiny", 3, 3)
    found = start_from(stored, wide, initialize(wide, INITIALIZERS["he"], 1))
    color = Preprocess(mode="RGB", size=28, **normalization(gray, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    luma = (pixels / 255) @ np.array(GRAY)
    expected = activations(network, weights, ((luma[:, None] - mean[0]) / std[0]).astype(np.float32))
    got = activations(wide, found, reference.preprocess(pixels, color))
    assert np.allclose(got["block1.conv"], expected["block1.conv"], atol=1e-4)
