"""``mlpconv dead-classes``."""

import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

COMMAND = ("dead-classes", "nin", "--data", "digits", "--image-size", "70", "--images", "8", "--seeds", "3")


def test_it_counts_the_dead_classes_of_each_seed(cli):
    result = cli(*COMMAND)
    rows = re.findall(r"^ +(\d+)  (\d+) of 10(.*)$", result.out, re.MULTILINE)
    assert [int(seed) for seed, _, _ in rows] == [0, 1, 2]
    assert all(len(names.strip(": ").split(", ")) == int(count) for _, count, names in rows if int(count))
    assert sum(int(count) for _, count, _ in rows) > 0
    assert "before the first training step" in result.out
    assert "mlpconv dead-classes nin --initializer open" in result.out


def test_json_and_the_open_start(cli):
    result = cli(*COMMAND, "--initializer", "open", "--json").json()
    assert result["seeds"] == [{"seed": seed, "dead_classes": []} for seed in range(3)]
    assert (result["network"], result["input_shape"], result["mean"]) == ("nin", [1, 70, 70], 0)


def test_an_unknown_initializer_is_an_error(cli):
    result = cli(*COMMAND, "--initializer", "xavir")
    assert result.code == 2
    assert "xavier" in result.err
