"""HDF5 files of Keras 2, written here as Keras 2 writes them, and those that Keras 3 itself writes in that form."""

import numpy as np
import pytest

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.backends.common.channels_last import to_channels_last
from mlpconv.convert import read_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model
from support.random_values import random_weights

h5py = pytest.importorskip("h5py")

NETWORK = Network(
    Block(conv=Conv2d(4, 3, bias=False), norm=BatchNorm2d(), relu=ReLU()),
    Block(conv=Conv2d(3, 1), relu=ReLU(), mlp1=Conv2d(3, 1)),
    Block(conv=Conv2d(3, 3, padding=1, bias=False, depthwise=True), relu=ReLU6(), mlp1=Conv2d(1, 3, padding=1)),
    Flatten(),
    Dropout(0.5),
    Linear(5),
    input_size=6,
)
VARIABLES = {4: ("kernel", "bias"), 2: ("kernel", "bias"), 1: ("gamma", "beta", "moving_mean", "moving_variance")}
TYPES = {4: "conv2d", 2: "dense", 1: "batch_normalization"}


def write_keras_2(path, network, weights, *, whole=True, pieces=False, own_names=False):
    """Blocks are nested models, whose variables are all in one group; layers without weights are listed, too."""
    groups, counts, layers = {}, {}, dict(network.walk())
    for name, parts in to_channels_last(network, weights).items():
        first = next(iter(parts.values()))
        kind, names = TYPES[first.ndim], VARIABLES[first.ndim]
        if getattr(layers[name], "depthwise", False):
            kind, names = "depthwise_conv2d", ("depthwise_kernel", "bias")
        counts[kind] = counts.get(kind, -1) + 1
        layer = f"{kind}_{counts[kind]}" if counts[kind] else kind
        layer = name if own_names else layer
        group = name.partition(".")[0].replace("block", "sequential_") if "." in name else layer
        for variable, value in zip(names, parts.values(), strict=False):
            groups.setdefault(group, {})[f"{layer}/{variable}:0"] = value
    # Keras lists the trainable variables of a nested model first.
    for group, variables in groups.items():
        groups[group] = dict(sorted(variables.items(), key=lambda item: "moving" in item[0]))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = b'{"class_name": "Sequential"}'
        groups = {"flatten": {}, **dict(reversed(groups.items()))}
        names = ["flatten", *reversed([name for name in groups if name != "flatten"])]
        root.attrs["layer_names"] = [name.encode() for name in names]
        root.attrs["backend"] = b"tensorflow"
        for name, variables in groups.items():
            group = root.create_group(name)
            listed = [variable.encode() for variable in variables]
            if pieces:
                for index in range(0, len(listed), 2):
                    group.attrs[f"weight_names{index // 2}"] = listed[index : index + 2]
            else:
                group.attrs["weight_names"] = listed
            for variable, value in variables.items():
                group.create_dataset(variable, data=value)


@pytest.mark.parametrize("network", [NETWORK, create_model("nin"), create_model("lenet")], ids=["own", "nin", "lenet"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("pieces", [True, False])
def test_a_file_of_keras_2_is_read(network, whole, pieces, tmp_path):
    weights = random_weights(network, dtype=np.float32)
    write_keras_2(tmp_path / "weights", network, weights, whole=whole, pieces=pieces)
    found = read_weights(network, tmp_path / "weights")
    assert list(found) == list(weights)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_a_depthwise_kernel_is_recognized_by_its_shape(tmp_path):
    weights = random_weights(NETWORK, dtype=np.float32)
    write_keras_2(tmp_path / "net.h5", NETWORK, weights)
    found = read_weights(NETWORK, tmp_path / "net.h5", by_shape=True)
    # The two 1×1 convolutions have the same shapes, and numbers in their names.
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_layers_with_the_names_of_the_network_are_matched_by_name(tmp_path):
    network = create_model("lenet")  # in which fc1 follows a flatten, which Keras does in another order
    weights = random_weights(network, dtype=np.float32)
    write_keras_2(tmp_path / "net.h5", network, weights, own_names=True)
    found = read_weights(network, tmp_path / "net.h5")
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_a_variable_that_is_unknown_is_named(tmp_path):
    write_keras_2(tmp_path / "net.h5", NETWORK, random_weights(NETWORK))
    with h5py.File(tmp_path / "net.h5", "a") as file:
        file["model_weights/flatten"].attrs["weight_names"] = [b"sep/pointwise_kernel:0"]
    with pytest.raises(WeightsError, match=r"contains 'sep/pointwise_kernel:0', which no layer"):
        read_weights(NETWORK, tmp_path / "net.h5")


@pytest.mark.parametrize("cut", [10, 600, -100])
def test_a_damaged_file_of_keras_2_is_refused(cut, tmp_path):
    write_keras_2(tmp_path / "net.h5", NETWORK, random_weights(NETWORK))
    (tmp_path / "net.h5").write_bytes((tmp_path / "net.h5").read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"net\.h5: damaged, or not written by Keras"):
        read_weights(NETWORK, tmp_path / "net.h5")


def test_hdf5_without_layers_is_refused(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros((2, 3))
    with pytest.raises(WeightsError, match="contains no layers with weights"):
        read_weights(NETWORK, tmp_path / "data.h5")


def without_data(group, name):
    group.create_dataset(name, (1 << 34,), np.float32)


def compressed(group, name):
    group.create_dataset(name, data=np.zeros((3, 3, 1, 4), np.float32), compression="gzip")


def in_another_file(group, name):
    group.create_dataset(name, (3, 3, 1, 4), np.float32, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def virtual(group, name):
    layout = h5py.VirtualLayout((3, 3, 1, 4), np.float32)
    layout[...] = h5py.VirtualSource("/dev/zero", "x", (3, 3, 1, 4))
    group.create_virtual_dataset(name, layout)


def linked(group, name):
    group[name] = h5py.ExternalLink("other.h5", "x")


def of_texts(group, name):
    group.create_dataset(name, data=["a"] * 4)


def without_values(group, name):
    group.create_dataset(name, data=h5py.Empty("f"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_data, r"has arrays of 68,719,\d{3},\d{3} bytes, and the weights of "),
        (compressed, "is compressed, or in another file"),
        (in_another_file, "is compressed, or in another file"),
        (virtual, "is compressed, or in another file"),
        (linked, "is missing, or a link to another place"),
        (of_texts, "is not an array of numbers"),
        (without_values, "is not an array of numbers"),
    ],
)
def test_a_dataset_that_keras_does_not_write_is_refused_unread(make, message, tmp_path):
    write_keras_2(tmp_path / "net.h5", NETWORK, random_weights(NETWORK))
    with h5py.File(tmp_path / "net.h5", "a") as file:
        group = file["model_weights/sequential_1"]
        name = group.attrs["weight_names"][0]
        del group[name]
        make(group, name)
    with pytest.raises(WeightsError, match=message):
        read_weights(NETWORK, tmp_path / "net.h5")


def test_many_long_texts_are_refused_unread(tmp_path):
    write_keras_2(tmp_path / "net.h5", NETWORK, random_weights(NETWORK))
    with h5py.File(tmp_path / "net.h5", "a") as file:
        file["model_weights"].attrs["layer_names"] = ["x" * 1000] * 3000
    with pytest.raises(WeightsError, match=r"has arrays of [\d,]+ bytes, and the weights of"):
        read_weights(NETWORK, tmp_path / "net.h5")
