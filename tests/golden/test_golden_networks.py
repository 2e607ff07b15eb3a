"""The registered networks are unchanged: their JSON byte for byte, their parameters and multiply-accumulates."""

import json
import subprocess
import sys

import golden_recorded as recorded
import pytest

import mlpconv

NETWORKS = recorded.read(recorded.NETWORKS)
AGAIN = "if this change is intended: python tests/golden/record.py networks"


@pytest.fixture(scope="module")
def rows():
    """The output of `mlpconv models --json` in a separate process, since tests may register networks in this one."""
    said = subprocess.run([sys.executable, "-m", "mlpconv", "models", "--json"], capture_output=True, check=True)
    return json.loads(said.stdout)


def test_no_network_is_missing_or_new(rows):
    assert [row["name"] for row in rows] == list(NETWORKS), AGAIN


def test_the_command_line_prints_the_recorded_networks(rows):
    known = [(each["parameters"], each["macs"], each["input_shape"]) for each in NETWORKS.values()]
    assert [(row["parameters"], row["macs"], row["input_shape"]) for row in rows] == known, AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_unchanged(name):
    assert recorded.network(name) == NETWORKS[name], AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_restored_from_its_json(name):
    network = mlpconv.create_model(name)
    assert mlpconv.Network.from_json(network.to_json()) == network
