"""`mlpconv evaluate` for a run on a folder: the files of its mistakes, and labels that are likely wrong."""

from pathlib import Path

import pytest
from test_json import check

import mlpconv
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from support.image_folders import lines_of, stripes


@pytest.fixture(scope="module")
def mislabeled(tmp_path_factory):
    """A folder whose test images have two labels too many that are wrong, and a run that was trained on it."""
    place = tmp_path_factory.mktemp("mislabeled")
    root = stripes(place / "photos" / "train", {"across": 40, "down": 40})
    test = stripes(place / "photos" / "test", {"across": 12, "down": 12}, seed=1)
    for index in (3, 7):
        (test / "across" / f"{index}.png").rename(test / "down" / f"wrong {index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPCONV_CACHE", str(place / "cache"))
        changes = {"data": str(root.parent), "epochs": 12, "batch_size": 8, "precision": "float32"}
        mlpconv.train(change(get_recipe("folder"), changes), out=place / "run")
    return place / "run"


def test_evaluate_names_the_files_of_mistakes(cli, mislabeled, tmp_path):
    value = check("evaluate", cli("evaluate", mislabeled, "--out", "mistakes.csv", "--json").json())
    assert value["out"] == "mistakes.csv"
    assert {each["file"] for each in value["mistakes"]} >= {"test/down/wrong 3.png", "test/down/wrong 7.png"}
    assert value["accuracy"] == pytest.approx(1 - len(value["mistakes"]) / 24)
    rows = lines_of(tmp_path / "mistakes.csv")
    assert [Path(row["file"]).relative_to(mislabeled.parent / "photos") for row in rows] == [
        Path(each["file"]) for each in value["mistakes"]
    ]
    assert all(Path(row["file"]).is_file() for row in rows)
    said = cli("evaluate", mislabeled)
    assert "test/down/wrong 3.png: down classified as across, probability" in said.out
    page = (mislabeled / "report.html").read_text()
    assert "test/down/wrong 3.png: down, classified as across" in page
    assert "Evidence for and against across in test/down/wrong 3.png" in page
    said = cli("evaluate", mislabeled, "--out", "mistakes.txt")
    assert (said.code, said.err) == (2, "error: --out mistakes.txt: expected a name that ends in .csv\n")


def test_evaluate_lists_likely_label_errors(cli, mislabeled):
    value = check("evaluate", cli("evaluate", mislabeled, "--json").json())
    assert {each["file"] for each in value["label_errors"][:2]} == {"test/down/wrong 3.png", "test/down/wrong 7.png"}
    for each in value["label_errors"][:2]:
        assert (each["label"], each["suggested"]) == ("down", "across")
        assert each["label_probability"] < 0.1 < 0.9 < each["probability"]
    assert len(value["label_errors"]) <= 4
    assert value["conflicts"] == []
    said = cli("evaluate", mislabeled)
    assert "likely label errors:\n" in said.out
    assert "test/down/wrong 3.png: labeled down (0.0" in said.out
    assert "which was not trained on these images" in said.out
    page = (mislabeled / "report.html").read_text()
    assert "test/down/wrong 3.png: down, seems to be across" in page
    # On its training images, the network repeats the labels that it learned.
    said = cli("evaluate", mislabeled, "--split", "train")
    assert "label errors" not in said.out
    assert cli("evaluate", mislabeled, "--split", "train", "--json").json()["label_errors"] is None
    # Of another folder it knows no copies.
    value = cli("evaluate", mislabeled, "--data", mislabeled.parent / "photos" / "test", "--json").json()
    assert {each["file"] for each in value["label_errors"][:2]} == {"down/wrong 3.png", "down/wrong 7.png"}
    assert value["conflicts"] is None
