"""The names of the package, and its two functions as a program uses them."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlpconv
from mlpconv.errors import RecipeError, RunError

CLASSES = ("dark", "light")
DRAW = np.random.default_rng(0)


def images(count):
    labels = np.arange(count) % 2
    pixels = DRAW.integers(0, 100, (count, 5, 5, 1), dtype=np.uint8) + (150 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return mlpconv.ImageDataset(pixels, labels, CLASSES, "mine")


SPLITS = mlpconv.Splits(images(40), images(10))
OWN = mlpconv.Recipe(
    model="nin_28", epochs=2, batch_size=10, learning_rate=0.02, image_size=5, precision="float32", normalize="data"
)


@pytest.mark.parametrize("name", mlpconv.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    assert getattr(mlpconv, name).__doc__
    assert name in dir(mlpconv)


def test_names_are_listed_in_order_and_a_wrong_one_is_an_attribute_error():
    assert mlpconv.__all__ == sorted(mlpconv.__all__)
    assert set(dir(mlpconv)) == {*mlpconv.__all__, "__version__"}
    with pytest.raises(AttributeError, match="module 'mlpconv' has no attribute 'trian'"):
        _ = mlpconv.trian


def test_importing_loads_no_framework():
    program = """
import sys, mlpconv
mlpconv.create_model("nin"); mlpconv.list_models(); mlpconv.get_recipe("quick"); dir(mlpconv)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "keras", "tensorflow", "jax", "matplotlib"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("torch")
    return mlpconv.train(OWN, data=SPLITS, out=tmp_path_factory.mktemp("api") / "run", device="cpu")


def test_train_gives_a_run_and_load_its_classifier(trained):
    assert isinstance(trained, mlpconv.Run)
    assert trained.result.epochs == 2
    assert trained.config.recipe == OWN
    assert trained.config.recipe_name == "custom"
    for given in (trained, trained.path, str(trained.path)):
        classifier = mlpconv.load(given, device="cpu")
        assert isinstance(classifier, mlpconv.Classifier)
        assert classifier.class_names == CLASSES
    assert {p.top[0].label for p in classifier.predict(SPLITS.test.images)} <= set(CLASSES)


def test_progress_goes_to_the_logger_and_nothing_is_printed(tmp_path, caplog, capfd):
    pytest.importorskip("torch")
    with caplog.at_level(logging.INFO, logger="mlpconv.api"):
        run = mlpconv.train(OWN, data=SPLITS, out=tmp_path / "run", device="cpu", epochs=1)
    (line,) = (record.getMessage() for record in caplog.records if record.name == "mlpconv.api")
    assert line.startswith(
        f"epoch 1 of 1: loss {run.result.loss:.3f}, train acc {run.result.train_accuracy:.3f}, test acc"
    )
    assert line.endswith("examples/sec")
    assert capfd.readouterr() == ("", "")
    assert run.config.recipe.epochs == 1


def test_a_run_is_resumed_by_its_path(trained, tmp_path):
    with pytest.raises(RunError, match="holds a run; continue it with --resume"):
        mlpconv.train(OWN, data=SPLITS, out=trained.path, device="cpu")
    again = mlpconv.train(OWN, data=SPLITS, out=trained.path, device="cpu", resume=True)
    assert again.result == trained.result
    with pytest.raises(RunError, match="epochs: 2, now 3"):
        mlpconv.train(OWN, data=SPLITS, out=trained.path, device="cpu", resume=True, epochs=3)


def test_recipes_are_given_by_name_file_or_value(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('base = "quick"\nmodel = "nin_28"\nepochs = 1\nimage_size = 5\n')
    run = mlpconv.train("mine.toml", data=SPLITS, device="cpu", batch_size=20, optimizer={"weight_decay": 0.1})
    assert run.path == Path("runs/mine-nin_28-1")
    recipe = run.config.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer.weight_decay, recipe.optimizer.name) == (
        1,
        20,
        0.1,
        "muon",
    )
    assert run.config.data.name == "mine"


def test_the_error_of_a_misspelled_field_names_similar_ones():
    with pytest.raises(RecipeError, match="unknown key 'epoch'; did you mean 'epochs'"):
        mlpconv.train(OWN, data=SPLITS, epoch=1)


def test_the_error_of_load_names_a_missing_path(tmp_path):
    with pytest.raises(RunError, match="there is no such directory"):
        mlpconv.load(tmp_path / "none")


def test_a_run_resumes_with_confirmed_changes(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "run"
    mlpconv.train(OWN, data=SPLITS, out=path, device="cpu", epochs=1)
    with pytest.raises(RunError, match="epochs: 1, now 2"):
        mlpconv.train(OWN, data=SPLITS, out=path, device="cpu", resume=True)
    more = {"epochs": 2, "device": "cpu"}
    run = mlpconv.train(OWN, data=SPLITS, out=path, epochs=1, resume=more)
    assert run.result.epochs == 2
    assert run.config.resumed_with == ("epoch 1, step 0: epochs: 1, now 2",)


def test_an_existing_directory_is_refused_before_any_work(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        mlpconv.train(OWN, data=None, out=tmp_path)


def test_old_keywords_work_with_a_warning(trained, tmp_path):
    with pytest.warns(DeprecationWarning, match=r"weights= is now options=TrainOptions\(start_from=...\)"):
        run = mlpconv.train(OWN, data=SPLITS, out=tmp_path / "run", device="cpu", epochs=1, weights=trained.path)
    assert run.config.start == str(trained.path)
    options = {"data": SPLITS, "out": tmp_path / "run", "device": "cpu", "epochs": 1, "resume": True}
    for epochs, old in ((2, "resume_with"), (3, "resume_override")):
        with pytest.warns(DeprecationWarning, match=rf"{old}= is now resume=\{{...\}}"):
            run = mlpconv.train(OWN, **options, **{old: {"epochs": epochs}})
        assert run.result.epochs == epochs
        options["epochs"] = epochs


@pytest.mark.parametrize(("old", "value"), [("start_from", "runs/one"), ("deterministic", True)])
def test_an_old_keyword_sets_its_option(old, value, tmp_path, monkeypatch):
    requests = []
    monkeypatch.setattr("mlpconv.api.prepare", lambda request, data: requests.append(request) or sys.exit())
    with pytest.warns(DeprecationWarning, match=f"{old}= is now options="), pytest.raises(SystemExit):
        mlpconv.train(OWN, data=SPLITS, out=tmp_path / "run", **{old: value})
    assert getattr(requests[0], old) == value
