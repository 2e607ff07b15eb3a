"""The canonical weights: their names and shapes, the initialisers' laws, and the refusal of what does not belong."""

from math import prod, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.cost import count
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, Linear, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.backends.weights import (
    INITIALIZERS,
    Initializer,
    check_weights,
    initialize,
    is_statistic,
    named_initializer,
    weight_shapes,
)
from mlpconv.errors import RecipeError, WeightsError
from mlpconv.models import create_model, list_models
from mlpconv.optimizers import has_weight_decay
from support.random_values import random_weights
from support.strategies import networks

WIDE = Network(Conv2d(64, 5), Flatten(), Linear(50), input_channels=16, input_size=9)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    return prod(shape[1:]), shape[0] * prod(shape[2:])


def test_names_and_shapes_of_the_weights_of_the_chapters_network():
    shapes = weight_shapes(create_model("nin"))
    assert list(shapes)[:4] == ["block1.conv.weight", "block1.conv.bias", "block1.mlp1.weight", "block1.mlp1.bias"]
    assert shapes["block1.conv.weight"] == (96, 1, 11, 11)
    assert shapes["block4.mlp2.weight"] == (10, 10, 1, 1)
    assert len(shapes) == 24


@pytest.mark.parametrize("name", list_models())
def test_the_number_of_parameters_agrees_with_the_cost_table(name: str):
    network = create_model(name)
    shapes = weight_shapes(network)
    assert sum(prod(shape) for key, shape in shapes.items() if not is_statistic(key)) == count(network).parameters


@settings(max_examples=30, deadline=None)
@given(networks(), st.sampled_from(list(INITIALIZERS)), st.integers(0, 2**63))
def test_initializers_set_every_weight_reproducibly(network: Network, kind: str, seed: int):
    first, again = (initialize(network, INITIALIZERS[kind], seed) for _ in range(2))
    check_weights(network, first, "initialise")
    assert all(np.array_equal(first[name], again[name]) for name in first)
    for name, value in first.items():
        if name.endswith(("running_mean", "running_var")):
            assert (value == name.endswith("running_var")).all()


def test_weights_differ_between_seeds_and_layers():
    one, two = (initialize(create_model("nin_28"), Initializer("he"), seed) for seed in (1, 2))
    assert not np.array_equal(one["block2.mlp1.weight"], two["block2.mlp1.weight"])
    assert not np.array_equal(one["block2.mlp1.weight"], one["block2.mlp2.weight"])


@pytest.mark.parametrize("kind", ["xavier", "torch"])
@pytest.mark.parametrize("name", ["conv1.weight", "fc1.weight"])
def test_uniform_distributions_reach_their_bounds(kind: str, name: str):
    value = initialize(WIDE, INITIALIZERS[kind], 7)[name]
    fan_in, fan_out = fans(value.shape)
    bound = sqrt(6 / (fan_in + fan_out)) if kind == "xavier" else sqrt(1 / fan_in)
    assert 0.99 * bound < np.abs(value).max() <= np.float32(bound)
    assert value.std() == pytest.approx(bound / sqrt(3), rel=0.03)
    assert abs(value.mean()) < 0.03 * bound


@pytest.mark.parametrize("name", ["conv1.weight", "fc1.weight"])
def test_he_keeps_the_variance(name: str):
    value = initialize(WIDE, INITIALIZERS["he"], 7)[name]
    assert value.std() == pytest.approx(sqrt(2 / fans(value.shape)[0]), rel=0.03)


def test_biases_are_initialized_as_in_the_framework():
    bias = initialize(WIDE, INITIALIZERS["xavier"], 1)["conv1.bias"]
    bound = sqrt(1 / (16 * 25))
    assert 0.8 * bound < np.abs(bias).max() <= np.float32(bound)
    assert not initialize(WIDE, INITIALIZERS["xavier"], 1, framework_biases=False)["conv1.bias"].any()
    assert not initialize(WIDE, INITIALIZERS["he"], 1)["conv1.bias"].any()


def test_the_initializer_open_starts_the_last_block_with_positive_maps():
    weights = initialize(create_model("nin"), INITIALIZERS["open"], 3)
    for name in ("block4.conv.bias", "block4.mlp1.bias", "block4.mlp2.bias"):
        np.testing.assert_array_equal(weights[name], np.float32(0.1))
    for name in ("block4.mlp1.weight", "block4.mlp2.weight"):
        rest = weights[name].reshape(10, 10) - np.eye(10)
        assert 0 < np.abs(rest).max() < 0.05
    # The block's first convolution makes class maps of features and is initialized as in He's.
    assert weights["block4.conv.weight"].std() == pytest.approx(sqrt(2 / (384 * 9)), rel=0.03)
    assert not weights["block3.mlp2.bias"].any()


@pytest.mark.parametrize(("kernel", "middle"), [(3, (1, 1)), ((1, 5), (0, 2)), (2, (1, 1))])
def test_the_initializer_open_passes_class_maps_through_any_window(kernel, middle):
    block = Block(conv=Conv2d(4, 3), relu=ReLU(), mlp1=Conv2d(4, kernel), relu1=ReLU(), mlp2=Conv2d(4, 1), relu2=ReLU())
    layers = (Block(wide=Conv2d(4, 3), same=Conv2d(4, 3)), block, GlobalAvgPool2d(), Flatten())
    net = Network(*layers, input_channels=3, input_size=16)
    weights, plain = (initialize(net, INITIALIZERS[kind], 3) for kind in ("open", "he"))
    rest = weights["block2.mlp1.weight"].copy()
    rest[:, :, *middle] -= np.eye(4)
    assert 0 < np.abs(rest).max() < 0.05
    # In a block before it, maps are not of classes.
    np.testing.assert_array_equal(weights["block1.same.weight"], plain["block1.same.weight"])


def test_the_initializer_open_uses_he_for_windows_of_features():
    weights, plain = (initialize(create_model("nin_cifar10"), INITIALIZERS[kind], 3) for kind in ("open", "he"))
    np.testing.assert_array_equal(weights["block3.conv.weight"], plain["block3.conv.weight"])


def test_the_initializer_identity_starts_every_convolution_of_one_position_near_the_identity():
    weights, opened = (initialize(create_model("nin"), INITIALIZERS[kind], 3) for kind in ("identity", "open"))
    for name in (f"block{block}.mlp{layer}.weight" for block in (1, 2, 3) for layer in (1, 2)):
        kernel = weights.pop(name)[:, :, 0, 0]
        rest = kernel - np.eye(len(kernel))
        assert rest.std() == pytest.approx(0.01, rel=0.05)
        assert abs(rest.mean()) < 0.001
    # Everything else is that of "open", the last block included.
    assert all(np.array_equal(value, opened[name]) for name, value in weights.items())


def test_the_initializer_identity_leaves_other_layers_as_he_does():
    net = Network(Conv2d(4, 3), Conv2d(4, 3), Conv2d(6, 1), Flatten(), Linear(16), Linear(16), input_size=9)
    weights, plain = (initialize(net, INITIALIZERS[kind], 3) for kind in ("identity", "he"))
    assert all(np.array_equal(weights[name], plain[name]) for name in plain)


def test_the_initializer_open_is_he_without_a_block():
    weights, plain = (initialize(WIDE, INITIALIZERS[kind], 3) for kind in ("open", "he"))
    assert all(np.array_equal(weights[name], plain[name]) for name in plain)


def test_the_error_of_an_unknown_initializer_names_similar_ones():
    with pytest.raises(RecipeError, match="did you mean 'xavier'"):
        named_initializer("xaver")


def test_weight_decay_excludes_biases_and_normalization():
    shapes = weight_shapes(create_model("nin_28"))
    decaying = {name for name, shape in shapes.items() if has_weight_decay(shape)}
    assert decaying == {name for name in shapes if name.endswith("weight") and "norm" not in name}
    assert len(decaying) == 10


NETWORK = Network(Block(conv=Conv2d(3, 3)), GlobalAvgPool2d(), Flatten(), input_size=8)
GOOD = random_weights(NETWORK, dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block1.conv.bias": None}, r"missing: block1\.conv\.bias; not in the network: none"),
        ({"fc1.bias": np.zeros(3, np.float32)}, r"missing: none; not in the network: fc1\.bias"),
        ({"block1.conv.bias": np.zeros(4, np.float32)}, r"block1\.conv\.bias has the shape \(4,\), .* needs \(3,\)"),
        ({"block1.conv.bias": np.zeros(3)}, r"block1\.conv\.bias is float64, expected is float32"),
        ({"block1.conv.bias": np.array([0, np.nan, 0], np.float32)}, r"block1\.conv\.bias holds NaN or infinite"),
    ],
)
def test_weights_of_another_network_are_refused(change: dict, message: str):
    weights = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(WeightsError, match=f"^w.safetensors: .*{message}"):
        check_weights(NETWORK, weights, "w.safetensors")


@pytest.mark.parametrize("kind", ["xavier", "torch", "he"])
def test_a_depthwise_kernel_has_the_fans_of_its_window(kind):
    network = Network(Conv2d(400, 5, depthwise=True), input_channels=400, input_size=5)
    weights = initialize(network, INITIALIZERS[kind], 7)
    deviation = {"he": sqrt(2 / 25), "xavier": sqrt(6 / 50 / 3), "torch": sqrt(1 / 25 / 3)}[kind]
    assert weights["conv1.weight"].shape == (400, 1, 5, 5)
    assert weights["conv1.weight"].std() == pytest.approx(deviation, rel=0.03)
    if kind != "he":
        assert 0.8 * sqrt(1 / 25) < np.abs(weights["conv1.bias"]).max() <= np.float32(sqrt(1 / 25))


def test_the_initializers_open_and_identity_pass_maps_through_depthwise_convolutions():
    window = Conv2d(4, 3, padding=1, depthwise=True)
    blocks = (Block(conv=Conv2d(6, 1), point=Conv2d(6, 1, depthwise=True)), Block(conv=Conv2d(4, 3), mlp1=window))
    network = Network(*blocks, GlobalAvgPool2d(), Flatten(), input_channels=3, input_size=8)
    weights, plain = (initialize(network, INITIALIZERS[kind], 3) for kind in ("identity", "he"))
    rest = weights["block2.mlp1.weight"].copy()
    rest[:, :, 1, 1] -= 1
    assert 0 < np.abs(rest).max() < 0.05
    assert np.abs(weights["block1.point.weight"] - 1).max() < 0.05
    np.testing.assert_array_equal(weights["block2.conv.weight"], plain["block2.conv.weight"])
