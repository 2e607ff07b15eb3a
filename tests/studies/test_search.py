"""The search: how a space is written, how trials are judged, resuming, and the results."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import MissingDependency, RecipeError, RunError
from mlpconv.runs.run import Run
from mlpconv.studies import search
from mlpconv.studies.search import SearchSettings, candidate
from mlpconv.studies.search_space import SPACE, Field, field_names, first_value, fit_space, parse_space
from mlpconv.training.recipe import Recipe
from mlpconv.training.recipes import get_recipe, read_recipe

LABELS = np.arange(48) % 2
IMAGES = np.random.default_rng(0).integers(0, 60, (48, 4, 4, 1), dtype=np.uint8)
IMAGES[LABELS == 1, :2] += 180
DATA = Splits(
    ImageDataset(IMAGES, LABELS, ("low", "high"), "halves/train"),
    ImageDataset(IMAGES[:8], LABELS[:8], ("low", "high"), "halves/test"),
)


def halves(num_classes=2, input_channels=1):
    return Network(
        Block(conv=Conv2d(num_classes, 2)), GlobalAvgPool2d(), Flatten(), input_channels=input_channels, input_size=4
    )


BASE = Recipe(model=f"{__name__}:halves", epochs=2, batch_size=8, learning_rate=0.01, precision="float32")


def test_a_space_is_parsed_from_the_command_line():
    assert parse_space(
        [
            "learning_rate=1e-4..1e-2 log",
            "epochs=1..5",
            "batch_size = 64 | 128",
            "augmentation.flip=true|false",
            "optimizer.name=sgd|adamw",
            "label_smoothing=0..0.2",
        ]
    ) == [
        Field("learning_rate", None, 1e-4, 1e-2, True),
        Field("epochs", None, 1, 5, False, True),
        Field("batch_size", (64, 128)),
        Field("augmentation.flip", (True, False)),
        Field("optimizer.name", ("sgd", "adamw")),
        Field("label_smoothing", None, 0, 0.2),
    ]


def test_the_default_space_fits_quick():
    found = candidate(get_recipe("quick"), {field.name: first_value(field) for field in parse_space(SPACE)})
    assert found.optimizer.weight_decay == 1e-3
    assert found.batch_size == 64
    assert found.optimizer.name == "muon"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learning_rate"], "expected FIELD=LOW..HIGH"),
        (["Rate=1..2"], "expected FIELD=LOW..HIGH"),
        (["learning_rate=low..high"], "are not two numbers"),
        (["learning_rate=2..1"], "the first must be below the second"),
        (["learning_rate=0..1 log"], "above 0 for log"),
        (["batch_size=64"], "two values or more"),
        (["epochs=1..2", "epochs=2|3"], "epochs is given twice"),
    ],
)
def test_an_invalid_space_is_refused(texts, message):
    with pytest.raises(RecipeError, match=message):
        parse_space(texts)


@given(st.integers(1, 100_000), st.sampled_from([8, 64, 128, 512]))
def test_no_batch_has_more_than_a_tenth_of_the_images(images, size):
    fields, recipe, notes = fit_space(Recipe(model="nin", batch_size=size), None, (), images)
    searched = next((field.values for field in fields if field.name == "batch_size"), (recipe.batch_size,))
    assert max(*searched, recipe.batch_size) <= max(images / 10, 1)
    assert len(set(searched)) == len(searched) <= 3
    assert bool(notes) == (recipe.batch_size < size and size > max(images // 10, 1))
    if images >= 2560:
        assert searched == (64, 128, 256)


def test_batch_sizes_of_few_images():
    def sizes(images):
        fields, recipe, _ = fit_space(Recipe(model="nin", batch_size=128), None, (), images)
        return next((field.values for field in fields if field.name == "batch_size"), recipe.batch_size)

    assert [sizes(images) for images in (2000, 640, 300, 60, 30, 9)] == [
        (32, 64, 128),
        (16, 32, 64),
        (4, 8, 16),
        (2, 4),
        2,
        1,
    ]


def test_a_batch_size_that_the_user_chose_is_kept():
    space = ["batch_size=64|128", "learning_rate=1e-4..1e-2 log"]
    fields, recipe, notes = fit_space(Recipe(model="nin", batch_size=64), space, (), 100)
    assert (fields, recipe.batch_size, notes) == (parse_space(space), 64, [])
    fields, recipe, notes = fit_space(Recipe(model="nin", batch_size=64), None, {"batch_size"}, 100)
    assert (recipe.batch_size, notes) == (64, [])
    assert "batch_size" not in {field.name for field in fields}


def test_a_field_with_a_value_is_not_searched():
    names = {field.name for field in parse_space(SPACE)}
    fixed = field_names({"optimizer": {"weight_decay": 0.1, "name": "sgd"}, "warmup": 0.1})
    assert fixed == {"optimizer.weight_decay", "optimizer.name", "warmup"}
    found = fit_space(Recipe(model="nin"), None, fixed, 5000)
    assert {field.name for field in found.fields} == names - fixed
    assert found.notes == []
    found = fit_space(Recipe(model="nin"), ["warmup=0..0.5", "epochs=1..5"], fixed, 5000)
    assert [field.name for field in found.fields] == ["epochs"]
    assert found.notes == ["not searched, because --set gives it a value: warmup"]
    with pytest.raises(RecipeError, match="--set gives a value to every field that would be searched"):
        fit_space(Recipe(model="nin"), ["warmup=0..0.5"], fixed, 5000)


def test_without_optuna_the_error_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r'pip install "mlpconv\[tune\]"'):
        search.load()


def go(path, trials, space=("learning_rate=1e-4..1 log", "batch_size=4|8"), **options):
    pytest.importorskip("optuna")
    pytest.importorskip("torch")
    settings = SearchSettings(path, f"sqlite:///{path / 'o.db'}", validation=12, trials=trials, name="t", device="cpu")
    return search.search(BASE, parse_space(space), DATA, settings, **options)


def test_a_search_finds_a_recipe_resumes_and_reports(tmp_path):
    lines = []
    first = go(tmp_path, 3, progress=lines.append)
    assert len(lines) == 3
    assert len(first.study.trials) == 3
    run = Run(tmp_path / "trial-0")
    # The test set takes no part: trials train on what is left and are judged by what is held out.
    assert (run.config.data.train, run.config.data.test) == (36, 12)
    assert go(tmp_path, 3).study.trials == first.study.trials
    found = go(tmp_path, 8)
    assert len(found.study.trials) == 8
    rates = [trial.params["learning_rate"] for trial in found.study.trials]
    assert len(set(rates)) == 8, "a search that goes on must not draw the same again"
    assert found.accuracy == max(trial.value for trial in found.study.trials if trial.state.name == "COMPLETE")
    assert found.recipe.learning_rate == found.values["learning_rate"]
    if found.importance:
        assert set(found.importance) == {"learning_rate", "batch_size"}
    page = search.report(found, BASE, "mlpconv tune")
    assert f"{found.accuracy:.4f} on the 12 images held out" in page
    toml = page.split("```toml\n")[1].split("```")[0]
    (tmp_path / "best.toml").write_text(toml)
    assert read_recipe(tmp_path / "best.toml") == found.recipe


def test_another_space_under_the_same_name_is_refused(tmp_path):
    go(tmp_path, 1)
    with pytest.raises(RunError, match="searches something else; give another --name"):
        go(tmp_path, 2, space=("epochs=1..2",))


def test_a_field_that_does_not_fit_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(RecipeError, match="unknown key 'rate'"):
        go(tmp_path, 1, space=("rate=0.1..1",))
    assert not list(tmp_path.iterdir())


def test_a_stopped_search_can_be_resumed(tmp_path):
    go(tmp_path, 1)
    steps = []
    stopped = go(tmp_path, 4, should_stop=lambda: len(steps) > 6 or steps.append(1))
    assert [trial.state.name for trial in stopped.study.trials] == ["COMPLETE", "FAIL"]
    assert len([trial for trial in go(tmp_path, 2).study.trials if trial.state.name == "COMPLETE"]) == 2


def test_the_tune_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    from mlpconv.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPCONV_ALLOCATOR", "system")
    arguments = [
        "tune",
        "--trials",
        "2",
        "--set",
        "model=nin_28",
        "--set",
        "data=digits",
        "--set",
        "image_size=8",
        "--set",
        "epochs=1",
        "--set",
        "precision=float32",
        "--space",
        "learning_rate=1e-3..1e-2 log",
        "--images",
        "300",
        "--json",
    ]
    monkeypatch.setattr("sys.argv", ["mlpconv", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)
    schema = Path(__file__).parents[2] / "docs" / "json" / "tune.schema.json"
    jsonschema.validate(said, json.loads(schema.read_text()), cls=jsonschema.Draft202012Validator)
    assert read_recipe(tmp_path / said["recipe"]).learning_rate == said["values"]["learning_rate"]
    assert Run(tmp_path / "runs/tune/trial-0").config.data.test == 30
