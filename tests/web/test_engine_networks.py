"""The browser engine computes what the NumPy reference computes: random networks, and the registered ones."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpconv.arch.class_maps import class_map_grid, until_class_maps
from mlpconv.arch.layers import AnyLayer, BatchNorm2d, Conv2d, ReLU, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.reference import images as reference_images
from mlpconv.backends.reference import layers as reference
from mlpconv.errors import NetworkError
from mlpconv.explain.class_maps import positions_on_image
from mlpconv.export.rounding import WEIGHT_TYPES, restored, rounded
from mlpconv.models import create_model, list_models
from mlpconv.runs.classifier_file import metadata, write_classifier
from mlpconv.runs.files import write_tensors
from mlpconv.training.metrics import softmax
from mlpconv.web import LAYERS
from support.browser_engine import decoded, encoded
from support.random_values import random_weights
from support.strategies import networks

KERNELS = pytest.mark.parametrize("wasm", [True, False], ids=["wasm", "plain"])
HEAVY = ("alexnet", "vgg11")
"""Most of their weights, hundreds of megabytes, are in fully connected layers, which other networks test too."""


def square(network, side, **options):
    """A network and a preprocess for images of one side."""
    network = network.replace(input_size=(side, side))
    return network, Preprocess.of_channels(side, network.input_channels, **options)


def classes_of(network):
    return tuple(f"class {k}" for k in range(num_classes(network)))


def ask_images(engine, images, **more):
    _, height, width, channels = images.shape
    answer = engine.ask("images", values=encoded(images), height=height, width=width, channels=channels, **more)
    return {key: np.array(value).reshape(len(images), -1) for key, value in answer.items() if isinstance(value, list)}


def test_the_engine_has_every_layer(engine):
    kinds = {layer.__struct_config__.tag for layer in get_args(AnyLayer)}
    assert set(engine.ask("kinds")["kinds"]) == LAYERS == kinds


def test_an_unknown_layer_is_named(engine):
    network = '{"format": 1, "input_channels": 1, "input_size": [4, 4], "layers": {"a": {"b": {"kind": "swish"}}}}'
    with pytest.raises(ValueError, match=r"a\.b: unknown kind of layer: swish"):
        engine.ask("network", network=network, weights={}, input="", wasm=False)


@KERNELS
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks(), seed=st.integers(0, 1000))
def test_any_network(engine, wasm, network, seed):
    weights = random_weights(network, seed, np.float32)
    x = np.random.default_rng(seed).normal(0, 1, (1, *network.input_shape)).astype(np.float32)
    expected = reference.forward(network, weights, x.astype(np.float64))[0]
    answer = engine.ask(
        "network",
        network=network.to_json(),
        weights={name: encoded(values) for name, values in weights.items()},
        input=encoded(x[0].transpose(1, 2, 0)),
        wasm=wasm,
    )
    received = decoded(answer["output"], np.float32)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(received, expected.ravel(), rtol=0, atol=2e-5 * scale)


@KERNELS
def test_depthwise_convolutions_and_both_bounds_of_relu6(engine, wasm):
    network = Network(
        Block(conv=Conv2d(9, 1), relu=ReLU6(), mlp1=Conv2d(9, (3, 5), (2, 1), (1, 3), depthwise=True)),
        BatchNorm2d(),
        ReLU6(),
        Conv2d(9, 2, 1, (2, 3), depthwise=True),  # the windows in the corners have no pixel
        ReLU(),
        input_channels=3,
        input_size=(7, 6),
    )
    weights = random_weights(network, dtype=np.float32)
    x = 9 * np.random.default_rng(0).normal(size=(1, *network.input_shape)).astype(np.float32)
    values = reference.activations(network, weights, x)
    assert values["block1.relu"].max() == 6
    assert values["block1.relu"].min() == 0
    answer = engine.ask(
        "network",
        network=network.to_json(),
        weights={name: encoded(value) for name, value in weights.items()},
        input=encoded(x[0].transpose(1, 2, 0)),
        wasm=wasm,
    )
    expected = list(values.values())[-1][0].transpose(1, 2, 0)
    np.testing.assert_allclose(decoded(answer["output"], np.float32), expected.ravel(), rtol=0, atol=1e-4)


@KERNELS
@pytest.mark.parametrize("name", [name for name in list_models() if name not in HEAVY])
def test_registered_networks(engine, tmp_path, name, wasm):
    """Every type of the weights, on images that are resized to the input."""
    network = create_model(name)
    # The smallest images with maps of more than one position in the chapter's network, and in those after VGG.
    side = min(network.input_size[0], 64 if name in ("nin11", "nin16", "nin19") else 99)
    source = (28, 28) if network.input_channels == 1 else (32, 32)
    network, preprocess = square(network, side, source_size=source)
    weights = random_weights(network, dtype=np.float32)
    images = np.random.default_rng(1).integers(0, 256, (2, *source, network.input_channels), np.uint8)
    x = reference_images.preprocess(images, preprocess)
    exact = softmax(reference.forward(network, weights, x))
    for type_ in WEIGHT_TYPES:
        tensors = rounded(weights, type_)
        path = tmp_path / f"{type_}.safetensors"
        write_tensors(path, tensors, metadata(network, preprocess, classes_of(network)))
        engine.ask("load", path=str(path), wasm=wasm)
        received = ask_images(engine, images)["probabilities"]
        expected = softmax(reference.forward(network, restored(tensors), x)) if type_ == "int8" else exact
        np.testing.assert_allclose(received, expected, rtol=0, atol=2e-3 if type_ == "float16" else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_networks_with_large_dense_layers(engine, tmp_path, name):
    network = create_model(name)
    network, preprocess = square(network, 32 if name == "vgg11" else 67)
    weights = random_weights(network, dtype=np.float32)
    write_classifier(tmp_path / "a.safetensors", weights, network, preprocess, classes_of(network))
    engine.ask("load", path=str(tmp_path / "a.safetensors"), wasm=True)
    images = np.random.default_rng(1).integers(0, 256, (1, preprocess.size, preprocess.size, 1), np.uint8)
    expected = softmax(reference.forward(network, weights, reference_images.preprocess(images, preprocess)))
    np.testing.assert_allclose(ask_images(engine, images)["probabilities"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("source", [None, (20, 20), (16, 30)], ids=str)
def test_class_maps_are_placed_as_in_python(engine, tmp_path, fit, source):
    network, preprocess = square(create_model("nin_tiny", 3), 28, fit=fit, source_size=source)
    weights = random_weights(network, dtype=np.float32)
    write_classifier(tmp_path / "a.safetensors", weights, network, preprocess, ("a", "b", "c"), background=0.2)
    engine.ask("load", path=str(tmp_path / "a.safetensors"), wasm=True)
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8)
    picture[..., 3] = 255
    answer = engine.ask("picture", values=encoded(picture), height=37, width=53, invert=False)
    seen = decoded(answer["seen"]).reshape(answer["shape"])
    maps_network, rectified = until_class_maps(network)
    maps = reference.forward(maps_network, weights, reference_images.preprocess(seen[None], preprocess))[0]
    np.testing.assert_allclose(np.array(answer["maps"]["values"]).reshape(maps.shape), maps, rtol=0, atol=1e-4)
    means = (np.maximum(maps, 0) if rectified else maps).mean(axis=(1, 2))
    np.testing.assert_allclose(answer["logits"], means, rtol=0, atol=1e-5 * max(1, np.abs(means).max()))
    grid, size = class_map_grid(network), (28, 28)
    if source is None or source[0] == source[1]:
        rows, columns = positions_on_image(grid, maps.shape[1:], input_size=size, image_size=(37, 53), fit=fit)
    else:  # resized to the source size first, whose square was then cut out or padded
        rows, columns = positions_on_image(grid, maps.shape[1:], input_size=size, image_size=source, fit=fit)
        rows, columns = rows * 37 / source[0], columns * 53 / source[1]
    np.testing.assert_allclose(answer["maps"]["rows"], rows)
    np.testing.assert_allclose(answer["maps"]["columns"], columns)


def test_networks_without_class_maps_have_none(engine, tmp_path):
    network, preprocess = square(create_model("lenet"), 28)
    with pytest.raises(NetworkError):
        until_class_maps(network)
    write_classifier(
        tmp_path / "a.safetensors", random_weights(network, dtype=np.float32), network, preprocess, classes_of(network)
    )
    engine.ask("load", path=str(tmp_path / "a.safetensors"), wasm=True)
    picture = np.zeros((5, 4, 4), np.uint8)
    assert engine.ask("picture", values=encoded(picture), height=5, width=4, invert=False)["maps"] is None


def test_damaged_weights_are_reported(engine, tmp_path):
    network, preprocess = square(create_model("nin_tiny"), 28)
    weights = random_weights(network, dtype=np.float32)
    weights["block1.conv.weight"][0, 0, 0, 0] = np.nan
    write_classifier(tmp_path / "a.safetensors", weights, network, preprocess, classes_of(network))
    engine.ask("load", path=str(tmp_path / "a.safetensors"), wasm=True)
    with pytest.raises(ValueError, match="not finite"):
        ask_images(engine, np.zeros((1, 28, 28, 1), np.uint8))


@pytest.mark.parametrize("length", [100, 5000, -1])
def test_a_shortened_file_is_refused(engine, tmp_path, length):
    network, preprocess = square(create_model("nin_tiny"), 28)
    path = tmp_path / "a.safetensors"
    write_classifier(path, random_weights(network, dtype=np.float32), network, preprocess, classes_of(network))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="not complete"):
        engine.ask("load", path=str(path), wasm=False)


def test_memory_does_not_grow(engine, tmp_path):
    network, preprocess = square(create_model("nin_tiny"), 28)
    write_classifier(
        tmp_path / "a.safetensors", random_weights(network, dtype=np.float32), network, preprocess, classes_of(network)
    )
    engine.ask("load", path=str(tmp_path / "a.safetensors"), wasm=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    request = {"values": encoded(images), "height": 28, "width": 28, "channels": 1, "repeat": 50}
    before = engine.ask("images", **request)["bytes"]
    assert engine.ask("images", **request)["bytes"] < before + 5_000_000
