"""Files of Gluon and Flax, written here byte by byte; tests/conformance reads those of the frameworks themselves."""

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.convert import FORMATS, WRITTEN_SUFFIXES, describe_formats, read_weights, write_weights
from mlpconv.errors import MissingDependency, WeightsError
from mlpconv.models import create_model
from support.damaged_files import cut_or_changed
from support.random_values import random_weights

NETWORK = Network(
    Block(conv=Conv2d(4, 3, bias=False), norm=BatchNorm2d(), relu=ReLU()),
    Conv2d(3, 1),
    Conv2d(3, 3, padding=1, depthwise=True),
    Flatten(),
    Linear(5),
    input_size=6,
)
WEIGHTS = random_weights(NETWORK, dtype=np.float32)


def same(found, expected=WEIGHTS):
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", WRITTEN_SUFFIXES)
def test_written_weights_are_read_back(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    try:
        write_weights(path, NETWORK, WEIGHTS)
    except MissingDependency as error:
        pytest.skip(str(error))  # Keras writes its own files; tests/conformance tests them where it is installed
    same(read_weights(NETWORK, path))


def test_gluon_files_name_normalization_weights_gamma_and_beta(tmp_path):
    write_weights(tmp_path / "net.params", NETWORK, WEIGHTS)
    content = (tmp_path / "net.params").read_bytes()
    assert b"block1.norm.gamma" in content
    assert b"block1.norm.running_var" in content
    assert b"block1.norm.weight" not in content


@pytest.mark.parametrize("cut", [7, 16, 30, 200, -3])
def test_a_damaged_gluon_file_is_refused(tmp_path, cut):
    path = tmp_path / "net.params"
    write_weights(path, NETWORK, WEIGHTS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"net\.params: damaged, .*save_parameters"):
        read_weights(NETWORK, path)


def test_a_gluon_file_that_declares_more_than_it_contains_is_refused(tmp_path):
    path = tmp_path / "net.params"
    write_weights(path, NETWORK, WEIGHTS)
    content = bytearray(path.read_bytes())
    struct.pack_into("<q", content, 24 + 12, 2**40)  # the first side of the first array
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="truncated"):
        read_weights(NETWORK, path)


def flax_file(path, tree):
    def plain(value):
        if isinstance(value, np.ndarray):
            held = msgspec.msgpack.encode((value.shape, value.dtype.name, value.tobytes()))
            return msgspec.msgpack.Ext(1, held)
        return value

    path.write_bytes(msgspec.msgpack.encode(tree, enc_hook=plain))


def last(value):
    """A canonical weight with channels last."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def flax_tree(network, weights):
    """The variables of a Flax Sequential whose flatten is of (H, W, C)."""
    layers, norms = {}, {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        index = [key for key, _ in network.walk()].index(layer)
        if part.startswith("running"):
            norms.setdefault(f"layers_{index}", {})[part.removeprefix("running_")] = value
            continue
        kind = "kernel" if value.ndim > 1 else "scale" if part == "weight" else "bias"
        if value.ndim == 2:
            value = value.reshape(len(value), 3, 4, 4).transpose(0, 2, 3, 1).reshape(value.shape)
        layers.setdefault(f"layers_{index}", {})[kind] = last(value) if part == "weight" else value
    return {"params": {"net": layers}, "batch_stats": {"net": norms}}


def test_a_flax_tree_is_read_in_the_order_of_its_numbers(tmp_path):
    flax_file(tmp_path / "net.msgpack", flax_tree(NETWORK, WEIGHTS))
    same(read_weights(NETWORK, tmp_path / "net.msgpack"))


def test_a_flax_tree_of_another_network_is_refused(tmp_path):
    flax_file(tmp_path / "net.msgpack", flax_tree(NETWORK, WEIGHTS))
    with pytest.raises(WeightsError, match="belong to another network: expected 12 Conv2d layers, received 3"):
        read_weights(create_model("nin"), tmp_path / "net.msgpack")


@pytest.mark.parametrize("content", [b"\xc1", b"\x93\x01\x02\x03", b"\xd4\x05\x00", b"\x81\xa1a\xc1"])
def test_other_files_are_not_read_as_flax(tmp_path, content):
    (tmp_path / "net.msgpack").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.msgpack: (damaged|expected a tree)"):
        read_weights(NETWORK, tmp_path / "net.msgpack")


def test_without_linear_layers_the_order_of_flatten_is_irrelevant(tmp_path):
    network = Network(Conv2d(2, 3), ReLU(), Conv2d(3, 1), GlobalAvgPool2d(), Flatten(), input_size=6)
    weights = random_weights(network, dtype=np.float32)
    tree = {
        f"Conv_{index}": {"kernel": last(weights[f"conv{index + 1}.weight"]), "bias": weights[f"conv{index + 1}.bias"]}
        for index in (1, 0)
    }
    flax_file(tmp_path / "net.msgpack", tree)
    same(read_weights(network, tmp_path / "net.msgpack"), weights)


def test_each_suffix_belongs_to_one_format_and_the_help_lists_it():
    suffixes = [suffix for known in FORMATS for suffix in known.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix in describe_formats() for suffix in suffixes)
    assert describe_formats(written=True) == ".pt (PyTorch), .keras .weights.h5 (Keras), .params (Gluon)"


def test_an_unknown_suffix_is_not_written(tmp_path):
    with pytest.raises(WeightsError, match=r"ends in \.pt, \.keras, \.weights\.h5, \.params"):
        write_weights(tmp_path / "net.bin", NETWORK, WEIGHTS)


def caffe_file(path):
    def field(number, content):
        tag = number << 3 | 2
        return bytes([tag] if tag < 128 else [tag & 127 | 128, tag >> 7]) + bytes([len(content)]) + content

    blob = field(7, field(1, bytes((2, 1, 1, 1)))) + field(5, np.ones(2, "<f4").tobytes())
    path.write_bytes(field(1, b"net") + field(100, field(1, b"conv") + field(2, b"Convolution") + field(7, blob)))


SMALL = Network(Conv2d(2, 1, bias=False), GlobalAvgPool2d(), Flatten(), input_size=2)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["gluon", "flax", "caffe"]), st.data())
def test_a_damaged_file_gives_weights_or_a_refusal(tmp_path_factory, kind, data):
    path = tmp_path_factory.mktemp("damaged") / "net"
    weights = {"conv1.weight": np.ones((2, 1, 1, 1), np.float32)}
    match kind:
        case "gluon":
            write_weights(path.with_suffix(".params"), SMALL, weights)
            path = path.with_suffix(".params")
        case "flax":
            flax_file(path, {"params": {"Conv_0": {"kernel": np.ones((1, 1, 1, 2), np.float32)}}})
        case _:
            caffe_file(path)
    same(read_weights(SMALL, path), weights)
    path.write_bytes(cut_or_changed(path.read_bytes(), data))
    for by_shape in (False, True):
        refusal, shape = str(path), (2, 1, 1, 1)
        try:
            shape = read_weights(SMALL, path, by_shape=by_shape)["conv1.weight"].shape
        except WeightsError as error:
            refusal = str(error)
        assert refusal.startswith(str(path))
        assert shape == (2, 1, 1, 1)


def test_a_layer_that_no_network_has_is_named(tmp_path):
    tree = {"Conv_0": {"kernel": np.ones((1, 1, 1, 2), np.float32)}, "Conv1d": {"kernel": np.ones((3, 1, 2))}}
    flax_file(tmp_path / "net", {"params": tree})
    with pytest.raises(WeightsError, match=r"no layer of mlpconv has arrays like those of 'Conv1d': \(3, 1, 2\)"):
        read_weights(SMALL, tmp_path / "net")
