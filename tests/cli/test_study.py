"""`mlpconv study`: the list, a small study from end to end, and what it refuses."""

import json
from pathlib import Path

import jsonschema
import pytest

from mlpconv.studies.answers import outcomes

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"
FAMILY = (
    "study",
    "family",
    "--budget",
    "small",
    "--data",
    "digits",
    "--images",
    "128",
    "--seeds",
    "1",
    "--image-size",
    "32",
    "--out",
    "pages",
)


def check(name, value):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    return value


def test_the_studies_are_listed(cli):
    rows = check("study-list", cli("study", "--json").json())
    assert {"one-by-one", "classics", "resources"} <= {row["name"] for row in rows}
    said = cli("study")
    assert said.code == 0
    assert "one-by-one" in said.out


def test_a_study_writes_its_page_and_its_runs(cli):
    value = check("study", cli(*FAMILY, "--json").json())
    assert value["complete"]
    assert [arm["name"] for arm in value["arms"]] == ["nin11", "nin16", "nin19"]
    assert [len(arm["seeds"]) for arm in value["arms"]] == [1, 1, 1]
    few = "With fewer than two seeds an arm, nothing can be said about differences."
    # At 32 pixels, the last maps of these networks have one position.
    assert value["conclusion"] == [line.removesuffix(".") + "; last map: 1×1." for line in (*outcomes(value), few)]
    assert value["command"].endswith("--seeds 1 --images 128 --image-size 32 --data digits")
    for arm in value["arms"]:
        assert (Path("runs/study-family-small") / arm["name"] / "seed-0" / "result.json").exists()
    page = Path("pages/family.md").read_text()
    assert "![test accuracy and costs](family.png)" in page
    assert "digits-128" in page
    assert Path("pages/family.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("pages/family.json").read_text()) == value
    # Once more, from what is there.
    said = cli(*FAMILY)
    assert said.code == 0
    assert "nothing can be said about differences" in said.out
    assert "written: pages/family.json, pages/family.md, pages/family.png" in said.out


def test_a_written_result_is_continued_without_its_runs(cli):
    cli(*FAMILY, "--json").json()
    Path("runs").rename("elsewhere")
    more = [argument if argument != "1" else "2" for argument in FAMILY]
    said = cli(*more)
    assert said.code == 0
    assert "3 runs to train: about" in said.err + said.out
    value = json.loads(Path("pages/family.json").read_text())
    assert [[row["seed"] for row in arm["seeds"]] for arm in value["arms"]] == [[0, 1]] * 3
    assert [path.name for path in Path("runs/study-family-small/nin11").iterdir()] == ["seed-1"]
    # Fewer seeds than the file has: it stays.
    said = cli(*FAMILY)
    assert "has runs that this result lacks" in said.err
    assert json.loads(Path("pages/family.json").read_text()) == value


def test_a_size_at_which_the_question_has_no_meaning_is_refused(cli):
    said = cli("study", "head", "--budget", "small", "--image-size", "80", "--images", "64")
    assert said.code == 2
    assert "with images of 80×80, the last map of the arm average-pooling is 1×1" in said.err
    assert "--image-size 99 gives larger ones" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("heads",), "unknown study 'heads'; did you mean 'head'?"),
        (("head", "--budget", "big"), "unknown budget 'big'; known: small, laptop, gpu"),
        (("head", "--data", "nothing"), "nothing"),
    ],
)
def test_unknown_studies_and_arms_are_refused(cli, arguments, message):
    said = cli("study", *arguments)
    assert said.code == 2
    assert message in said.err
