"""The ONNX graph computes what the network computes, and its preprocessing what ``predict`` does with a file."""

import io
import json
from ast import literal_eval
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpconv.arch.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU6, Sigmoid
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import FITS, Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.reference import images as reference_images
from mlpconv.backends.reference import layers as reference
from mlpconv.data.image import decode
from mlpconv.errors import NetworkError
from mlpconv.models import create_model, list_models
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.training.metrics import softmax
from support.random_values import random_weights

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from mlpconv.export.onnx_file import onnx_model  # noqa: E402  (needs onnx)
from mlpconv.export.onnx_graph.graph import Graph  # noqa: E402
from mlpconv.export.onnx_graph.resizing import add_8_bit_resize  # noqa: E402

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
SMALL = {"nin": 67, "nin_imagenet": 67, "alexnet": 67, "vgg11": 32, "nin11": 67, "nin16": 67, "nin19": 67}
"""Image sizes for the networks of large images, with which they are computed quickly."""


def stored(network, preprocess):
    names = tuple(f"class {label}" for label in range(num_classes(network)))
    return StoredClassifier(Path("a"), network, preprocess, names, random_weights(network, dtype=np.float32))


def session(model):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model, images):
    """The outputs of a model by name."""
    opened = session(model)
    return dict(zip([each.name for each in opened.get_outputs()], opened.run(None, {"images": images}), strict=True))


def expected(classifier, images):
    """The logits of images as a file that contains them would give."""
    preprocess = classifier.preprocess
    side = (preprocess.size, preprocess.size)
    preprocess = msgspec.structs.replace(preprocess, source_size=preprocess.source_size or side)
    mode = MODES[images.shape[3]]
    pixels = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if mode == "L" else image, mode).save(file, "PNG")
        file.seek(0)
        pixels.append(decode(file, preprocess, "test"))
    x = reference_images.preprocess(np.stack(pixels), preprocess)
    return reference.forward(classifier.network, classifier.weights, x)


@pytest.mark.parametrize("name", list_models())
def test_every_network_gives_the_same_outputs(name):
    network = create_model(name)
    side = SMALL.get(name, network.input_size[0])
    network = network.replace(input_size=(side, side))
    channels = network.input_channels
    mean, std = (0.4, 0.5, 0.3)[:channels], (0.3, 0.2, 0.25)[:channels]
    preprocess = Preprocess.of_channels(side, channels, source_size=(24, 24), mean=mean, std=std)
    classifier = stored(network, preprocess)
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, channels), np.uint8)
    x = reference_images.preprocess(images, preprocess)
    logits = reference.forward(network, classifier.weights, x)
    outputs = run(onnx_model(classifier), images)
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-5)
    assert np.abs(outputs["probabilities"] - softmax(logits)).max() < 1e-5
    try:
        maps = reference.class_maps(network, classifier.weights, x)
    except NetworkError:
        assert "class_maps" not in outputs
    else:
        np.testing.assert_allclose(outputs["class_maps"], maps, rtol=1e-4, atol=1e-5)


@st.composite
def pictures(draw):
    """One or two images of one size, gray or RGB, with or without alpha."""
    sides = st.integers(1, 70)
    height, width = draw(sides), draw(sides)
    height, width = draw(st.sampled_from([(height, width), (height, height), (20, 14), (16, 16)]))
    shape = (draw(st.integers(1, 2)), height, width, draw(st.sampled_from(list(MODES))))
    return np.random.default_rng(draw(st.integers(0, 1000))).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("source", [None, (16, 16), (20, 14), (13, 21)], ids=str)
@pytest.mark.parametrize("fit", FITS)
def test_pictures_are_preprocessed_as_predict_does(fit, source, mode):
    preprocess = Preprocess.of_channels(16, len(mode), source_size=source, fit=fit)
    # A network that passes its input on, so that every pixel counts.
    network = Network(Flatten(), input_channels=len(mode), input_size=(16, 16))
    classifier = stored(network, preprocess)
    opened = session(onnx_model(classifier))

    @settings(max_examples=12, deadline=None, database=None)
    @given(pictures())
    def check(images):
        logits = opened.run(["logits"], {"images": images})[0]
        np.testing.assert_allclose(logits, expected(classifier, images), atol=1e-6)

    check()


def resize_session(channels, height, width):
    graph = Graph()
    out = add_8_bit_resize(graph, "images", channels, (height, width))
    described = [("images", "uint8", ("n", channels, "h", "w"))], [(out, "uint8", ("n", channels, None, None))]
    opsets = [onnx.helper.make_opsetid("", 18)]
    return session(onnx.helper.make_model(graph.finish("resize", *described), opset_imports=opsets, ir_version=8))


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 300)] * 2), st.tuples(*[st.integers(1, 60)] * 2), st.integers(0, 1000))
def test_the_8_bit_resize_is_pillows_bit_for_bit(before, after, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 1, *before), np.uint8)
    resized = resize_session(1, *after).run(None, {"images": pixels})[0]
    np.testing.assert_array_equal(
        resized[0, 0], Image.fromarray(pixels[0, 0]).resize(after[::-1], Image.Resampling.BILINEAR)
    )


def test_a_large_photo_is_resized_as_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 1500, 2300), np.uint8)
    resized = resize_session(3, 64, 64).run(None, {"images": pixels})[0]
    image = Image.fromarray(pixels[0].transpose(1, 2, 0)).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized[0].transpose(1, 2, 0), image)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [9, 16, 40])
def test_the_input_is_resized_as_in_the_reference(size, antialias):
    preprocess = Preprocess.of_channels(size, 3, source_size=(16, 16), antialias=antialias, mean=(0.1, 0.5, 0.9))
    classifier = stored(Network(Flatten(), input_channels=3, input_size=(size, size)), preprocess)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(run(onnx_model(classifier), images)["logits"], expected(classifier, images), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        MaxPool2d(3, stride=2, ceil_mode=True),
        MaxPool2d(2, stride=2, padding=1, ceil_mode=True),
        AvgPool2d(3, stride=2, padding=1),
        AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        AvgPool2d((3, 2), stride=(3, 2), ceil_mode=True),
        AvgPool2d(2, stride=2, padding=1, ceil_mode=True),
        Conv2d(2, (3, 1), stride=(2, 1), padding=(1, 0), bias=False),
        Conv2d(1, 3, depthwise=True),
        Sigmoid(),
    ],
    ids=repr,
)
def test_layers_with_all_their_settings(layer):
    network = Network(layer, Flatten(), Linear(3, bias=False), input_channels=1, input_size=(12, 12))
    classifier = stored(network, Preprocess.of_channels(12, 1, mean=(0.5,)))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 1), np.uint8)
    np.testing.assert_allclose(run(onnx_model(classifier), images)["logits"], expected(classifier, images), atol=1e-5)


def test_the_names_of_layers_and_weights_are_kept():
    network = create_model("nin_tiny")
    classifier = stored(network, Preprocess(28))
    graph = onnx_model(classifier).graph
    layers = [name for name, layer in network.walk() if not layer.traits.identity_in_evaluation]
    assert [node.name for node in graph.node if node.name in layers] == layers
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for name, value in classifier.weights.items():
        np.testing.assert_array_equal(values[name], value)


def test_class_names_are_metadata_in_two_forms():
    names = ("a'b", 'quoted "c"', "\n", "日本", "}")
    network = create_model("nin_tiny", len(names))
    classifier = stored(network, Preprocess(28))._replace(class_names=names)
    texts = {each.key: each.value for each in onnx_model(classifier, {"accuracy": 0.5, "source": "x"}).metadata_props}
    assert tuple(json.loads(texts["class_names"])) == names
    assert literal_eval(texts["names"]) == dict(enumerate(names))
    assert (texts["accuracy"], texts["source"]) == ("0.5", "x")


def test_images_with_five_channels_are_refused():
    opened = session(onnx_model(stored(create_model("nin_tiny"), Preprocess(28))))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        opened.run(None, {"images": np.zeros((1, 28, 28, 5), np.uint8)})


def test_depthwise_convolutions_and_relu6():
    layers = (Conv2d(4, 3, padding=1), ReLU6(), Conv2d(4, (3, 5), (2, 1), (1, 2), depthwise=True), ReLU6())
    network = Network(*layers, Flatten(), Linear(3), input_channels=3, input_size=(12, 12))
    classifier = stored(network, Preprocess.of_channels(12, 3, mean=(0.5,) * 3, std=(0.05,) * 3))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    x = reference_images.preprocess(images, classifier.preprocess)
    assert reference.activations(network, classifier.weights, x)["relu1"].max() == 6
    np.testing.assert_allclose(run(onnx_model(classifier), images)["logits"], expected(classifier, images), atol=1e-5)
