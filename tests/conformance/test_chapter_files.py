"""The chapter's own networks in TensorFlow and MXNet, and the files of these frameworks in both directions.

Each file that we write is loaded by the framework's own strict loader, and each that the framework writes is read.
"""

import numpy as np
import pytest

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, Linear, ReLU, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.backends import reference
from mlpconv.convert import read_weights, write_weights
from mlpconv.errors import MissingDependency, WeightsError
from mlpconv.models import create_model
from support import chapter_other_frameworks as chapters
from support.random_values import random_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own, in saving.
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

TOLERANCE = 1e-5
"""The greatest difference of logits, in float32 of the same framework, relative to the largest."""


def only(backend_name, *names):
    if backend_name not in names:
        pytest.skip(f"{backend_name} has other files")


def images(network):
    return np.random.default_rng(6).random((2, *network.input_shape), np.float32)


def same(found, expected):
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def assert_close(found, expected):
    assert expected.std() > 0, "logits without differences show nothing"
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


KERAS = {
    "nin": chapters.keras_edition_nin,
    "nin, activations as layers": chapters.keras_nin,
    "lenet": chapters.keras_lenet,
}


@pytest.mark.parametrize("edition", KERAS)
@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_keras_loads_our_weights_into_the_chapters_network(backend, backend_name, edition, ending, tmp_path):
    only(backend_name, "tensorflow", "jax")
    network, net = create_model(edition.partition(",")[0]), KERAS[edition]()
    weights, x = random_weights(network, dtype=np.float32), images(network)
    expected = np.asarray(backend.native(network, weights)(x.transpose(0, 2, 3, 1), training=False))
    write_weights(tmp_path / f"net{ending}", network, weights, names="chapter")
    net.load_weights(tmp_path / f"net{ending}")  # strict: a missing or unknown variable is an error
    assert_close(np.asarray(net(x.transpose(0, 2, 3, 1), training=False)), expected)
    same(read_weights(network, tmp_path / f"net{ending}"), weights)


def test_a_keras_model_of_ours_is_nested_as_the_chapters(backend, backend_name, tmp_path):
    only(backend_name, "tensorflow", "jax")
    import keras

    network = create_model("nin")
    write_weights(tmp_path / "net.keras", network, random_weights(network, dtype=np.float32), names="chapter")
    ours, theirs = keras.models.load_model(tmp_path / "net.keras"), chapters.keras_edition_nin()

    def structure(model):
        return [
            (type(layer).__name__, structure(layer) if hasattr(layer, "layers") else layer.output.shape)
            for layer in model.layers
        ]

    assert structure(ours) == structure(theirs)
    assert ours.layers[0].layers[0].activation.__name__ == "relu"


def test_a_padding_that_keras_does_not_have_is_named(backend, backend_name, tmp_path):
    only(backend_name, "tensorflow", "jax")
    network = create_model("alexnet")
    with pytest.raises(WeightsError, match=r"net\.keras: conv1: a padding of \(1, 1\) at a stride of \(4, 4\)"):
        write_weights(tmp_path / "net.keras", network, random_weights(network, dtype=np.float32), names="chapter")
    network = create_model("nin_cifar10")
    with pytest.raises(WeightsError, match=r"net\.keras: pool1: .* no pooling with padding"):
        write_weights(tmp_path / "net.keras", network, random_weights(network, dtype=np.float32), names="chapter")


DEPTHWISE = Network(
    Block(
        conv=Conv2d(4, 1), relu=ReLU6(), mlp1=Conv2d(4, 3, padding=1, bias=False, depthwise=True), norm=BatchNorm2d()
    ),
    Block(conv=Conv2d(4, 3, stride=2, depthwise=True), relu=ReLU()),
    Flatten(),
    Linear(3),
    input_channels=2,
    input_size=9,
)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("names", ["mlpconv", "chapter"])
def test_depthwise_kernels_are_those_of_keras(backend, backend_name, names, ending, tmp_path):
    only(backend_name, "tensorflow", "jax")
    import keras

    weights, x = random_weights(DEPTHWISE, dtype=np.float32), 9 * images(DEPTHWISE)
    expected = np.asarray(backend.native(DEPTHWISE, weights)(x.transpose(0, 2, 3, 1), training=False))
    write_weights(tmp_path / "net.keras", DEPTHWISE, weights, names=names)
    net = keras.models.load_model(tmp_path / "net.keras")
    assert_close(np.asarray(net(x.transpose(0, 2, 3, 1), training=False)), expected)
    kinds = [type(layer).__name__ for layer in net.layers] + [type(layer).__name__ for layer in net.layers[0].layers]
    assert "DepthwiseConv2D" in kinds
    path = tmp_path / f"theirs{ending}"
    net.save_weights(path) if ending == ".weights.h5" else net.save(path)
    same(read_weights(DEPTHWISE, path), weights)


def test_different_strides_of_a_depthwise_convolution(backend, backend_name, tmp_path):
    only(backend_name, "tensorflow", "jax")
    network = Network(Conv2d(2, 3, stride=(4, 6), depthwise=True), Flatten(), input_channels=2, input_size=20)
    weights, x = random_weights(network, dtype=np.float32), images(network)
    found = backend.native(network, weights)(x.transpose(0, 2, 3, 1), training=False)
    assert_close(np.asarray(found), reference.forward(network, weights, x))
    with pytest.raises(WeightsError, match=r"conv1: a stride of \(4, 6\) is not the same in both directions"):
        write_weights(tmp_path / "net.keras", network, weights, names="chapter")


@pytest.mark.parametrize("names", ["mlpconv", "chapter", "collect-params"])
def test_gluon_files_of_depthwise_convolutions_are_read(backend, backend_name, names, tmp_path):
    only(backend_name, "mxnet")
    weights = random_weights(DEPTHWISE, dtype=np.float32)
    write_weights(tmp_path / "net.params", DEPTHWISE, weights, names=names)
    same(read_weights(DEPTHWISE, tmp_path / "net.params"), weights)
    if names == "mlpconv":
        native = backend.native(DEPTHWISE)
        native.load_parameters(str(tmp_path / "net.params"))
        import mxnet as mx

        x = 9 * images(DEPTHWISE)
        assert_close(native(mx.nd.array(x)).asnumpy(), reference.forward(DEPTHWISE, weights, x))


@pytest.mark.parametrize("edition", KERAS)
def test_a_whole_model_in_hdf5_is_read(backend, backend_name, edition, tmp_path):
    only(backend_name, "tensorflow", "jax")
    network, net = create_model(edition.partition(",")[0]), KERAS[edition]()
    weights = random_weights(network, dtype=np.float32)
    write_weights(tmp_path / "ours.weights.h5", network, weights, names="chapter")
    net.load_weights(tmp_path / "ours.weights.h5")
    net.save(tmp_path / "net.h5")
    (tmp_path / "net.h5").rename(tmp_path / "net.params")
    same(read_weights(network, tmp_path / "net.params"), weights)


@pytest.mark.parametrize(
    "how", ["checkpoint", "index", "directory", "export", "saved model", "keras 2", "keras 2 nested"]
)
def test_a_tensorflow_checkpoint_is_read(backend, backend_name, how, tmp_path):
    only(backend_name, "tensorflow")
    import tensorflow as tf

    network = create_model("nin")
    weights = random_weights(network, dtype=np.float32)
    net = chapters.keras_edition_nin()
    write_weights(tmp_path / "ours.weights.h5", network, weights, names="chapter")
    net.load_weights(tmp_path / "ours.weights.h5")
    net.compile("sgd", "mse")
    path = tmp_path / "saved"
    match how:
        case "checkpoint":
            tf.train.Checkpoint(net).write(str(path))
        case "index":
            tf.train.Checkpoint(model=net, step=tf.Variable(1)).write(str(path))
            path = tmp_path / "saved.index"
        case "directory":
            for _ in range(2):
                tf.train.Checkpoint(model=net).save(str(path / "ckpt"))
        case "export":
            net.export(path, verbose=False)
        case "saved model":
            tf.saved_model.save(net, str(path))
        case _:
            tf.train.Checkpoint(**keras_2_objects(net, how.endswith("nested"))).write(str(path))
    same(read_weights(network, path), weights)


@pytest.mark.parametrize("name", ["nin_28", "lenet"])
@pytest.mark.parametrize("how", ["checkpoint", "export", "saved model"])
def test_a_tensorflow_checkpoint_of_our_own_model_is_read(backend, backend_name, name, how, tmp_path):
    only(backend_name, "tensorflow")
    import tensorflow as tf

    network = create_model(name)
    weights = random_weights(network, dtype=np.float32)
    model = backend.native(network, weights)
    match how:
        case "checkpoint":
            tf.train.Checkpoint(model).write(str(tmp_path / "saved"))
        case "export":
            model.export(tmp_path / "saved", verbose=False)
        case _:
            tf.saved_model.save(model, str(tmp_path / "saved"))
    same(read_weights(network, tmp_path / "saved"), weights)


def keras_2_objects(net, nested):
    """The objects that Keras 2 saves of a model, as far as weights are concerned."""
    import tensorflow as tf

    def saved(layer):
        return tf.train.Checkpoint(kernel=tf.Variable(layer.kernel.value), bias=tf.Variable(layer.bias.value))

    blocks = [[saved(layer) for layer in block.layers] for block in net.layers if hasattr(block, "layers")]

    def numbered(parts):
        return {f"layer_with_weights-{index}": part for index, part in enumerate(parts)}

    if nested:
        return numbered([tf.train.Checkpoint(**numbered(block)) for block in blocks])
    return numbered([layer for block in blocks for layer in block])


def test_parts_of_a_checkpoint_are_named(backend, backend_name, tmp_path):
    only(backend_name, "tensorflow")
    import tensorflow as tf

    network = create_model("lenet")
    tf.train.Checkpoint(step=tf.Variable(1.0)).write(str(tmp_path / "saved"))
    with pytest.raises(WeightsError, match="contains no kernels and biases"):
        read_weights(network, tmp_path / "saved")
    with pytest.raises(WeightsError, match=r"one part of a TensorFlow checkpoint; give the name up to '\.data'"):
        read_weights(network, tmp_path / "saved.data-00000-of-00001")
    (tmp_path / "saved.index").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged, or not a TensorFlow checkpoint"):
        read_weights(network, tmp_path / "saved")


@pytest.mark.parametrize("name", ["nin", "lenet"])
def test_gluon_loads_our_weights_into_the_chapters_network(backend, backend_name, name, tmp_path):
    only(backend_name, "mxnet")
    import mxnet as mx

    network = create_model(name)
    weights, x = random_weights(network, dtype=np.float32), images(network)
    expected = backend.native(network, weights)(mx.nd.array(x)).asnumpy()
    write_weights(tmp_path / "net.params", network, weights, names="chapter")
    write_weights(tmp_path / "collected.params", network, weights, names="collect-params")
    for load in ("load_parameters", "collect_params"):
        with mx.name.NameManager():  # as in a new process, where names start with conv0
            net = getattr(chapters, f"gluon_{name}")()
        if load == "load_parameters":
            net.load_parameters(str(tmp_path / "net.params"))
        else:
            net.collect_params().load(str(tmp_path / "collected.params"))
        assert_close(net(mx.nd.array(x)).asnumpy(), expected)
    first = "0.0" if name == "nin" else "0"
    assert list(mx.nd.load(str(tmp_path / "net.params")))[:2] == [f"{first}.weight", f"{first}.bias"]
    for path in ("net.params", "collected.params"):
        same(read_weights(network, tmp_path / path), weights)


@pytest.mark.parametrize("name", ["nin", "lenet"])
def test_what_collect_params_saved_is_read(backend, backend_name, name, tmp_path):
    only(backend_name, "mxnet")
    import mxnet as mx

    network = create_model(name)
    net, x = getattr(chapters, f"gluon_{name}")(), images(network)
    net.collect_params().save(str(tmp_path / "net.params"))
    weights = read_weights(network, tmp_path / "net.params")
    expected = net(mx.nd.array(x)).asnumpy()
    assert_close(backend.native(network, weights)(mx.nd.array(x)).asnumpy(), expected)


def test_our_own_block_exported_is_read(backend, backend_name, tmp_path):
    only(backend_name, "mxnet")
    import mxnet as mx

    network = create_model("nin_28")
    weights = random_weights(network, dtype=np.float32)
    native = backend.native(network, weights)
    native.hybridize()
    native(mx.nd.array(images(network)))
    native.export(str(tmp_path / "net"))
    same(read_weights(network, tmp_path / "net-0000.params"), weights)
    with pytest.raises(WeightsError, match=r"a text file \(JSON\)"):
        read_weights(network, tmp_path / "net-symbol.json")


def test_layers_in_another_order_than_they_were_created_are_refused(backend, backend_name, tmp_path):
    only(backend_name, "mxnet")
    import mxnet as mx
    from mxnet.gluon import nn

    net = nn.Sequential()
    second, first = nn.Conv2D(4, 1), nn.Conv2D(4, 3)
    net.add(first, second, nn.GlobalAvgPool2D(), nn.Flatten())
    net.initialize()
    net(mx.nd.zeros((1, 1, 8, 8)))
    net.collect_params().save(str(tmp_path / "net.params"))
    with pytest.raises(WeightsError, match="the order of the layers is uncertain; save the file again"):
        read_weights(create_model("lenet"), tmp_path / "net.params")


def test_a_checkpoint_without_tensorflow_names_the_package(backend_name, tmp_path, monkeypatch):
    only(backend_name, "torch", "mxnet", "jax")
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    (tmp_path / "saved.index").write_bytes(b"")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")
    for name in ("saved", "saved.index", "model"):
        with pytest.raises(MissingDependency, match=r'needs TensorFlow, .*pip install "mlpconv\[tensorflow\]"'):
            read_weights(create_model("lenet"), tmp_path / name)
