"""The pages of docs/exercises/ agree with the numbers stored next to them, and the index names them all."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import study_pages
from languages import LANGUAGES, original, path

from mlpconv.arch.cost import count, prediction_memory, training_memory
from mlpconv.formatting import format_bytes
from mlpconv.models import create_model
from mlpconv.studies import answers, pages, perform
from mlpconv.studies.catalogue import STUDIES, Budget
from mlpconv.studies.runner import Arm

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs" / "exercises"
SCHEMA = json.loads((ROOT / "docs" / "json" / "study.schema.json").read_text())
DONE = sorted(each.stem for each in PLACE.glob("*.json"))
INDICES = tuple(path("index.md", language) for language in LANGUAGES)
in_every_language = pytest.mark.parametrize("index", INDICES)


def read(index):
    return (PLACE / index).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DONE)
def test_a_page_agrees_with_its_numbers(name):
    text = (PLACE / f"{name}.json").read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/\w+/", text)  # where the runs were is nobody's concern
    result = json.loads(text)
    jsonschema.validate(result, SCHEMA)
    study = perform.find(name)
    assert result["study"] == name
    planned = pages.not_run_yet(result, study)
    assert result["complete"] or planned
    assert {arm["name"] for arm in result["arms"]} | set(planned) >= {arm.name for arm in study.arms}
    compared = answers.compare(result, study.pairs, perform.HEADLINE)
    assert result["conclusion"] == perform.conclusion(result, study, compared)
    # A new arm need not be run at once, but the page must state it: python tools/study_pages.py.
    page = read(f"{name}.md")
    assert ("not run yet: " + "; ".join(planned) in page) if planned else ("not run yet" not in page)
    for language in LANGUAGES:
        assert read(path(f"{name}.md", language)) == study_pages.page(result, language)
    assert (PLACE / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_names_the_arms_that_are_not_run_yet():
    result = json.loads((PLACE / "epochs.json").read_text(encoding="utf-8"))
    study = perform.find("epochs")
    study = study._replace(budgets={"laptop": Budget(**result["budget"])})
    arms = (*study.arms, Arm("epochs-16", {"epochs": 16}, "sixteen times through the images"))
    longer = study._replace(arms=arms, pairs=(*study.pairs, ("epochs-16", "epochs-8")))
    assert pages.not_run_yet(result, study) == []
    planned = pages.not_run_yet(result, longer)
    assert planned == ["epochs-16"]
    compared = answers.compare(result, longer.pairs, perform.HEADLINE)
    assert perform.conclusion(result, longer, compared) == result["conclusion"]
    page = pages.markdown(result, result["command"], planned)
    before = pages.markdown(result, result["command"])
    assert page.replace("- not run yet: epochs-16\n", "") == before != page


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
def test_the_index_names_every_study_and_links_those_that_are_done(language):
    index = read(path("index.md", language))
    for name in STUDIES:
        assert (f"[`{name}`]({path(f'{name}.md', language)})" if name in DONE else f"`{name}`") in index


def test_every_page_is_an_index_or_a_study_that_is_done():
    pages = {path(f"{name}.md", language) for name in DONE for language in LANGUAGES}
    assert {page.name for page in PLACE.glob("*.md")} == {*INDICES, "method.md", *pages}


def measured(value):
    """All numbers in the result of a study, at three decimals."""
    if isinstance(value, dict):
        return {number for each in value.values() for number in measured(each)}
    if isinstance(value, list):
        return {number for each in value for number in measured(each)}
    if isinstance(value, float):
        return {f"{abs(value):.3f}"}
    return set()


def test_the_accuracies_in_the_index_are_those_of_the_studies():
    """Rounded once, from what was measured."""
    answers = re.findall(r"^\*\*.+?(?=^\*\*|\Z)", read(INDICES[0]).partition("\n## Answers")[2], re.M | re.S)
    checked = 0
    for answer in answers:
        studies = {name for name in re.findall(r"\]\(([a-z-]+)\.md\)", answer) if name in DONE}
        known = {number for name in studies for number in measured(json.loads(read(f"{name}.json")))}
        accuracies = re.findall(r"(?<![\d.,])0\.\d{3}(?!\d)", answer)
        if studies:
            assert [number for number in accuracies if number not in known] == []
            checked += len(accuracies)
    assert checked > 20


def test_the_dead_classes_in_the_index_are_those_of_the_study():
    arms = {arm["name"]: arm for arm in json.loads(read("collapse.json"))["arms"]}
    counts = [
        sum(row["dead_classes"] > 0 for row in arms[name]["seeds"]) for name in ("as-it-is", "lower-rate", "warm-up")
    ]
    first, second, third = counts
    runs = len(arms["as-it-is"]["seeds"])
    assert f"{first}, {second} and {third} of {runs} runs end with dead classes" in " ".join(read(INDICES[0]).split())


@pytest.mark.parametrize("index", INDICES[1:])
def test_the_answers_agree_in_every_language(index):
    """Answer by answer the same measured numbers and the same studies."""

    def answers(text):
        whole = re.findall(r"^\*\*.+?(?=^\*\*|\Z)", text.partition("\n## ")[2].partition("\n```")[0], re.M | re.S)
        return [
            (
                sorted(re.findall(r"\d+(?:[,.]\d+)*", re.sub(r"\]\(.*?\)", "]", each))),
                {original(target) for target in re.findall(r"\]\(([^)]+)\)", each)},
            )
            for each in whole
        ]

    ours, theirs = answers(read(INDICES[0])), answers(read(index))
    assert [studies for _, studies in theirs] == [studies for _, studies in ours]
    for (numbers, _), (same, _) in zip(ours, theirs, strict=True):
        # Small counts may be words in one language and digits in another.
        assert [number for number in same if len(number) > 1] == [number for number in numbers if len(number) > 1]


@in_every_language
def test_the_counts_in_the_index_agree_with_the_cost_table(index):
    text = read(index)
    net = create_model("nin")
    costs = count(net)
    sums = [
        sum(getattr(layer, key) for layer in costs.layers) for key in ("multiplications", "additions", "bias_additions")
    ]
    for number in (costs.parameters, *sums, costs.flops, costs.training_flops):
        assert f"{number:,}" in text
    for memory in (prediction_memory, training_memory):
        for batch in (1, 128):
            assert f" {format_bytes(memory(net, batch=batch).total)}" in text
