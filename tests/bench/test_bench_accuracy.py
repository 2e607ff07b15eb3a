"""`bench accuracy` and `bench guard` on a network that learns the digits in a second."""

import json
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import accuracy, guard

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
SCHEMAS = Path(__file__).parents[2] / "docs" / "json"
TINY = """
base = "quick"
model = "nin_28"
data = "digits"
image_size = 14
batch_size = 32
epochs = 1
precision = "float32"
"""


def check(name, value):
    jsonschema.validate(json.loads(json.dumps(value)), json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    return "tiny.toml"


def test_accuracy_is_measured_by_recipe_and_seed(recipe, tmp_path):
    lines = []
    result = accuracy.measure([recipe], 1, tmp_path / "runs", lines.append)
    check("bench-accuracy", result)
    (line,) = result["recipes"]
    assert (line["recipe"], line["network"], line["target"], line["reached"]) == (recipe, "nin_28", None, None)
    assert line["parameters"] == 418_346
    assert line["test_accuracy"] == line["seeds"][0]["test_accuracy"] > 0.8
    assert lines[0].startswith("tiny.toml, seed 0: test accuracy")
    assert accuracy.measure([recipe], 1, tmp_path / "runs") == result
    page = accuracy.markdown(result)
    assert "| tiny.toml | nin_28 | 418,346 | – |" in page
    assert "## tiny.toml" in page


def test_the_time_of_the_guard_is_measured_in_the_run(recipe):
    result = guard.measure(recipe, 1)
    check("bench-guard", result)
    assert 0 < result["guard_seconds"] < result["training_seconds"]
    assert result["share"] == result["guard_seconds"] / result["training_seconds"]
    assert result["gate"]["passed"] is (result["share"] < 0.01)
    assert "| tiny.toml |" in guard.markdown(result)
