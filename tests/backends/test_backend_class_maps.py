"""Class maps in each back end against the NumPy reference, and the sum rule: they are what the logits are made of."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.backends import reference
from mlpconv.backends.registry import get_backend
from mlpconv.errors import NetworkError
from support.random_values import random_weights
from support.strategies import networks

NETWORK = Network(
    Block(conv=Conv2d(8, 5, stride=2, padding=2), norm=BatchNorm2d(), relu=ReLU()),
    MaxPool2d(3, stride=2, ceil_mode=True),
    Block(conv=Conv2d(3, 3, padding=1), relu=ReLU()),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=24,
)
FOLDED = Network(
    Block(conv=Conv2d(6, 9, stride=2), relu=ReLU(), mlp1=Conv2d(3, 1), relu1=ReLU()),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=24,
)
PREPROCESS = Preprocess(24, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)


def has_maps(network):
    try:
        until_class_maps(network)
    except NetworkError:
        return False
    return True


@given(networks(), st.integers(0, 9))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_the_mean_of_a_maps_relu_is_the_logit(network, seed):
    assume(has_maps(network))
    weights = random_weights(network, seed)
    x = np.random.default_rng(seed).normal(0, 1, (2, *network.input_shape))
    _, rectified = until_class_maps(network)
    maps = reference.class_maps(network, weights, x)
    after = np.maximum(maps, 0) if rectified else maps
    np.testing.assert_allclose(after.mean((2, 3)), reference.forward(network, weights, x), atol=1e-9)


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
@pytest.mark.parametrize("network", [NETWORK, FOLDED], ids=["plain", "folded"])
@pytest.mark.parametrize("size", [None, (30, 47)], ids=["own size", "dense"])
def test_class_maps_agree_with_the_reference(name, network, size):
    pytest.importorskip(name)
    weights = {key: value.astype(np.float32) for key, value in random_weights(network).items()}
    model = get_backend(name).build(network, PREPROCESS)
    model.load_weights(weights)
    found = model.class_maps(IMAGES, size)
    expected = reference.class_maps(network, weights, reference.preprocess(IMAGES, PREPROCESS, size))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if size is None:
        np.testing.assert_allclose(np.maximum(found, 0).mean((2, 3)), model.logits(IMAGES), atol=1e-4)
        assert (found < 0).any(), "the last ReLU hides nothing here"


def test_an_image_too_small_is_refused():
    pytest.importorskip("torch")
    model = get_backend("torch").build(FOLDED, PREPROCESS)
    with pytest.raises(NetworkError, match="9×9 kernel does not fit"):
        model.class_maps(IMAGES, (8, 24))
