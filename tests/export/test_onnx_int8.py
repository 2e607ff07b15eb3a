"""ONNX models in int8: what changes, which method is kept, and the limit of the accuracy."""

import numpy as np
import pytest

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.reference.layers import forward
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import MlpconvError
from mlpconv.models import create_model, list_models
from mlpconv.runs.classifier_file import read_classifier, write_classifier
from support.random_values import random_input, random_weights

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from mlpconv.export import onnx_int8  # noqa: E402  (needs onnx)
from mlpconv.export.onnx_file import export_onnx  # noqa: E402
from mlpconv.export.onnx_int8 import METHODS, quantize, without_normalization  # noqa: E402
from mlpconv.inference.classifier import Classifier  # noqa: E402

NAMES = ("a", "b", "c")
NORMALIZED = [
    name for name in list_models() if any(isinstance(layer, BatchNorm2d) for _, layer in create_model(name).walk())
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "a.safetensors"
    network = create_model("nin_tiny", len(NAMES))
    write_classifier(path, random_weights(network, dtype=np.float32), network, Preprocess(28), NAMES)
    return path


def dataset(classifier, count, seed):
    """Images with the classes that the network itself predicts."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28, 1), np.uint8)
    labels = Classifier(classifier, precision="float32").logits(images).argmax(1)
    return ImageDataset(images, labels.astype(np.int64), NAMES, "test")


@pytest.fixture(scope="module")
def quantized(classifier):
    exported, stored = export_onnx(classifier, labels=True), read_classifier(classifier)
    return exported, quantize(exported, stored, dataset(classifier, 40, 0), dataset(classifier, 30, 1), 1)


def test_the_result_is_close_to_float32_and_smaller(quantized, classifier, tmp_path):
    exported, made = quantized
    path = tmp_path / "b.onnx"
    path.write_bytes(made.content)
    images = dataset(classifier, 20, 2).images
    small, original = Classifier(path), Classifier(classifier, precision="float32")
    difference = np.abs(small.logits(images) - original.logits(images)).max()
    assert 0 < difference < 0.2
    assert len(made.content) < len(exported.content)
    assert (made.accuracy[0], made.images, set(made.milliseconds)) == (1.0, 30, {1, 64})
    assert made.method in METHODS
    assert small.stored.network == original.stored.network
    assert float(small.model.texts["int8_accuracy"]) == made.accuracy[1]


def test_weights_are_8_bits_per_channel(quantized):
    model = onnx.load_from_string(quantized[1].content)
    values = {each.name: each for each in model.graph.initializer}
    name = next(name for name in values if name.startswith("block1.conv.weight") and name.endswith("_quantized"))
    assert values[name].data_type == onnx.TensorProto.INT8
    scale = next(each for key, each in values.items() if key.startswith("block1.conv.weight") and "scale" in key)
    assert list(scale.dims) == [values[name].dims[0]]
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert [each.name for each in model.graph.output] == ["logits", "probabilities", "class_maps", "label"]


def test_the_method_that_is_closer_to_float32_is_kept(classifier, monkeypatch):
    made = []

    def one_is_bad(model, network, images, method, quantized=onnx_int8._quantized):
        made.append(method)
        return quantized(model, network, images // 50 if method == "MinMax" else images, method)

    monkeypatch.setattr(onnx_int8, "_quantized", one_is_bad)
    exported, stored = export_onnx(classifier), read_classifier(classifier)
    result = quantize(exported, stored, dataset(classifier, 40, 0), dataset(classifier, 10, 1), 1)
    assert (made, result.method) == (list(METHODS), "Percentile")


def test_a_larger_drop_is_refused(classifier, monkeypatch):
    exported, stored = export_onnx(classifier), read_classifier(classifier)
    monkeypatch.setattr(onnx_int8, "_quantized", lambda model, network, images, method: shuffled(model))
    with pytest.raises(MlpconvError, match=r"drops from 1\.0000 to .* by more than --max-drop 0\.005"):
        quantize(exported, stored, dataset(classifier, 20, 0), dataset(classifier, 30, 1), 0.005)


def shuffled(model):
    """A model that gives each class's values to the next one: the weights and biases of the last layer, moved on."""
    for each in model.graph.initializer:
        value = onnx.numpy_helper.to_array(each)
        if each.name.startswith("block") and value.ndim in (1, 4) and len(value) == len(NAMES):
            each.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(np.roll(value, 1, 0)), each.name))
    return model


def test_there_are_networks_with_normalization():
    assert NORMALIZED


@pytest.mark.parametrize("name", NORMALIZED)
def test_normalization_becomes_part_of_the_convolutions(name):
    network = create_model(name)
    network = network.replace(input_size=tuple(min(side, 67) for side in network.input_size))
    weights = random_weights(network, dtype=np.float32)
    folded, values = without_normalization(network, weights)
    assert not any(isinstance(layer, BatchNorm2d) for _, layer in folded.walk())
    x = random_input(network, 2)
    np.testing.assert_allclose(forward(folded, values, x), forward(network, weights, x), rtol=1e-4, atol=1e-4)


def test_the_processor_decides_whether_ranges_are_reduced(monkeypatch):
    from mlpconv import hardware

    for flags, expected in (({"sse2", "avx2"}, False), ({"sse2", "avx512_vnni"}, True), ({"asimd"}, True)):
        monkeypatch.setattr(hardware, "_flags", lambda flags=flags: flags)
        assert hardware.has_int8_dot_products() is expected


def test_normalization_becomes_part_of_a_depthwise_convolution():
    block = Block(conv=Conv2d(3, 3, bias=False, depthwise=True), norm=BatchNorm2d(), relu=ReLU6())
    network = Network(block, GlobalAvgPool2d(), Flatten(), input_channels=3, input_size=8)
    weights, x = random_weights(network, dtype=np.float32), random_input(network, 2)
    folded, values = without_normalization(network, weights)
    assert folded.layers["block1"] == Block(conv=Conv2d(3, 3, depthwise=True), relu=ReLU6())
    np.testing.assert_allclose(forward(folded, values, x), forward(network, weights, x), rtol=1e-4, atol=1e-4)
