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

from mlpconv.arch.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Sigmoid
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
