"""Runs compared: differences found, results in order, pictures written."""

import io

import pytest
from PIL import Image

from mlpconv.errors import RunError
from mlpconv.optimizers import Optimizer
from mlpconv.reports.compare import chance_margin, compare, comparison_file, comparison_html
from mlpconv.training.recipe import Recipe
from support.html_page import Page
from support.run_directories import CLASS_NAMES, change_environment, make_run


@pytest.fixture
def two(tmp_path):
    changed = Recipe(model="nin_28", data="noise", epochs=3, learning_rate=0.02, optimizer=Optimizer(momentum=0.9))
    first, second = make_run(tmp_path / "first"), make_run(tmp_path / "second", recipe=changed, seed=1, right=0.5)
    change_environment(second, versions={"mlpconv": "9.9", "torch": "3.0"})
    return first, second


def values(rows, name):
    return next(row.values for row in rows if row.name == name)


def test_only_the_differences_are_found(two):
    found = compare(two)
    names = {row.name for row in found.differences}
    settings = {name for name in names if not name.startswith("version of")}
    assert settings == {"learning_rate", "optimizer.momentum"}
    assert values(found.differences, "learning_rate") == ["0.1", "0.02"]
    assert values(found.differences, "version of torch")[1] == "3.0"
    assert values(found.differences, "version of numpy")[1] is None


def test_results_are_in_the_order_of_the_runs(two):
    found = compare(two[::-1])
    accuracies = [run.result.test_accuracy for run in two[::-1]]
    assert values(found.results, "test_accuracy") == accuracies
    assert accuracies[0] < accuracies[1]
    assert [row.name for row in found.classes] == list(CLASS_NAMES)
    assert found.names == ["second", "first"]


def test_an_unfinished_run_has_no_time(tmp_path, two):
    found = compare([two[0], make_run(tmp_path / "third", done=0, finished=False)])
    assert values(found.results, "finished") == [True, False]
    assert values(found.results, "seconds") == [33.0, None]
    assert values(found.results, "test_accuracy")[1] is None
    assert chance_margin(found) is None
    assert "first" in Page(comparison_html(found)).text


def test_the_chance_margin_is_that_of_the_two_best(tmp_path, two):
    third = make_run(tmp_path / "third", right=0.1, images=20)
    assert chance_margin(compare([*two, third])) == pytest.approx(chance_margin(compare(two)))
    p, q = (run.result.test_accuracy for run in two)
    assert chance_margin(compare(two)) == pytest.approx(2 * ((p * (1 - p) + q * (1 - q)) / 200) ** 0.5)


def test_runs_with_different_classes_have_no_class_rows(tmp_path, two):
    found = compare([two[0], make_run(tmp_path / "third", ["a", "b"])])
    assert found.classes == []
    assert values(found.differences, "classes") == ["10", "2"]


def test_runs_of_the_same_name_are_shown_with_their_paths(tmp_path):
    runs = [make_run(tmp_path / place / "run") for place in ("a", "b")]
    assert compare(runs).names == [str(run.path) for run in runs]


def test_the_test_accuracy_has_its_interval_and_is_that_of_the_weights(tmp_path, two):
    validated = make_run(tmp_path / "third", validation=(0.5, 0.9, 0.8), images=59)
    found = compare([two[0], validated])
    assert values(found.results, "test_images") == [200, 59]
    assert values(found.results, "test_accuracy")[1] == validated.history[1]["test_accuracy"]
    low, high = values(found.results, "test_accuracy_interval")[1]
    assert low < validated.result.test_accuracy < high
    assert f"{low:.3f} to {high:.3f}" in Page(comparison_html(found)).text
    lines = validated.history
    lines[1]["class_accuracy"] = dict.fromkeys(CLASS_NAMES, 0.125)
    validated.write_history(lines)
    assert {row.values[1] for row in compare([two[0], validated]).classes} == {0.125}


def test_the_page_has_curves_and_tables(two):
    page = Page(comparison_html(compare(two)))
    # Three panels for two widths of page, with one line for each run.
    assert len(page.all("polyline")) == 12
    assert "optimizer.momentum" in page.text
    assert not page.all("script")


def test_the_picture_is_a_png(two, tmp_path):
    content = comparison_file(compare(two), tmp_path / "c.PNG")
    assert Image.open(io.BytesIO(content)).format == "PNG"


def test_invalid_comparisons_are_refused(two, tmp_path):
    with pytest.raises(RunError, match="expected 2 to 10 runs, received 1"):
        compare(two[:1])
    with pytest.raises(RunError, match="first: this run was given twice"):
        compare([two[0], two[0]])
    with pytest.raises(RunError, match=r"c\.pdf: expected a name that ends in \.html or \.png"):
        comparison_file(compare(two), tmp_path / "c.pdf")
