"""The pages of docs/exercises/ say what the numbers beside them say, and the index names them all."""

import json
from pathlib import Path

import jsonschema
import pytest

from mlpconv.arch.cost import count, prediction_memory, training_memory
from mlpconv.models import create_model
from mlpconv.studies import answers, pages, perform
from mlpconv.studies.catalogue import STUDIES
from mlpconv.words import size

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs" / "exercises"
SCHEMA = json.loads((ROOT / "docs" / "json" / "study.schema.json").read_text())
DONE = sorted(path.stem for path in PLACE.glob("*.json"))


@pytest.mark.parametrize("name", DONE)
def test_a_page_says_what_its_numbers_say(name):
    result = json.loads((PLACE / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.validate(result, SCHEMA)
    study = perform.find(name)
    assert (result["study"], result["complete"]) == (name, True)
    assert [arm["name"] for arm in result["arms"]] == [arm.name for arm in study.arms]
    compared = answers.compare(result, study.pairs, perform.HEADLINE)
    assert result["conclusion"] == perform.conclusion(result, study, compared)
    assert (PLACE / f"{name}.md").read_text(encoding="utf-8") == pages.markdown(result, result["command"])
    assert (PLACE / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_index_names_every_study_and_links_those_that_are_done():
    index = (PLACE / "index.md").read_text(encoding="utf-8")
    for name in STUDIES:
        assert (f"[`{name}`]({name}.md)" if name in DONE else f"`{name}`") in index
    assert {path.stem for path in PLACE.glob("*.md")} == {"index", "method", *DONE}


def test_the_index_counts_as_the_ledger_does():
    index = (PLACE / "index.md").read_text(encoding="utf-8")
    net = create_model("nin")
    costs = count(net)
    sums = [
        sum(getattr(layer, key) for layer in costs.layers) for key in ("multiplications", "additions", "bias_additions")
    ]
    for number in (costs.parameters, *sums, costs.flops, costs.training_flops):
        assert f"{number:,}" in index
    for memory in (prediction_memory, training_memory):
        one, many = (size(memory(net, batch=batch).total) for batch in (1, 128))
        assert f"{one} for one image, {many} for 128" in index
