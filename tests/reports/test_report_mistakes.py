"""The stored evaluation of a run in its report: mistakes with their maps, likely label errors, and damage."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from mlpconv.errors import RunError
from mlpconv.reports.report import report_html
from mlpconv.runs import evaluation as mistakes
from support.html_page import Page, check_alone
from support.run_directories import CLASS_NAMES, make_run, random_evaluation


@pytest.mark.parametrize(
    "damage",
    [
        {"labels": np.full(24, 10)},
        {"labels": np.zeros(3, np.int64)},
        {"more": np.zeros(3)},
        {"given": np.full(24, np.nan, np.float32)},
        {"maps": np.zeros((24, 2, 3, 3), np.float32)},
        {"maps": np.zeros((24, 2, 3, 3), np.float32), "rows": np.zeros(3), "columns": np.zeros(4)},
        {"maps": np.zeros((24, 2, 49, 1), np.float32), "rows": np.zeros(49), "columns": np.zeros(1)},
    ],
)
def test_a_damaged_evaluation_is_refused(tmp_path, damage):
    from mlpconv.runs.files import read_tensors, write_tensors

    run = make_run(tmp_path / "run")
    path = run.path / mistakes.EVALUATION
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors | damage, texts)
    with pytest.raises(RunError, match=r"evaluation\.safetensors: .*remove it for a report without mistakes"):
        report_html(run)


def test_an_evaluation_of_another_format_is_refused(tmp_path):
    from mlpconv.runs.files import read_tensors, write_tensors

    run = make_run(tmp_path / "run")
    path = run.path / mistakes.EVALUATION
    write_tensors(path, read_tensors(path)[0], {"mlpconv.evaluation": json.dumps({"format": 3, "epoch": 3})})
    with pytest.raises(RunError, match="format 3"):
        report_html(run)


def test_an_evaluation_of_the_first_format_is_read(tmp_path):
    from mlpconv.runs.files import read_tensors, write_tensors

    run = make_run(tmp_path / "run")
    path = run.path / mistakes.EVALUATION
    tensors, now = read_tensors(path)[0], mistakes.load(run.path, 10)
    del tensors["given"]
    write_tensors(path, tensors, {"mlpconv.evaluation": json.dumps({"format": 1, "epoch": 3})})
    before = mistakes.load(run.path, 10)
    assert (before.mistakes.given == -1).all()
    assert (before.mistakes.confidence == now.mistakes.confidence).all()
    assert before.mistakes.maps is None
    page = check_alone(report_html(run))
    assert "-1.000" not in page.text
    assert len([each for each in page.all("img") if "classified as" in each["alt"]]) == 24


def test_mistakes_have_their_maps_and_files(tmp_path):
    run = make_run(tmp_path / "run", images=50, right=0.5)
    stored = mistakes.load(run.path, 10)
    count = len(stored.mistakes.indices)
    maps = np.zeros((count, 2, 2, 2), np.float32)
    maps[:, 0, 0, 0], maps[:, 1, 1, 1] = 1, 1
    places = np.array([7.0, 21.0])
    drawn = stored.mistakes._replace(maps=mistakes.PictureMaps(maps, places, places))
    mistakes.save(run.path, stored._replace(mistakes=drawn))
    files = [f"{CLASS_NAMES[k % 10]}/<{k}>.png" for k in range(50)]
    rows = [f"/photos/{file},{CLASS_NAMES[k % 10]},test,{'00' * 32}" for k, file in enumerate(files)]
    (run.path / "split.csv").write_text("\n".join(["path,label,split,sha256", *rows]) + "\n")
    page = check_alone(report_html(run))
    pictures = [each for each in page.all("img") if "seems to be" not in each["alt"]]
    assert len(pictures) == 3 * count
    for (picture, predicted, true), at in zip(zip(*[iter(pictures)] * 3, strict=True), range(count), strict=True):
        file = f"/photos/{files[drawn.indices[at]]}"
        names = [CLASS_NAMES[each[at]] for each in (drawn.labels, drawn.predicted)]
        assert picture["alt"] == f"{file}: {names[0]}, classified as {names[1]}"
        assert predicted["alt"] == f"Evidence for and against {names[1]} in {file}"
        assert true["alt"] == f"Evidence for and against {names[0]} in {file}"
        assert file in page.text
        # The map of the true class is red at the top left, that of the predicted class at the bottom right.
        for shown, corner in ((true, 0), (predicted, -1)):
            data = base64.b64decode(shown["src"].partition("base64,")[2])
            red, _, blue = np.asarray(Image.open(io.BytesIO(data)), int)[corner, corner]
            opposite = np.asarray(Image.open(io.BytesIO(data)), int)[-1 - corner, -1 - corner]
            assert red > 150 > blue
            assert np.ptp(opposite) < 25


def test_likely_label_errors_and_copies_in_different_classes_are_listed(tmp_path):
    run = make_run(tmp_path / "run", right=0.9)
    dataset, evaluation = random_evaluation(right=0.9)
    doubted = np.flatnonzero(evaluation.suggested >= 0)
    assert len(doubted) > 3
    assert mistakes.load(run.path, 10).label_error_count == len(doubted)
    (run.path / "conflicts.csv").write_text("path,label,copy,copy_label,kind\na/<1>.png,bag,b/2.png,coat,near\n")
    page = check_alone(report_html(run))
    section = page.text.partition("Test images whose label may be wrong")[2].partition("Network")[0]
    for index in mistakes.label_errors(evaluation)[:16]:
        given = f"{CLASS_NAMES[dataset.labels[index]]} {evaluation.given[index]:.3f}"
        suggested = f"{CLASS_NAMES[evaluation.suggested[index]]} {evaluation.suggested_confidence[index]:.3f}"
        assert f"{given} → {suggested} Test image {index}" in " ".join(section.split())
    assert "1 picture is in more than one class of the folder; see Likely label errors." in page.text
    assert "a/<1>.png bag b/2.png coat near" in " ".join(section.split())
    assert "None were found among the test images." in Page(report_html(make_run(tmp_path / "right", right=2.0))).text
