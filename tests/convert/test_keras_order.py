"""The order of the layers of a Keras 3 file, inside and outside nested models."""

import json
from zipfile import ZipFile

import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Network
from mlpconv.convert import read_weights
from mlpconv.convert.keras_order import layer_paths
from mlpconv.errors import WeightsError

NETWORK = Network(*(Conv2d(3, 1) for _ in range(5)), GlobalAvgPool2d(), Flatten(), input_channels=3, input_size=4)
"""Five layers that differ only in their order."""


def config(*layers):
    return {"class_name": "Sequential", "config": {"layers": list(layers)}}


def test_the_paths_are_numbered_within_each_model():
    conv, norm = {"class_name": "Conv2D"}, {"class_name": "BatchNormalization"}
    model = config(conv, config(conv, norm, conv), conv, config(conv), norm)
    assert layer_paths(json.dumps(model)) == [
        "layers/conv2d",
        "layers/sequential",
        "layers/sequential/layers/conv2d",
        "layers/sequential/layers/batch_normalization",
        "layers/sequential/layers/conv2d_1",
        "layers/conv2d_1",
        "layers/sequential_1",
        "layers/sequential_1/layers/conv2d",
        "layers/batch_normalization",
    ]


@pytest.mark.parametrize("value", [None, 1, [], {}, {"config": 1}, {"config": {"layers": 3}}, config(1, None)])
def test_what_lists_no_layers_has_no_order(value):
    assert layer_paths(json.dumps(value)) == []


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match=r"Expecting|nested"):
        layer_paths(text)


@pytest.fixture
def model():
    """Layers outside, inside and after nested models, and their weights in order."""
    pytest.importorskip("keras.models", reason="keras is not installed")  # `keras` may be a directory of tests
    import keras

    layers = keras.layers

    def conv():
        return layers.Conv2D(3, 1)

    made = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            conv(),
            keras.Sequential([conv(), keras.Sequential([conv()])]),
            conv(),
            keras.Sequential([conv()]),
            layers.GlobalAveragePooling2D(),
        ]
    )
    values = [np.full((1, 1, 3, 3), number, np.float32) + np.eye(3, dtype=np.float32) for number in range(5)]
    made.set_weights([each for value in values for each in (value, value[0, 0, 0])])
    return made, values


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, in saving.
def test_a_whole_model_has_its_order(model, tmp_path):
    made, values = model
    made.save(tmp_path / "model.keras")
    found = read_weights(NETWORK, tmp_path / "model.keras")
    kernels = [value for name, value in found.items() if name.endswith("weight")]
    for received, expected in zip(kernels, values, strict=True):
        np.testing.assert_array_equal(received[:, :, 0, 0].T, expected[0, 0])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, in saving.
def test_weights_alone_do_not_have_it(model, tmp_path):
    made, _ = model
    made.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(WeightsError, match=r"nested model; .* save the whole model as a \.keras file"):
        read_weights(NETWORK, tmp_path / "model.weights.h5")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, in saving.
def test_a_whole_model_that_lists_no_layers(model, tmp_path):
    """As one of a class that defines its own call()."""
    made, _ = model
    made.save(tmp_path / "model.keras")
    with ZipFile(tmp_path / "model.keras") as whole, ZipFile(tmp_path / "other.keras", "w") as other:
        for name in whole.namelist():
            other.writestr(name, b'{"class_name": "Mine", "config": {}}' if name == "config.json" else whole.read(name))
    with pytest.raises(WeightsError, match=r"nested model; its config\.json does not list them in order: put the"):
        read_weights(NETWORK, tmp_path / "other.keras")
