"""The report as text: complete, self-contained, with hostile names escaped, small, and clear about what is missing."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from jinja2 import meta
from PIL import Image

from mlpconv.reports import page
from mlpconv.reports.compare import compare, comparison_html
from mlpconv.reports.page import environment
from mlpconv.reports.report import report_html, write_report
from mlpconv.runs import evaluation as mistakes
from mlpconv.runs.run import Run
from mlpconv.training.forecast import Forecast
from mlpconv.training.metrics import accuracy_interval
from mlpconv.training.recipe import Recipe
from support.html_page import Page, check_alone
from support.run_directories import CLASS_NAMES, change_environment, make_run, random_evaluation

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</title></style><b>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "a\x00b\x1b[31m",
    "‮right to left",
    "&lt;&amp;",
    "x" * 300,
    "' onmouseover='alert(3)",
    "$\\frac{1}{2}$",
)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "clothes")


def test_the_results_are_shown(clothes):
    page = check_alone(report_html(clothes))
    result = clothes.result
    for text in (
        f"loss 0.500, train acc 0.833, test acc {result.test_accuracy:.3f}",
        "1234.5 examples/sec on cpu (a processor",
        "33 s",
        "noise: 1,000 training and 200 test images of 1×28×28, 10 classes",
        "SGD 0.1 constant",
        "500.0 MiB",
        "30 s",
        "1,300.0",
    ):
        assert text in page.text
    assert "Warnings" not in [each.get("aria-label") for each in page.all("ul")]


def test_a_report_has_one_test_accuracy_with_its_interval(tmp_path):
    run = make_run(tmp_path / "run", validation=(0.5, 0.9, 0.8), images=59)
    kept, newest = (run.history[k]["test_accuracy"] for k in (1, 2))
    content = report_html(run)
    page = check_alone(content)
    low, high = accuracy_interval(kept, 59)
    assert f"{kept:.3f} 59 images, 95 % interval {low:.3f} to {high:.3f}" in page.text
    assert "validation accuracy 0.900 (40 images, 95 % interval 0.769 to 0.960)" in page.text
    # The curves and the table of the epochs show every epoch; everything else shows the epoch of the weights.
    prose = re.sub(r"<(details|figure).*?</\1>", "", content, flags=re.DOTALL)
    assert f"{newest:.3f}" not in Page(prose).text
    assert Page(prose).text.count(f"{kept:.3f}") == 3
    assert "2 (kept)" in page.text
    assert "validation acc 0.900" in page.text


def test_the_interval_of_each_class_is_shown_where_it_has_few_images(tmp_path):
    few = Page(report_html(make_run(tmp_path / "few", images=50, right=2.0))).text
    assert "1.000 5 of 5 images, 0.566 to 1.000" in few
    many = Page(report_html(make_run(tmp_path / "many", ["a", "b"], images=2000))).text
    assert "% interval" not in " ".join(many.split())


def test_every_line_has_a_color(clothes, tmp_path):
    other = make_run(tmp_path / "other", seed=1)
    for content in (report_html(clothes), comparison_html(compare([clothes, other]))):
        styles = {
            name
            for tag in ("polyline", "path", "circle")
            for each in Page(content).all(tag)
            for name in each.get("class", "").split()
            if each["class"].startswith(("line ", "dot "))
        } - {"line", "dot"}
        assert styles
        style_sheet = content.partition("<style>")[2].partition("</style>")[0]
        assert [name for name in styles if not re.search(rf"\.{name}\{{color:#", style_sheet)] == []


def test_the_page_uses_every_value_that_it_gets(clothes, monkeypatch):
    passed = {}
    monkeypatch.setattr("mlpconv.reports.report.render", lambda template, **values: passed.update(values))
    report_html(clothes)
    templates = environment(Path(page.__file__).parent)
    used = set()
    for name in ("report.html.j2", "page.html.j2"):
        source, *_ = templates.loader.get_source(templates, name)
        used |= meta.find_undeclared_variables(templates.parse(source))
    assert set(passed) - used == set()


def test_the_confusion_matrix_shows_every_count(clothes):
    content = report_html(clothes)
    table = content[content.index('class="sticky confusion') :]
    table = table[: table.index("</table>")]
    rows = [
        [int(cell) for cell in re.findall(r"<td class=\"[d ]*s\d\">(\d+)</td>", row)] for row in table.split("<tr>")[2:]
    ]
    assert rows == clothes.result.confusion
    diagonal = [int(cell) for cell in re.findall(r"<td class=\"d s\d\">(\d+)</td>", table)]
    assert diagonal == [row[k] for k, row in enumerate(clothes.result.confusion)]


def test_the_most_confident_mistakes_are_stored():
    dataset, evaluation = random_evaluation(images=400)
    found = mistakes.confident_mistakes(evaluation, dataset)
    wrong = evaluation.predicted != dataset.labels
    assert len(found.indices) == 24
    assert (found.labels != found.predicted).all()
    assert (np.diff(found.confidence) <= 0).all()
    assert found.confidence[-1] >= np.sort(evaluation.confidence[wrong])[::-1][23]
    assert (found.images == dataset.images[found.indices]).all()


def test_the_mistakes_are_shown_with_their_images(clothes):
    page = Page(report_html(clothes))
    dataset, evaluation = random_evaluation()
    found = mistakes.confident_mistakes(evaluation, dataset)
    pictures = [each for each in page.all("img") if "classified as" in each["alt"]]
    assert len(pictures) == len(found.indices) == 24
    for shown, index, label, predicted in zip(pictures, found.indices, found.labels, found.predicted, strict=True):
        assert shown["alt"] == f"Test image {index}: {CLASS_NAMES[label]}, classified as {CLASS_NAMES[predicted]}"
        data = base64.b64decode(shown["src"].removeprefix("data:image/png;base64,"))
        assert (np.asarray(Image.open(io.BytesIO(data))) == dataset.images[index, :, :, 0]).all()


@pytest.mark.parametrize("side", [97, 300])
def test_large_images_are_stored_small(tmp_path, side):
    dataset, evaluation = random_evaluation(channels=3, side=side, images=100, right=0.2)
    dataset.images[:] = 200
    mistakes.save(tmp_path, mistakes.to_store(1, evaluation, dataset))
    images = mistakes.load(tmp_path, 10).mistakes.images
    assert max(images.shape[1:3]) <= mistakes.MAX_IMAGE_SIDE
    assert images.shape[3] == 3
    assert (images == 200).all()


@pytest.mark.parametrize("side", [97, 300])
def test_large_images_without_a_mistake_are_stored(tmp_path, side):
    dataset, evaluation = random_evaluation(channels=3, side=side, images=30, right=1.0)
    mistakes.save(tmp_path, mistakes.to_store(1, evaluation, dataset))
    stored = mistakes.load(tmp_path, 10)
    assert len(stored.mistakes.images) == len(stored.label_errors.images) == 0


def test_hostile_names_stay_text(tmp_path):
    # The name of a directory may contain bytes that are not text.
    run = make_run(
        tmp_path / "<i>run & 'more' \udcff", HOSTILE, recipe=Recipe(model="nin_28", data="<u>", epochs=3), never=[0]
    )
    change_environment(run, device="<script>", command=["/x/mlpconv", "train", "--out", "<b>; rm"], platform="</dl>")
    content = report_html(Run(run.path))
    page = check_alone(content)
    assert not {"script", "u"} & {tag for tag, _ in page.tags}
    for name in HOSTILE:
        visible = re.sub("[\x00\x1b]", "\ufffd", name)
        assert " ".join(visible.split()) in page.text
    assert "<i>run & 'more' \ufffd" in page.text
    assert "mlpconv train --out '<b>; rm'" in page.text
    content.encode()
    check_alone(comparison_html(compare([run, make_run(tmp_path / "other", HOSTILE, seed=1)])))


def test_a_run_of_one_epoch(tmp_path):
    page = check_alone(report_html(make_run(tmp_path / "run", epochs=1)))
    assert "1 epoch, including evaluation" in page.text
    assert (
        len(page.all("polyline")) == 4
    )  # train loss and accuracy, for wide and narrow pages; one test point is no line


def test_missing_images_are_reported(tmp_path):
    run = make_run(tmp_path / "run", pictures=False)
    page = check_alone(report_html(run))
    assert not page.all("img")
    assert "The images are missing: this run directory has no evaluation.safetensors" in page.text
    assert "Confusion between classes" in page.text


def test_images_of_an_earlier_epoch_are_not_shown(tmp_path):
    run = make_run(tmp_path / "run")
    dataset, evaluation = random_evaluation()
    mistakes.save(run.path, mistakes.to_store(2, evaluation, dataset))
    assert "The images are missing" in Page(report_html(run)).text


def test_color_images(tmp_path):
    run = make_run(tmp_path / "run", channels=3)
    page = check_alone(report_html(run))
    picture = page.all("img")[0]["src"].removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(picture))).mode == "RGB"
    assert "3×28×28" in page.text


def test_a_hundred_classes_have_a_small_matrix_and_more_have_none(tmp_path):
    hundred = [f"class {k}" for k in range(100)]
    content = report_html(make_run(tmp_path / "a", hundred, images=1000))
    assert "Confusion matrix" in content
    assert len(content) < 1.5e6
    page = check_alone(report_html(make_run(tmp_path / "b", [*hundred, "more"], images=1000)))
    assert "A matrix of 101 classes is too large to show here; it is in result.json in the run directory." in page.text
    assert "Most often confused" in page.text


def test_a_perfect_run(tmp_path):
    page = check_alone(report_html(make_run(tmp_path / "run", right=2.0)))
    assert "All test images were classified correctly." in page.text
    assert "None: all test images were classified correctly." in page.text


@pytest.mark.parametrize("done", [0, 2])
def test_an_unfinished_run_is_reported_as_unfinished(tmp_path, done):
    page = check_alone(report_html(make_run(tmp_path / "a run", done=done, finished=False)))
    assert f"This run is not finished: {done} of 3 epochs are done" in page.text
    assert "--resume" in page.text
    assert "not finished" in page.text
    assert bool(page.all("img")) == bool(done)
    assert ("Loss and accuracy" in page.text) == bool(done)


def test_skipped_updates_and_dead_classes_are_reported(tmp_path):
    page = check_alone(report_html(make_run(tmp_path / "run", skipped=3, never=[2, 8])))
    assert "3 updates were skipped" in page.text
    assert "Never predicted, although the test set has images of them: pullover, bag." in page.text


def test_the_advice_fits_the_network(tmp_path):
    def advice(name, **changes):
        run = make_run(tmp_path / name, never=[2], right=0.9, recipe=changes.pop("recipe", None))
        run.write_history([line | changes for line in run.history])
        return Page(report_html(run)).text

    # No ReLU follows the class maps: no class can die, and the advice says nothing of it.
    alive = advice("alive", dead_classes=None)
    assert "Never predicted, although the test set has images of it: pullover. Its images are most often" in alive
    assert "show all classes equally often (--set balance=1)" in alive
    assert "ReLU" not in alive.partition("Setup")[0]
    assert "Dead classes" not in alive
    assert "initializer=open" not in alive
    dead = advice("dead", dead_classes=["pullover"])
    assert "Dead classes: pullover. The map of this class is zero at every position" in dead
    assert "start with weights that keep every class alive (--set initializer=open)" in dead
    assert "Add training images" not in dead
    balanced = Recipe(model="nin_28", data="noise", epochs=3, balance=1.0)
    assert "balance=1)" not in advice("balanced", dead_classes=None, recipe=balanced)


def test_classes_without_images(tmp_path):
    names = [f"class {k}" for k in range(12)]
    page = check_alone(report_html(make_run(tmp_path / "run", names, images=10)))
    assert "The test set has no images of: class 10, class 11." in page.text
    assert page.text.count("no test images") == 2


@pytest.mark.parametrize(
    ("names", "language"),
    [(("靴", "上着"), "zh"), (("くつ", "上着"), "ja"), (("신발", "코트"), "ko"), (("shoe", "coat"), None)],
)
def test_names_carry_their_language(tmp_path, names, language):
    page = check_alone(report_html(make_run(tmp_path / "run", names)))
    assert names[0] in page.text
    languages = {attributes.get("lang") for tag, attributes in page.tags if attributes.get("class") == "name"}
    assert language in languages
    assert not {"zh", "ja", "ko"} - {language} & languages


def test_the_command_that_repeats_the_run(tmp_path):
    run = make_run(tmp_path / "a run", recipe=Recipe(model="nin_28", data="noise", epochs=3, seed=5))
    text = Page(report_html(run)).text
    assert f"mlpconv train --from '{run.path}' --backend torch --device cpu --precision float32" in text
    assert "seed = 5" in text


def test_images_of_a_python_program_have_no_command(tmp_path):
    text = Page(report_html(make_run(tmp_path / "run", recipe=Recipe(model="nin_28", data="other", epochs=3)))).text
    assert "passed by a Python program" in text
    assert "mlpconv train --from" not in text


def test_without_forecast_and_environment(tmp_path):
    run = make_run(tmp_path / "run", forecast=False)
    (run.path / "environment.json").unlink()
    text = check_alone(report_html(run)).text
    assert "no forecast" in text


def test_a_forecast_without_its_largest_batch(tmp_path):
    run = make_run(tmp_path / "run")
    run.write_forecast(Forecast(30.0, 1300.0, tensor_bytes=1 << 20, available_bytes=1 << 30, largest_batch=None))
    assert "Largest batch that fits in it not known" in " ".join(check_alone(report_html(run)).text.split())


def test_the_report_is_written_into_the_run(clothes, tmp_path):
    assert write_report(clothes) == clothes.path / "report.html"
    other = write_report(clothes, tmp_path / "r.html")
    assert other.read_text() == (clothes.path / "report.html").read_text() == report_html(clothes)
    assert other.stat().st_size < 300_000
