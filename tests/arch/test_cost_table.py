"""The tables of shapes and costs: every column adds up to its total and is defined in docs/costs.md."""

import pytest
from hypothesis import given, settings

from mlpconv.arch.cost import count
from mlpconv.arch.cost_table import BLOCK_COLUMNS, LAYER_COLUMNS, block_table, layer_table
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network
from mlpconv.models import create_model, list_models
from support.documentation import DOCS
from support.strategies import networks

NOT_SUMMED = {"name", "type", "output", "field"}
"""The columns that have no sum over the layers."""


def number(cell):
    return int(cell.replace(",", "")) if cell else 0


def check_sums(columns, rows):
    *parts, total = rows
    for column, title in enumerate(each.title for each in columns):
        if title not in NOT_SUMMED:
            assert number(total[column]) == sum(number(row[column]) for row in parts), title


@given(networks(most_layers=8))
@settings(max_examples=60)
def test_columns_add_up_to_the_total(network):
    costs = count(network)
    check_sums(*layer_table(costs))
    check_sums(*block_table(network, costs))


@pytest.mark.parametrize("name", list_models())
def test_columns_of_the_registered_networks_add_up_to_the_total(name):
    network = create_model(name)
    costs = count(network)
    check_sums(*layer_table(costs))
    check_sums(*block_table(network, costs))


def test_empty_columns_are_left_out():
    columns, rows = layer_table(count(create_model("nin")))
    titles = [column.title for column in columns]
    assert "pooling" in titles
    assert "normalization" not in titles
    assert {len(row) for row in rows} == {len(columns)}


def test_a_receptive_field_is_one_number_if_it_is_square():
    _, rows = layer_table(count(Network(Conv2d(1, 3), Conv2d(1, (1, 3)), input_size=8)))
    assert [row[-1] for row in rows] == ["3", "3×5", ""]


def test_docs_define_every_column():
    section = (DOCS / "costs.md").read_text(encoding="utf-8").partition("\n## The columns of `mlpconv summary`\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    defined = [line.strip("| ").split(" | ")[0] for line in lines[2:]]
    assert sorted(defined) == sorted({column.title for column in (*LAYER_COLUMNS, *BLOCK_COLUMNS)})
