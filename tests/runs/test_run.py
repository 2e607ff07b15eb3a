"""The run directory: it is read as written, and errors name what is damaged, foreign or newer."""

import json
import os
import time

import msgspec
import numpy as np
import pytest

from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.drawing.plots import curves_figure, save_curves
from mlpconv.errors import MlpconvError, RunError, WeightsError
from mlpconv.models import create_model
from mlpconv.runs.files import read_tensors, write_tensors
from mlpconv.runs.job import Job
from mlpconv.runs.run import Result, Run, environment, list_runs, new_path
from support import tiny_training
from support.tiny_training import file_names

RESULT = Result(
    loss=0.1 + 0.2,
    train_accuracy=0.5,
    test_accuracy=0.25,
    test_loss=1.5,
    examples_per_second=10.0,
    seconds=2.0,
    epochs=1,
    class_accuracy={"across": None, "down": 0.5, "plain": 1.0},
    confusion=[[0, 0, 0], [1, 2, 1], [0, 0, 3]],
)

LINE = {
    "epoch": 1,
    "loss": 0.1 + 0.2,
    "train_accuracy": 0.5,
    "test_loss": 0.25,
    "test_accuracy": 0.75,
    "class_accuracy": {"Ä": None},
    "learning_rate": 0.1,
    "image_size": 6,
    "skipped": 0,
    "curve": [[0.2, 1.0, 0.5]],
    "seconds": 1.5,
    "evaluation_seconds": 0.5,
    "examples_per_second": 100.0,
}


@pytest.fixture(scope="module")
def config():
    return tiny_training.prepared().job


@pytest.fixture
def run(tmp_path, config):
    return Run.create(tmp_path / "run", config)


def test_a_run_is_read_as_it_was_written(run, config):
    assert Run(run.path).config == config
    assert Run(str(run.path)).name == "run"
    assert run.history == []
    assert run.result is None
    run.write_history([LINE])
    assert run.history == [LINE]
    run.write_result(RESULT)
    assert run.result == RESULT
    assert run.config.make_network() == tiny_training.NETWORK
    assert json.loads((run.path / "config.json").read_text())["format"] == 1


def test_the_weights_file_is_a_complete_classifier(run):
    weights = initialize(tiny_training.NETWORK, INITIALIZERS["he"], 1)
    run.write_weights(weights)
    found = run.weights()
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value)
    _, metadata = read_tensors(run.path / "weights.safetensors")
    assert metadata["mlpconv.format"] == "1"
    assert json.loads(metadata["mlpconv.class_names"]) == list(tiny_training.NAMES)
    network = tiny_training.NETWORK.from_json(metadata["mlpconv.network"])
    preprocess = msgspec.json.decode(metadata["mlpconv.preprocess"], type=type(run.config.preprocess))
    assert (network, preprocess) == (tiny_training.NETWORK, run.config.preprocess)


def test_the_environment_describes_the_machine(run):
    found = json.loads((run.path / "environment.json").read_text())
    assert set(found) == set(environment())
    assert found["versions"]["numpy"] == np.__version__
    assert found["cpus"] >= 1
    assert found["date"].endswith("+00:00")


def test_there_are_no_weights_before_the_first_epoch(run):
    with pytest.raises(RunError, match=rf"no weights\.safetensors yet: .*mlpconv train --out {run.path} --resume"):
        run.weights()


def test_weights_of_another_network_are_refused(run):
    run.write_weights(initialize(create_model("lenet"), INITIALIZERS["he"], 1))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: these weights belong to another network"):
        run.weights()


def test_damaged_weights_are_refused(run):
    weights = initialize(tiny_training.NETWORK, INITIALIZERS["he"], 1)
    run.write_weights(weights)
    path = run.path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"weights\.safetensors: damaged"):
        run.weights()
    write_tensors(path, {**weights, "block1.conv.bias": np.full(8, np.nan, np.float32)}, {})
    with pytest.raises(WeightsError, match=r"block1\.conv\.bias holds NaN .* of a run that diverged"):
        run.weights()


def change_config(run, edit):
    path = run.path / "config.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(format=2), r"config\.json: written by a newer mlpconv \(format 2\); update mlpconv"),
        (lambda c: c.update(format=2, new_field=1), "newer mlpconv"),
        (lambda c: c.pop("recipe"), "missing required field `recipe`"),
        (lambda c: c.update(reciep={}), "unknown field `reciep`"),
        (lambda c: c["recipe"].update(epochs="3"), r"Expected `int`, got `str` - at `\$\.recipe\.epochs`"),
        (lambda c: c["recipe"].update(epochs=0), r"config\.json: not what mlpconv writes: epochs must be at least 1"),
        (lambda c: c["preprocess"].update(size=0), "size must be at least 1"),
        (lambda c: c.update(precision="float16"), r"float16.*\$\.precision"),
    ],
)
def test_an_error_in_a_config_names_the_field(run, edit, message):
    change_config(run, edit)
    with pytest.raises(RunError, match=message) as caught:
        Run(run.path)
    assert "config.json" in str(caught.value)
    assert list_runs(run.path.parent) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{", b"3", b'{"format": "1"}'])
def test_a_file_that_is_not_a_config_is_refused(run, content):
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json: not what mlpconv writes"):
        Run(run.path)


def test_an_error_in_a_network_names_the_layer(run):
    change_config(run, lambda c: c["network"]["layers"]["block1"]["conv"].update(kernel_size=0))
    with pytest.raises(MlpconvError, match=r"config\.json: layers\.block1\.conv"):
        Run(run.path).config.make_network()


def test_a_path_that_is_not_a_run_is_refused(tmp_path, run):
    with pytest.raises(RunError, match=r"nowhere: there is no such directory; `mlpconv runs`"):
        Run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty: not a run directory: it has no config\.json"):
        Run(tmp_path / "empty")
    with pytest.raises(RunError, match="there is no such directory"):
        Run(run.path / "config.json")


@pytest.mark.parametrize("content", ['{"epoch": 1}\n{"epo', "\x00", "{'epoch': 1}"])
def test_the_error_of_a_damaged_history_has_a_remedy(run, content):
    (run.path / "history.jsonl").write_text(content)
    with pytest.raises(RunError, match=r"history\.jsonl: damaged: .*--resume writes it again"):
        _ = run.history


@pytest.mark.parametrize("content", ["", '{"loss": 1.0}', '{"loss": null}'])
def test_the_error_of_a_damaged_result_has_a_remedy(run, content):
    (run.path / "result.json").write_text(content)
    with pytest.raises(RunError, match=r"result\.json: not what .*; remove it, and mlpconv train .* --resume writes"):
        _ = run.result


def test_runs_are_listed_oldest_first_and_others_skipped(tmp_path, config, monkeypatch):
    assert list_runs(tmp_path / "none") == []
    for index, name in enumerate(["z", "a", "m"]):
        run = Run.create(tmp_path / "runs" / name, config)
        stamp = time.time_ns() + index * 10**9
        os.utime(run.path / "environment.json", ns=(stamp, stamp))
    foreign = tmp_path / "runs" / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"editor": "tabs"}')
    assert [run.name for run in list_runs(tmp_path / "runs")] == ["z", "a", "m"]
    monkeypatch.chdir(tmp_path)
    assert Run("latest").name == "m"


def test_latest_without_runs_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"latest: there is no run in \./runs; `mlpconv train` makes one"):
        Run("latest")


def test_new_paths_are_numbered(tmp_path):
    assert new_path("quick", "nin", tmp_path) == tmp_path / "quick-nin-1"
    for name in ("quick-nin-1", "quick-nin-9", "quick-nin-x", "quick-nin-12b", "quick-nin_28-40"):
        (tmp_path / name).mkdir()
    assert new_path("quick", "nin", tmp_path) == tmp_path / "quick-nin-10"
    assert new_path("my/own.toml", "nets/mine.json", tmp_path) == tmp_path / "own-mine-1"
    assert new_path("quick", "package.module:build", tmp_path) == tmp_path / "quick-build-1"


@pytest.mark.parametrize("name", ["run", "tiny/run"])
def test_a_path_that_cannot_be_written_is_named(tmp_path, config, name):
    (tmp_path / name.split("/")[0]).write_text("a file")
    with pytest.raises(RunError, match=r"cannot be written: .*; choose another --out"):
        Run.create(tmp_path / name, config)


def lines(epochs):
    return [
        {
            "epoch": epoch + 1,
            "test_accuracy": 0.5 + epoch / 10,
            "curve": [[epoch + part / 5, 2.0 / (epoch + part), 0.1 * part] for part in range(1, 6)],
        }
        for epoch in range(epochs)
    ]


def test_the_curves_are_the_chapters():
    figure = curves_figure(lines(2), "a run")
    (axes,) = figure.axes
    loss, train, test = axes.lines[:3]
    assert [line.get_label() for line in axes.lines[:3]] == ["train loss", "train acc", "test acc"]
    assert len(loss.get_xdata()) == len(train.get_xdata()) == 10
    assert list(test.get_xdata()) == [1, 2]
    assert list(test.get_ydata()) == [0.5, 0.6]
    assert axes.get_xlabel() == "epoch"


@pytest.mark.parametrize("title", ["plain", "$5 for $x_", r"\frac", "試し", "a\nb"])
def test_a_run_of_any_name_has_its_curves(tmp_path, title):
    path = tmp_path / "curves.png"
    save_curves(lines(1), path, title)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert file_names(tmp_path) == ["curves.png"]


def test_a_config_depends_on_no_default(run, config):
    stored = json.loads((run.path / "config.json").read_text())
    assert set(stored["recipe"]) == set(config.recipe.__struct_fields__)
    assert stored["recipe"]["optimizer"]["beta1"] == 0.9
    assert stored["recipe"]["precision"] == "float32"
    assert stored["preprocess"]["antialias"] is True
    assert msgspec.convert(config.to_dict(), Job) == config


def test_the_version_of_tensorflow_is_found_under_either_name(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def version(package):
        if package == "tensorflow":
            raise PackageNotFoundError
        return "1.2.3"

    monkeypatch.setattr("mlpconv.runs.run.version", version)
    assert environment()["versions"]["tensorflow"] == "1.2.3"
    assert "tensorflow-cpu" not in environment()["versions"]
