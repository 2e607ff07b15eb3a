"""The registered networks are what they were: their JSON byte for byte, their parameters and multiply-accumulates."""

import json

import pytest
import recorded

import mlpconv

NETWORKS = recorded.read(recorded.NETWORKS)
AGAIN = "where this is meant: python tests/golden/record.py networks"


def test_no_network_is_missing_or_new():
    assert mlpconv.list_models() == list(NETWORKS), AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_it_was(name):
    assert recorded.network(name) == NETWORKS[name], AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_its_json_gives_it_back(name):
    network = mlpconv.create_model(name)
    assert mlpconv.Network.from_json(network.to_json()) == network


def test_the_command_line_says_the_same(tmp_path):
    rows = json.loads(recorded.command(tmp_path, "models", "--json"))
    known = {name: (each["parameters"], each["macs"], each["input_shape"]) for name, each in NETWORKS.items()}
    assert {row["name"]: (row["parameters"], row["macs"], row["input_shape"]) for row in rows} == known, AGAIN
