"""The benchmark of class maps: all tests on a small network, what their statistics claim, and the page."""

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.backends.weights import INITIALIZERS
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import DataError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.training.recipe import Recipe

torch = pytest.importorskip("torch")
from mlpconv.bench import explain, explain_report  # noqa: E402
from mlpconv.bench.explain_places import with_shortcut  # noqa: E402

SCHEMA = Path(__file__).parents[2] / "docs" / "json" / "bench-explain.schema.json"
NAMES = ("a", "b", "c", "d")
METHODS = ["class map", "Grad-CAM at block2", "Grad-CAM at block1", "occlusion", "chance"]


def squares(num_classes=4, input_channels=1):
    return Network(
        Block(conv=Conv2d(12, 3, padding=1), relu=ReLU()),
        MaxPool2d(2, stride=2),
        Block(conv=Conv2d(12, 3, padding=1), relu=ReLU()),
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=12,
        name="squares",
    )


def draw(count, classes=4, blank=False):
    """The pattern of a square at a random place says the class; with ``blank`` the first class has no square."""
    labels = np.arange(count) % classes
    random = np.random.default_rng(0)
    images = random.integers(0, 30, (count, 12, 12, 1), dtype=np.uint8)
    patterns = np.full((4, 5, 5, 1), 230, np.uint8)
    patterns[0] = 100
    patterns[1, ::2] = 0
    patterns[2, :, ::2] = 0
    for image, label, (top, left) in zip(images, labels, random.integers(0, 8, (count, 2)), strict=True):
        if label or not blank:
            image[top : top + 5, left : left + 5] = patterns[label]
    return ImageDataset(images, labels, NAMES[:classes], "squares/test")


DATA, BLANK = draw(200), draw(200, blank=True)


def train(path, data, seed, model="squares"):
    recipe = Recipe(
        model=f"{__name__}:{model}",
        epochs=7,
        batch_size=8,
        learning_rate=0.1,
        precision="float32",
        initializer=INITIALIZERS["open"],
        seed=seed,
    )
    execution = execute(prepare(Request(recipe=recipe, device="cpu"), data), path)
    list(execution)
    return execution.run


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("explain")


@pytest.fixture(scope="module")
def runs(directory):
    return [train(directory / f"seed-{seed}", Splits(DATA, DATA), seed) for seed in range(2)]


@pytest.fixture(scope="module")
def marked(directory):
    return [train(directory / "marked", with_shortcut(Splits(BLANK, BLANK), 0, 0), 0)]


@pytest.fixture(scope="module")
def measured(runs, marked):
    lines = []
    found = explain.measure(runs, marked, explain.Budget(40, 2), lines.append, data=DATA, marked_data=BLANK)
    return found | {"command": "mlpconv bench explain"}, lines


def test_the_result_has_every_test_and_method(measured):
    result, lines = measured
    jsonschema.validate(result, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    for key in ("road", "weights", "mosaics", "shortcut"):
        assert [each["name"] for each in result[key]["methods"]] == METHODS
    assert result["map_size"] == [6, 6]
    assert result["mosaics"]["map_size"] == [12, 12]
    assert any(line.startswith("ROAD, run 2 of 2, occlusion: accuracy MoRF ") for line in lines)


def test_class_maps_of_a_network_that_looks_at_small_squares_beat_chance(measured):
    result, _ = measured
    found = explain_report.beats_chance(result)
    assert {title for title, better in found.items() if better} >= {test.title for test in explain_report.COMPARED}


def test_only_chance_does_not_depend_on_the_weights(measured):
    *others, chance = measured[0]["weights"]["methods"]
    assert [step["mean"] for step in chance["steps"]] == [1, 1, 1]
    assert not chance["passed"]
    for each in others:
        assert each["steps"][-1]["mean"] < 0.9
        assert each["passed"] == (each["steps"][-1]["high"] < 0.5)


def test_the_areas_are_those_of_the_curves(measured):
    result, _ = measured
    for row in result["road"]["methods"]:
        curves = result["road"]["curves"][row["name"]]
        for key, values in curves.items():
            assert np.mean(values) == pytest.approx(row[key]["mean"], abs=1e-6)
        assert row["gap"]["mean"] == pytest.approx(row["lerf"]["mean"] - row["morf"]["mean"], abs=1e-6)


def test_the_page_and_the_figure_have_every_test(measured):
    result, _ = measured
    page = explain_report.markdown(result)
    for test in explain_report.COMPARED:
        assert f"## {test.title}\n" in page
        assert len(explain_report.rows(result, test)) == 5
    assert "| method | block3 | + block2 | + block1 | result |" in page
    assert f"{result['cost']['ratio']:.3f} × plain prediction" in page
    assert "Random weights: class maps depend on them" in page
    road, weights, shortcut, mosaics = explain_report.figure(result).axes
    assert len(road.lines) == 10
    assert len(weights.lines) == 6
    assert len(shortcut.patches) == len(mosaics.patches) == 10


def test_a_marker_that_misleads_nobody_is_reported(runs):
    test = draw(40)
    wrong = ImageDataset(test.images, (test.labels + 1) % 4, NAMES, "wrong/test")  # no image is classified correctly
    result = explain.measure_shortcut([explain.View(explain.open_classifier(runs[0]))], wrong, 4, print)
    assert result["methods"] == []
    assert result["chance"] is None


def test_too_few_images_or_classes_are_refused(runs, marked, directory):
    with pytest.raises(DataError, match="--images 201: squares/test has 200"):
        explain.measure(runs, marked, explain.Budget(201, 1), print, data=DATA, marked_data=BLANK)
    with pytest.raises(DataError, match="has 3 classes; a mosaic of four classes needs four or more"):
        explain.measure(runs, marked, explain.Budget(9, 1), print, data=draw(9, 3), marked_data=BLANK)


def test_an_image_counts_with_its_mean_over_the_runs_that_have_it():
    nan = np.nan
    found = explain.statistic(np.float32([[0, 1, nan, nan], [1, 1, 0, nan]]))
    assert found["mean"] == pytest.approx(0.5)
    assert found["runs"] == pytest.approx([0.5, 2 / 3])
    assert found["verdict"] is None


@pytest.mark.parametrize(
    ("theirs", "better", "verdict"),
    [
        ([[0, 0.1, 0], [0.1, 0, 0]], 1, "better"),
        ([[0, 0.1, 0], [0.1, 0, 0]], -1, "worse"),
        ([[2, 2.1, 2], [2.1, 2, 2]], -1, "better"),
        ([[0, 1, 2], [2, 1, 0]], 1, "open"),
        # On average clearly less, but not in the second run.
        ([[-5, -5, -5], [1.1, 1.2, 1.1]], 1, "open"),
    ],
)
def test_a_verdict_needs_the_interval_and_every_run(theirs, better, verdict):
    ours = np.ones((2, 3), np.float32)
    assert explain.statistic(np.float32(theirs), ours, better=better)["verdict"] == verdict


def test_the_sentences_say_what_the_verdicts_say(measured):
    result = copy.deepcopy(measured[0])
    for each, verdict in zip(result["road"]["methods"], (None, "open", "open", "worse", "better"), strict=True):
        each["gap"]["verdict"] = verdict
    result["shortcut"]["methods"] = []
    result["weights"]["methods"][0]["passed"] = False
    said = explain_report.words(result)
    assert said[0] == (
        "Removed pixels (ROAD): class maps are better than chance; worse than occlusion; not distinguishable from "
        "Grad-CAM at block2, Grad-CAM at block1."
    )
    assert said[1] == "A planted shortcut: too few images were misled to compare methods."
    assert said[-1].startswith("Random weights: class maps fail; class map, ")
    assert explain_report.beats_chance(result)["A planted shortcut"] is False
    gates = explain_report.gates(result)
    assert gates[0].startswith("pass  ")
    assert "FAIL  Random weights: class maps depend on them" in gates


def test_a_network_is_trained_with_the_marker_once(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    recipe = tmp_path / "digits.toml"
    recipe.write_text(f'base = "fast"\ndata = "digits"\nmodel = "{__name__}:squares"\nprecision = "float32"\n')
    lines = []
    run = explain.train_marked(str(recipe), 3, tmp_path / "runs", lines.append)
    assert run.path == tmp_path / "runs" / "digits-marked-seed-3"
    assert (run.config.recipe.seed, run.config.data.name) == (3, "digits-marked")
    assert len(lines) == 1
    again = explain.train_marked(str(recipe), 3, tmp_path / "runs", lines.append)
    assert again.path == run.path
    assert len(lines) == 1
