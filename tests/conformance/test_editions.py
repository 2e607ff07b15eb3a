"""The chapter's code in each framework compared with ours.

It has the same parameters, and the weights that it saves give the same logits. Our networks are saved in files
of the framework and loaded from them.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpconv.arch.edition_output import edition_lines
from mlpconv.backends import reference
from mlpconv.convert import read_weights, write_weights
from mlpconv.models import create_model
from support import chapter_other_frameworks

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own, in saving.
    pytest.mark.filterwarnings(
        "ignore:(?s).*Cannot decide type:UserWarning"
    ),  # MXNet's own, in loading what it exported.
]


def compare(backend, network, weights, x, theirs):
    """Ours with their weights against what theirs gives for x (B, C, H, W)."""
    expected = reference.forward(network, weights, x)
    np.testing.assert_allclose(theirs, expected, atol=1e-4 * np.abs(expected).max())
    assert sum(value.size for value in weights.values()) == sum(
        v.size for v in backend_weights(backend, network, weights)
    )


def backend_weights(backend, network, weights):
    native = backend.native(network, weights=weights)
    if hasattr(native, "collect_params"):
        return [each.data() for each in native.collect_params().values()]
    return [np.asarray(each) for each in native.weights if "seed_generator" not in each.path]


def images(network):
    return np.random.default_rng(6).random((2, *network.input_shape), np.float32)


def only(backend_name, *names):
    if backend_name not in names:
        pytest.skip(f"{backend_name} has an edition of its own")


@pytest.mark.parametrize("name", ["nin", "lenet"])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_keras_networks_of_the_chapter_agree(backend, backend_name, tmp_path, name, ending):
    only(backend_name, "tensorflow", "jax")
    net, network = getattr(chapter_other_frameworks, f"keras_{name}")(), create_model(name)
    for variable in net.weights:  # biases are zero at the start
        if variable.path.endswith("bias"):
            variable.assign(np.random.default_rng(1).normal(0, 0.1, variable.shape))
    path = tmp_path / f"net{ending}"
    net.save(path) if ending == ".keras" else net.save_weights(path)
    weights = read_weights(network, path)
    x = images(network)
    compare(backend, network, weights, x, np.asarray(net(x.transpose(0, 2, 3, 1), training=False)))


@pytest.mark.parametrize("name", ["nin", "lenet"])
def test_gluon_networks_of_the_chapter_agree(backend, backend_name, tmp_path, name):
    only(backend_name, "mxnet")
    import mxnet as mx

    net, network = getattr(chapter_other_frameworks, f"gluon_{name}")(), create_model(name)
    net.save_parameters(str(tmp_path / "net.params"))
    weights = read_weights(network, tmp_path / "net.params")
    x = images(network)
    compare(backend, network, weights, x, net(mx.nd.array(x)).asnumpy())


def test_the_flax_network_of_the_chapter_agrees(backend, backend_name, tmp_path):
    only(backend_name, "jax")
    import flax
    import jax

    module, variables = chapter_other_frameworks.flax_nin()
    network = create_model("nin")
    (tmp_path / "net.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    weights = read_weights(network, tmp_path / "net.msgpack")
    assert sum(value.size for value in weights.values()) == sum(v.size for v in jax.tree.leaves(variables))
    x = images(network)
    compare(backend, network, weights, x, np.asarray(module.apply(variables, x.transpose(0, 2, 3, 1))))


@pytest.mark.parametrize("name", ["nin_28", "lenet"])
def test_the_framework_saves_and_loads_our_networks(backend, backend_name, tmp_path, name):
    from support.random_values import random_weights

    network = create_model(name)
    weights = random_weights(network, dtype=np.float32)
    x = images(network)
    expected = reference.forward(network, weights, x)
    native = backend.native(network, weights=weights)
    match backend_name:
        case "mxnet":
            import mxnet as mx

            native.save_parameters(str(tmp_path / "theirs.params"))
            found = read_weights(network, tmp_path / "theirs.params")
            write_weights(tmp_path / "ours.params", network, weights)
            other = backend.native(network)
            other.load_parameters(str(tmp_path / "ours.params"))
            other.hybridize()
            logits = other(mx.nd.array(x)).asnumpy()
            assert type(other).__module__.startswith("mxnet.")
            other.export(str(tmp_path / "net"))
            again = mx.gluon.SymbolBlock.imports(
                str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params")
            )
            np.testing.assert_allclose(again(mx.nd.array(x)).asnumpy(), logits, rtol=1e-5)
        case "torch":
            import torch

            torch.save(native.state_dict(), tmp_path / "theirs.pt")
            found = read_weights(network, tmp_path / "theirs.pt")
            write_weights(tmp_path / "ours.pt", network, weights)
            other = backend.native(network)
            other.load_state_dict(torch.load(tmp_path / "ours.pt"), strict=name == "lenet")
            logits = other.eval()(torch.from_numpy(x)).detach().numpy()
        case "tensorflow" | "jax":
            import keras

            native.save(tmp_path / "theirs.keras")
            found = read_weights(network, tmp_path / "theirs.keras")
            write_weights(tmp_path / "ours.keras", network, weights)
            other = keras.models.load_model(tmp_path / "ours.keras")
            logits = np.asarray(other(x.transpose(0, 2, 3, 1), training=False))
        case _:
            pytest.skip(f"mlpconv reads and writes no file format of {backend_name}")
    assert list(found) == list(weights)
    assert all(np.array_equal(found[key], weights[key]) for key in weights)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_gluon_prints_a_summary_of_our_network(backend, backend_name, capsys):
    only(backend_name, "mxnet")
    import mxnet as mx

    native = backend.native(create_model("nin"))
    native.initialize()
    native.summary(mx.nd.zeros((1, 1, 224, 224)))
    said = capsys.readouterr().out
    assert "Total params: 1992166" in said


def test_the_edition_prints_the_lines_of_summary(backend, backend_name):
    """In a separate process, as Gluon numbers the layers of a process."""
    only(backend_name, "tensorflow", "mxnet")
    if backend_name == "mxnet":
        loop = """
import mxnet as mx
net = chapter_other_frameworks.gluon_nin()
x = mx.nd.random.uniform(shape=(1, 1, 224, 224))
for layer in net:
    x = layer(x)
    print(layer.name, "output shape:\\t", x.shape)
"""
    else:
        loop = """
import tensorflow as tf
x = tf.random.uniform((1, 224, 224, 1))
for layer in chapter_other_frameworks.keras_nin().layers:
    x = layer(x)
    print(layer.__class__.__name__, "output shape:\\t", x.shape)
"""
    code = "from support import chapter_other_frameworks\n" + loop
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    expected = edition_lines(create_model("nin"), backend_name)
    # The chapter's network here has no Reshape, which the edition undoes with Flatten.
    assert printed == [line for line in expected if not line.startswith("Reshape")]
