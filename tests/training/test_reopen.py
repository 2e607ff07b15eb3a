"""Dead classes are opened in the arrays that make them, and the others hardly notice."""

import numpy as np
import pytest

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, ReLU, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.backends import reference
from mlpconv.backends.weights import Initializer, initialize
from mlpconv.models import create_model, nin_block
from mlpconv.training.reopen import can_reopen, reopen, stages

NETWORK = Network(
    nin_block(6, kernel_size=3), nin_block(4, kernel_size=3, padding=1), GlobalAvgPool2d(), Flatten(), input_size=8
)
X = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)


def outputs(network, weights):
    return lambda layer: reference.activations(network, weights, X)[layer]


def state_of(weights):
    """As the back ends name what they keep."""
    return {f"weights/{name}": value for name, value in weights.items()} | {
        f"optimizer/{name}/exp_avg": np.ones_like(value) for name, value in weights.items()
    }


def back(state):
    return {name.removeprefix("weights/"): value for name, value in state.items() if name.startswith("weights/")}


def shut(network, *places):
    weights = initialize(network, Initializer("he", open_last=True), 0)
    for name, channel in places:
        weights[f"{name}.bias"][channel] = -100
    return weights


def test_the_stages_of_the_last_block():
    assert [stage.conv for stage in stages(NETWORK)] == ["block2.conv", "block2.mlp1", "block2.mlp2"]
    assert can_reopen(create_model("nin"))
    assert not can_reopen(create_model("nin_28"))  # no ReLU at its end
    assert not can_reopen(create_model("lenet"))


def test_only_the_channel_of_the_class_is_changed():
    weights = shut(NETWORK, ("block2.mlp2", 1), ("block2.mlp2", 2))
    before = outputs(NETWORK, weights)("block2.mlp2")
    state = state_of(weights)
    kept = {name: value.copy() for name, value in state.items()}
    opened, words = reopen(state, NETWORK, (1, 2), outputs(NETWORK, weights), np.random.default_rng(0))
    assert words == "block2.mlp2: the classes' channels 1, 2 initialized again"
    after = outputs(NETWORK, back(opened))("block2.mlp2")
    assert after[:, [1, 2]].min() >= 0.1
    np.testing.assert_array_equal(after[:, [0, 3]], before[:, [0, 3]])
    changed = {name for name in opened if not np.array_equal(opened[name], kept[name])}
    assert changed == {
        f"{kind}block2.mlp2.{part}{end}"
        for part in ("weight", "bias")
        for kind, end in (("weights/", ""), ("optimizer/", "/exp_avg"))
    }
    moments = opened["optimizer/block2.mlp2.weight/exp_avg"]
    assert (moments[[1, 2]] == 0).all()
    assert (moments[[0, 3]] == 1).all()
    assert all(np.array_equal(state[name], kept[name]) for name in state)


def test_a_class_whose_inputs_are_zero_is_reopened():
    weights = shut(NETWORK, ("block2.conv", 0), ("block2.mlp1", 0), ("block2.mlp2", 0))
    opened, words = reopen(state_of(weights), NETWORK, (0,), outputs(NETWORK, weights), np.random.default_rng(0))
    assert words == (
        "block2.conv: dead channel 0 initialized again; block2.mlp1: dead channel 0 initialized again; "
        "block2.mlp2: the class's channel 0 initialized again"
    )
    before, after = outputs(NETWORK, weights), outputs(NETWORK, back(opened))
    assert (after("block2.mlp1")[:, 0] > 0).any()
    assert after("block2.mlp2")[:, 0].min() > 0
    np.testing.assert_allclose(after("block2.mlp2")[:, 1:], before("block2.mlp2")[:, 1:], atol=0.2)


def test_batch_normalization_after_the_layer_is_reset():
    network = Network(
        Block(conv=Conv2d(3, 3, bias=False), norm=BatchNorm2d(), relu=ReLU()),
        GlobalAvgPool2d(),
        Flatten(),
        input_size=8,
    )
    weights = initialize(network, Initializer("he"), 0)
    weights["block1.norm.bias"][2], weights["block1.norm.weight"][2] = -50, 0
    opened, words = reopen(state_of(weights), network, (2,), outputs(network, weights), np.random.default_rng(0))
    assert words == "block1.conv: the class's channel 2 initialized again"
    assert [back(opened)[f"block1.norm.{part}"][2] for part in ("weight", "bias", "running_mean", "running_var")] == (
        pytest.approx([1, 0.1, 0, 1])
    )
    assert (outputs(network, back(opened))("block1.norm")[:, 2] > 0).all()


def test_depthwise_convolutions_and_relu6_are_reopened():
    block = Block(
        conv=Conv2d(6, 3),
        relu=ReLU6(),
        depthwise=Conv2d(6, 3, padding=1, depthwise=True),
        relu1=ReLU6(),
        project=Conv2d(5, 1),
        mlp1=Conv2d(4, 1),
        relu2=ReLU6(),
    )
    network = Network(block, GlobalAvgPool2d(), Flatten(), input_size=8)
    assert [stage.conv for stage in stages(network)] == ["block1.conv", "block1.depthwise", "block1.mlp1"]
    assert can_reopen(network)
    weights = shut(network, ("block1.conv", 5), ("block1.depthwise", 5), ("block1.mlp1", 2))
    opened, words = reopen(state_of(weights), network, (2,), outputs(network, weights), np.random.default_rng(0))
    assert words == (
        "block1.conv: dead channel 5 initialized again; block1.depthwise: dead channel 5 initialized again; "
        "block1.mlp1: the class's channel 2 initialized again"
    )
    after = back(opened)
    assert (outputs(network, after)("block1.relu1")[:, 5] > 0).any()
    changed = {name for name in after if not np.array_equal(after[name], weights[name])}
    layers = ("conv", "depthwise", "mlp1")
    assert changed == {f"block1.{name}.{part}" for name in layers for part in ("weight", "bias")} | {
        "block1.project.weight"
    }
    kept = [channel for channel in range(6) if channel != 5]
    for name in ("conv", "depthwise"):
        np.testing.assert_array_equal(after[f"block1.{name}.weight"][kept], weights[f"block1.{name}.weight"][kept])
    project = "block1.project.weight"
    np.testing.assert_array_equal(after[project][:, kept], weights[project][:, kept])
