"""Networks in Keras against the NumPy reference, and the model that ``build`` returns: see test_keras.py."""

import numpy as np
import pytest
from hypothesis import given, settings

from mlpconv.arch.layers import AvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.backends import reference
from mlpconv.convert import read_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model
from support.keras_engine import needs_keras
from support.random_values import random_input, random_weights
from support.strategies import networks

pytestmark = needs_keras


def compare(backend, network: Network, batch: int = 2) -> None:
    weights = random_weights(network, dtype=np.float32)
    x = random_input(network, batch, dtype=np.float32)
    expected = reference.forward(network, weights, x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    found = np.asarray(backend.native(network, weights)(x.transpose(0, 2, 3, 1), training=False))
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


@settings(max_examples=25, deadline=None)
@given(network=networks())
def test_every_layer_agrees_with_the_reference(backend, network: Network):
    compare(backend, network)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nin", 224),
        ("nin_imagenet", 224),
        ("nin_cifar10", 32),
        ("nin_cifar100", 32),
        ("nin_svhn", 32),
        ("nin_28", 28),
        ("nin_32", 32),
        ("nin_fast", 28),
        ("nin_tiny", 28),
        ("nin_photo", 96),
        ("lenet", 28),
        ("alexnet", 96),
        ("vgg11", 32),
    ],
)
def test_registered_networks(backend, name: str, size: int):
    compare(backend, create_model(name, num_classes=7).replace(input_size=size), batch=1)


@pytest.mark.parametrize("size", [6, 7, 8, 9])
def test_windows_that_extend_over_the_edge(backend, size: int):
    pools = [
        MaxPool2d(3, 2, 1, ceil_mode=True),
        AvgPool2d(3, 2, 1, ceil_mode=True),
        AvgPool2d(3, 2, 1, count_include_pad=False),
        AvgPool2d((2, 3), (2, 1), (1, 0), ceil_mode=True),
    ]
    for pool in pools:
        compare(backend, Network(Conv2d(3, 1), pool, input_size=(size, size + 1)))


@pytest.mark.parametrize("width", [3, 4, 5])
def test_one_column_with_an_uneven_stride(backend, width: int):
    compare(backend, Network(Conv2d(2, (2, 3), stride=(1, 3)), input_size=(6, width)))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, in saving.
def test_native_returns_a_plain_keras_model(backend, tmp_path):
    import keras

    network = Network(
        Block(conv=Conv2d(4, 3, padding=1), norm=BatchNorm2d()),
        MaxPool2d(3, 2, padding=1),
        Dropout(0.5),
        AvgPool2d(3, 2, padding=1, count_include_pad=False),
        Flatten(),
        Linear(3),
        input_size=9,
        name="of mine/1",
    )
    model = backend.native(network, random_weights(network, dtype=np.float32))

    def walk(model):
        for layer in model.layers:
            assert type(layer).__module__.startswith("keras.")
            yield layer.name
            if isinstance(layer, keras.Model):
                yield from walk(layer)

    names = list(walk(model))
    assert type(model) is keras.Sequential
    assert [name for name in names if "-" not in name] == ["block1", *(name for name, _ in network.walk())]
    helpers = {name for name in names if "-" in name}
    assert helpers == {"block1.conv-pad", "pool1-pad", "pool1-pad-input", "pool2-count", "pool2-pad"}
    model.save(tmp_path / "net.keras")
    x = random_input(network, dtype=np.float32).transpose(0, 2, 3, 1)
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(np.asarray(again(x)), np.asarray(model(x)), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, in saving.
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_files_of_the_flat_model_of_earlier_versions_are_read(backend, tmp_path, ending):
    from mlpconv.backends.keras import network as keras_network

    network = create_model("lenet")
    weights = random_weights(network, dtype=np.float32)
    model = keras_network.build(network, network.input_shape)
    keras_network.load(network, model, weights)
    path = tmp_path / f"net{ending}"
    model.save(path) if ending == ".keras" else model.save_weights(path)
    found = read_weights(network, path)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_native_without_weights_is_initialized_by_keras(backend):
    model = backend.native(create_model("lenet"))
    assert not np.asarray(model.get_layer("fc1").bias).any()
    assert np.asarray(model.get_layer("fc1").kernel).any()


def test_weights_of_another_network_are_refused(backend):
    with pytest.raises(WeightsError, match="these weights belong to another network"):
        backend.native(create_model("lenet"), random_weights(create_model("nin"), dtype=np.float32))
