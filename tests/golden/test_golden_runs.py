"""Run directories of an earlier version give the same results as with that version.

Trainings that start from them are compared in test_golden_training.py, in a process with one thread.
"""

import json
import shutil
from importlib.util import find_spec

import golden_outputs as outputs
import golden_recorded as recorded
import pytest

import mlpconv

READINGS = recorded.read(recorded.READINGS)
AGAIN = "if this change is intended: python tests/golden/record.py readings"

pytestmark = [
    pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed"),
    pytest.mark.skipif(not find_spec("sklearn"), reason="scikit-learn, which has the data set, is not installed"),
]


@pytest.fixture
def here(tmp_path):
    outputs.prepare(tmp_path / "here")
    return tmp_path / "here"


def said(here, *words):
    return json.loads(recorded.command(here, *words, "--json"))


@pytest.mark.parametrize("run", outputs.READ)
def test_evaluate_predict_and_explain(here, run):
    found, known = outputs.reading(run, here), READINGS[run]
    assert found["accuracy"] == pytest.approx(known["accuracy"], abs=1 / 360), AGAIN
    assert found["loss"] == pytest.approx(known["loss"], rel=1e-4), AGAIN
    moved = sum(abs(a - b) for row, other in zip(found["confusion"], known["confusion"], strict=True)
                for a, b in zip(row, other, strict=True))  # fmt: skip
    assert moved <= 2, AGAIN
    for part in ("top", "evidence"):
        for now, before in zip(found[part], known[part], strict=True):
            assert now == pytest.approx(before, rel=1e-3, abs=1e-5), AGAIN


@pytest.mark.parametrize("run", outputs.READ)
def test_report(here, run):
    value = said(here, "report", run)
    assert value["finished"] is (run != "stopped")
    page = (here / run / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) == value["bytes"]
    assert "tiny" in page
    assert "digits" in page


def test_compare(here):
    value = said(here, "compare", *outputs.READ, "--out", "compared.html")
    assert value["runs"] == list(outputs.READ)
    assert value["results"]["finished"] == [True, False, True]
    results = [recorded.read(here / run / "result.json")["test_accuracy"] for run in ("finished", "bfloat16")]
    assert value["results"]["test_accuracy"][::2] == results
    assert value["differences"]["precision"] == ["float32", "float32", "bfloat16"]
    assert value["differences"]["seed"] == ["1", "3", "2"]


def test_runs(here):
    rows = {row["run"]: row for row in said(here, "runs", ".")}
    assert rows.keys() == set(outputs.READ)
    assert {run: (row["epochs"], row["of"], row["finished"]) for run, row in rows.items()} == {
        "finished": (2, 2, True), "stopped": (1, 3, False), "bfloat16": (2, 2, True),
    }  # fmt: skip


def test_resuming_a_finished_run_changes_nothing(here):
    before = {path: path.read_bytes() for path in (here / "finished").rglob("*") if path.is_file()}
    result = json.loads(before[here / "finished" / "result.json"])
    value = said(here, "train", "--out", "finished", "--resume")
    assert {key: value[key] for key in ("loss", "test_accuracy", "seconds")} == {
        key: result[key] for key in ("loss", "test_accuracy", "seconds")
    }
    assert {path: path.read_bytes() for path in (here / "finished").rglob("*") if path.is_file()} == before


def test_resuming_a_run_with_other_settings_is_refused(here):
    with pytest.raises(RuntimeError, match="with other settings"):
        recorded.command(here, "train", "--out", "stopped", "--resume", "--lr", "0.5")


def test_the_python_interface(here, monkeypatch):
    monkeypatch.chdir(here)
    run = mlpconv.Run("finished")
    assert run.config.recipe.optimizer.name == "adamw"
    assert run.config.recipe.augmentation.shift == 1
    assert len(run.history) == 2
    assert mlpconv.Network.from_json((here / "tiny.json").read_text()) == run.config.make_network()
    classifier = mlpconv.load(run, device="cpu")
    assert classifier.class_names == tuple("0123456789")
    shutil.copy("finished/weights.safetensors", "alone.safetensors")
    weights = mlpconv.load("alone.safetensors", device="cpu").stored.weights
    assert {name: value.tobytes() for name, value in weights.items()} == {
        name: value.tobytes() for name, value in run.weights().items()
    }
