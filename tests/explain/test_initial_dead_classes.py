"""Classes that are dead before the first training step."""

import numpy as np
import pytest

from mlpconv import Network, create_model, nin_block
from mlpconv.arch.layers import Flatten, GlobalAvgPool2d
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.reference import activations, preprocess
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.errors import NetworkError
from mlpconv.explain.dead_classes import initial_dead_classes

pytest.importorskip("torch")

NETWORK = Network(
    nin_block(8, kernel_size=3, padding=1),
    nin_block(5, kernel_size=3, padding=1),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=1,
    input_size=12,
)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 1), dtype=np.uint8)


def test_they_are_those_whose_map_is_closed_in_the_numpy_reference():
    seeds = range(6)
    found = list(initial_dead_classes(NETWORK, IMAGES, "xavier", seeds))
    assert [each.seed for each in found] == list(seeds)
    expected = []
    for seed in seeds:
        weights = initialize(NETWORK, INITIALIZERS["xavier"], seed)
        x = preprocess(IMAGES, Preprocess(size=12, mode="L", mean=(0.0,), std=(1.0,)))
        maps = activations(NETWORK, weights, x)["block2.mlp2"]
        expected.append(tuple(k for k in range(5) if (maps[:, k] > 0).mean() <= 0.001))
    assert [each.classes for each in found] == expected
    assert any(expected)


def test_the_open_start_keeps_every_class_alive():
    found = initial_dead_classes(NETWORK, IMAGES, "open", range(6))
    assert [each.classes for each in found] == [()] * 6


def test_a_network_in_which_no_class_can_die_is_refused():
    network = create_model("nin_28")
    with pytest.raises(NetworkError, match="nin_28: its class maps are not followed by a ReLU, so no class can die"):
        next(initial_dead_classes(network, IMAGES, "he", [0]))
