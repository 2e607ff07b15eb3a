"""The tables of networks and recipes in the English README agree with the code."""

import re

from mlpconv.arch.cost import count
from mlpconv.arch.shapes import show
from mlpconv.models import create_model, list_models, model_entry
from mlpconv.training.recipe import describe
from mlpconv.training.recipes import RECIPES
from support.documentation import DOCS

README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def table(heading):
    """The rows of the first table of a section, without its header."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert re.fullmatch(r"[-: |]+", " | ".join(rows[1]))
    return rows[2:]


def test_the_table_of_networks_agrees_with_the_registry():
    expected = []
    for name in list_models():
        costs = count(create_model(name))
        shape = show(costs.input_shape)
        expected.append([f"`{name}`", f"{costs.parameters:,}", f"{costs.macs:,}", shape, model_entry(name).source])
    assert table("The networks") == expected


def test_the_table_of_recipes_agrees_with_the_code():
    expected = [
        [f"`{name}`", describe(named.recipe, name).partition(": ")[2], named.source, named.expect]
        for name, named in RECIPES.items()
    ]
    assert table("Recipes") == expected
