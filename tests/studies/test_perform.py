"""A study from its runs to its page, on images and networks that take a moment."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, Linear, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.drawing.plots import png
from mlpconv.errors import MlpconvError
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.runs.run import Run
from mlpconv.studies import answers, figures, measures, pages
from mlpconv.studies.catalogue import STUDIES, Budget, Study
from mlpconv.studies.perform import StudyData, conclusion, perform
from mlpconv.studies.runner import Arm, StudyOptions

pytest.importorskip("torch")
SCHEMA = Path(__file__).parents[2] / "docs" / "json" / "study.schema.json"
LABELS = np.arange(48) % 2
IMAGES = np.random.default_rng(0).integers(0, 60, (48, 4, 4, 1), dtype=np.uint8)
IMAGES[LABELS == 1, :2] += 180
DATA = Splits(
    ImageDataset(IMAGES, LABELS, ("low", "high"), "halves/train"),
    ImageDataset(IMAGES[:20], LABELS[:20], ("low", "high"), "halves/test"),
)
BUDGET = Budget(seeds=2, images=24, test_images=10, epochs=3, image_size=4)


def narrow(num_classes=2, input_channels=1):
    return Network(
        Block(conv=Conv2d(num_classes, 2), relu=ReLU(), mlp1=Conv2d(num_classes, 1), relu1=ReLU()),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=4,
    )


def wide(num_classes=2, input_channels=1):
    return Network(
        Block(conv=Conv2d(12, 2), relu=ReLU(), mlp1=Conv2d(num_classes, 1), relu1=ReLU()),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=4,
    )


def flat(num_classes=2, input_channels=1):
    return Network(Flatten(), Linear(num_classes), input_channels=input_channels, input_size=4)


SETTINGS = {
    "batch_size": 6,
    "precision": "float32",
    "learning_rate": 0.01,
    "optimizer": "adam",
    "augmentation": {"flip": False},
}


def study(names=("narrow", "wide"), **more):
    arms = tuple(Arm(name, {"model": f"{__name__}:{name}"}, f"a {name} one") for name in names)
    pairs = tuple((name, names[0]) for name in names[1:])
    return Study("widths", "How wide?", arms, {"small": BUDGET}, pairs, base=SETTINGS, **more)


def checked(result):
    value = json.loads(json.dumps({**result, "command": "mlpconv study widths"}))
    jsonschema.validate(value, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    return value


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("widths")
    extra = {"extra": measures.last_block, "columns": {"rank_least": "least rank", "dead_last": "dead"}}
    return path, study(**extra), perform(study(**extra), BUDGET, path, DATA, StudyOptions(device="cpu"))


def test_the_result_has_what_every_study_has(whole):
    path, _, result = whole
    value = checked(result)
    assert value["complete"]
    for arm in value["arms"]:
        accuracies = [row["test_accuracy"] for row in arm["seeds"]]
        assert arm["mean"] == pytest.approx(np.mean(accuracies))
        assert arm["low"] <= arm["mean"] <= arm["high"]
        config = Run(path / arm["name"] / "seed-0").config
        assert (config.data.train, config.data.test) == (24, 10)
        assert arm["flops"] > arm["parameters"] > 0
    assert [each["arm"] for each in value["comparisons"]] == ["wide"]
    assert len(value["conclusion"]) >= 3


def test_finished_measurements_are_not_repeated(whole, monkeypatch):
    path, asked, result = whole

    def fail(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(PreparedJob, "make_model", fail)
    again = perform(asked._replace(extra=fail), BUDGET, path, DATA, StudyOptions(device="cpu"))
    assert again["arms"] == result["arms"]


def test_the_page_states_how_it_was_measured(whole):
    _, _, result = whole
    page = pages.markdown(result, "mlpconv study widths --budget small")
    assert page.startswith("# Widths\n\n*How wide?*\n")
    assert page.count("| narrow | a narrow one |") == 1
    for part in (
        "mlpconv study widths --budget small",
        "seeds: 0 to 1",
        "24 training images",
        "torch",
        "widths.png",
        "least rank",
    ):
        assert part in page
    for sentence in result["conclusion"]:
        assert f"- {sentence}" in page


@pytest.mark.parametrize("kind", ["bars", "curves"])
def test_the_pictures_of_a_study(whole, kind):
    figure = figures.figure({**whole[2], "kind": kind})
    assert len(figure.axes) == (3 if kind == "bars" else 2)
    assert [line.get_label() for line in figure.axes[-1].lines][::2] == ["narrow", "wide"]
    assert png(figure).startswith(b"\x89PNG")


def test_a_map_shows_the_result_of_each_seed(tmp_path):
    arms = tuple(
        Arm(f"{start}-{rate:g}", {"initializer": start, "learning_rate": rate, "model": f"{__name__}:narrow"})
        for start in ("he", "open")
        for rate in (1e30, 0.01)
    )
    asked = Study(
        "rates",
        "Which?",
        arms,
        {},
        (),
        base={**SETTINGS, "optimizer": "sgd"},
        kind="map",
        extra=measures.lost_classes,
        columns={"lost_classes": "lost"},
    )
    result = perform(asked, BUDGET, tmp_path, DATA, StudyOptions(device="cpu"))
    checked(result)
    ended = {arm["name"]: {row["outcome"] for row in arm["seeds"]} for arm in result["arms"]}
    assert ended["open-1e+30"] <= {"diverges", "stalls"}
    assert ended["open-0.01"] <= {"learns", "stalls", "loses classes"}
    assert any(sentence.startswith("The highest mean") for sentence in result["conclusion"]) or any(
        arm["mean"] is None for arm in result["arms"]
    )
    axes = figures.figure(result).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.01", "1e+30"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["he", "open"]
    assert len(axes.patches) == 8
    assert "how the seeds ended" in pages.markdown(result, "mlpconv study rates")


def test_overfitting_and_convergence(tmp_path):
    asked = study(("flat",), extra=measures.overfitting, columns={"gap": "above the test accuracy by"})
    row = perform(asked, BUDGET._replace(seeds=1), tmp_path / "a", DATA, StudyOptions(device="cpu"))["arms"][0][
        "seeds"
    ][0]
    assert row["gap"] == pytest.approx(row["accuracy_on_training_images"] - row["test_accuracy"])
    asked = study(("flat",), extra=measures.convergence)
    row = perform(asked, BUDGET._replace(seeds=1), tmp_path / "b", DATA, StudyOptions(device="cpu"))["arms"][0][
        "seeds"
    ][0]
    assert len(row["test_accuracies"]) == 3
    assert 1 <= row["epochs_to_within_0.01"] <= 3


def test_a_stopped_study_can_be_resumed(whole, tmp_path):
    steps = []
    asked = whole[1]
    first = perform(
        asked,
        BUDGET,
        tmp_path,
        DATA,
        StudyOptions(device="cpu", should_stop=lambda: len(steps) > 14 or steps.append(1)),
    )
    assert not first["complete"]
    assert "The study is not complete; run the same command to continue." in first["conclusion"]
    checked(first)
    second = perform(asked, BUDGET, tmp_path, DATA, StudyOptions(device="cpu"))
    for ours, theirs in zip(second["arms"], whole[2]["arms"], strict=True):
        assert ours["mean"] == theirs["mean"]


def test_an_arm_whose_last_map_is_too_small_is_refused(tmp_path):
    asked = study(("narrow",), least_map=4)
    with pytest.raises(MlpconvError) as caught:
        perform(asked, BUDGET, tmp_path, DATA, StudyOptions(device="cpu"))
    assert str(caught.value) == (
        "study widths: with images of 4×4, the last map of the arm narrow is 3×3, and on fewer than 4×4 positions the "
        "question has no meaning; --image-size 5 gives larger ones"
    )
    assert not list(tmp_path.iterdir())
    assert perform(study(("narrow",), least_map=3), BUDGET._replace(seeds=1), tmp_path, DATA)["complete"]


def test_a_conclusion_from_maps_of_one_position_says_so(whole):
    _, asked, result = whole
    compared = [answers.Comparison(**each) for each in result["comparisons"]]
    said = conclusion(result, asked, compared)
    assert not any("last map" in line for line in said)
    flat = {**result, "arms": [{**arm, "last_map": (1, 1)} for arm in result["arms"]]}
    assert conclusion(flat, asked, compared) == [line[:-1] + "; last map: 1×1." for line in said]
    flat["arms"][0] = result["arms"][0]
    assert all(line.endswith("; last map of wide: 1×1.") for line in conclusion(flat, asked, compared))


def test_the_page_states_the_last_map(whole):
    _, _, result = whole
    assert [arm["last_map"] for arm in result["arms"]] == [(3, 3), (3, 3)]
    assert "; images of 4×4, last map 3×3; " in pages.markdown(result, "mlpconv study widths")
    mixed = json.loads(json.dumps(result))
    mixed["arms"][1]["last_map"] = [2, 2]
    page = pages.markdown(mixed, "mlpconv study widths")
    assert "| images | last map |" in page
    assert "last map 3×3" not in page


def test_the_page_names_what_is_not_run_yet(whole):
    _, asked, result = whole
    part = json.loads(json.dumps({**result, "command": "mlpconv study widths --budget small"}))
    assert pages.not_run_yet(part, asked) == []
    del part["arms"][1]["seeds"][1]
    assert pages.not_run_yet(part, asked) == ["wide with seed 1"]
    part["arms"][1]["seeds"] = []
    assert pages.not_run_yet(part, asked) == ["wide"]
    narrow, wide = asked.arms
    assert pages.not_run_yet(part, asked._replace(arms=(narrow._replace(seed_factor=2), wide))) == [
        "narrow with seeds 2, 3",
        "wide",
    ]
    larger = asked._replace(budgets={"small": BUDGET._replace(image_size=5)})
    assert pages.not_run_yet(part, larger)[1] == (
        "all arms at the study's present size, 24 training images, 10 test images, 3 epochs, 5 pixels"
    )


def test_a_study_of_a_folder_names_it_without_its_path(tmp_path):
    pictures = tmp_path / "pictures"
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = pictures / ("train", "test")[index % 4 == 3] / ("low", "high")[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    budget = BUDGET._replace(seeds=1, epochs=1)
    first = perform(study(("narrow",)), budget, tmp_path / "runs", StudyData(str(pictures)), StudyOptions(device="cpu"))
    assert first["data"] == "pictures-24"
    assert str(tmp_path) not in json.dumps(first)
    # The same images elsewhere are the same study.
    moved = pictures.rename(tmp_path / "elsewhere")
    options = StudyOptions(device="cpu", previous=first)
    again = perform(study(("narrow",)), budget, tmp_path / "none", StudyData(str(moved)), options)
    assert again["arms"] == first["arms"]
    assert not (tmp_path / "none").exists()


def test_effective_rank():
    assert measures.effective_rank(np.eye(7)) == pytest.approx(7)
    assert measures.effective_rank(np.ones((5, 9))) == pytest.approx(1)
    assert measures.effective_rank(np.zeros((3, 4))) == 0
    assert 1 < measures.effective_rank(np.diag([9.0, 1.0])) < 2


def test_dead_units_are_counted(whole, tmp_path):
    path, _, _ = whole
    run = Run(path / "narrow" / "seed-0")
    weights = run.weights()
    weights["block1.conv.weight"][0] = 0
    weights["block1.conv.bias"][:] = (-1, 1)
    weights["block1.mlp1.weight"][:] = 0
    weights["block1.mlp1.bias"][:] = 1

    class Changed:
        config = run.config

        def weights(self):
            return weights

    found = measures.last_block(Changed(), DATA)
    assert found["dead"] == {"block1.relu": 0.5, "block1.relu1": 0}
    assert found["dead_most"] == 0.5
    assert found["rank_last"] == pytest.approx(1)


def test_resources_are_measured_in_a_separate_process(tmp_path):
    asked = STUDIES["resources"]
    asked = asked._replace(arms=asked.arms[-1:], base={"batch_size": 4})
    lines = []
    result = perform(
        asked,
        asked.budgets["small"]._replace(seeds=1),
        tmp_path,
        options=StudyOptions(device="cpu", progress=lines.append),
    )
    (arm,) = checked(result)["arms"]
    (row,) = arm["seeds"]
    assert row["parameters"] == arm["predicted"]["parameters"] == arm["parameters"] == 418_346
    assert row["flops"] == arm["predicted"]["flops"] == arm["flops"]
    assert row["training_bytes"] > row["prediction_bytes"] > 418_346 * 4
    assert any("parameters and FLOPs are as predicted" in sentence for sentence in result["conclusion"])
    assert "nin_28" in pages.markdown(result, "mlpconv study resources")
    png(figures.figure(result))
    kept = (tmp_path / "nin_28" / "seed-0" / "resources.json").stat().st_mtime_ns
    perform(asked, asked.budgets["small"]._replace(seeds=1), tmp_path, options=StudyOptions(device="cpu"))
    assert (tmp_path / "nin_28" / "seed-0" / "resources.json").stat().st_mtime_ns == kept
