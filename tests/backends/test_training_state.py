"""The names of the arrays in training states."""

import pytest

from mlpconv.backends.training_state import DOTTED, SLASHED, StateKey, parse_key

NAMES = {
    "weights/block1.conv.weight": StateKey("weight", "block1.conv.weight"),
    "optimizer/block1.conv.weight/exp_avg": StateKey("optimizer", "block1.conv.weight", "exp_avg"),
    "optimizer/step": StateKey("optimizer", part="step"),
    "metrics": StateKey("metrics"),
    "block1.norm.running_mean": StateKey("weight", "block1.norm.running_mean"),
    "optimizer.block1.conv.weight.velocity": StateKey("optimizer", "block1.conv.weight", "velocity"),
    "optimizer.step": StateKey("optimizer", part="step"),
    "metrics.loss": StateKey("metrics", part="loss"),
}


@pytest.mark.parametrize("stored", NAMES)
def test_a_stored_name_describes_its_array(stored):
    assert parse_key(stored) == NAMES[stored]


@pytest.mark.parametrize("names", [SLASHED, DOTTED], ids=["slashed", "dotted"])
def test_a_name_is_parsed_as_it_was_formed(names):
    weight = "block1.conv.weight"
    assert parse_key(names.weight(weight)) == StateKey("weight", weight)
    assert parse_key(names.optimizer("mean", weight)) == StateKey("optimizer", weight, "mean")
    assert parse_key(names.optimizer("step")) == StateKey("optimizer", part="step")
    assert parse_key(names.metrics()) == StateKey("metrics")
