"""Files in Caffe's format, written here field by field, in the form of today and in that of 2014."""

import struct

import numpy as np
import pytest

from mlpconv.backends import reference
from mlpconv.convert import input_scale, read_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model
from support.random_values import random_weights


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes | str | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def new_blob(value: np.ndarray) -> bytes:
    shape = field(1, b"".join(map(varint, value.shape)))
    return field(7, shape) + field(5, value.astype("<f4").tobytes())


def double_blob(value: np.ndarray) -> bytes:
    shape = field(1, b"".join(map(varint, value.shape)))
    return field(7, shape) + field(8, value.astype("<f8").tobytes())


def old_blob(value: np.ndarray) -> bytes:
    sides = (1,) * (4 - value.ndim) + value.shape
    return b"".join(field(number, side) for number, side in enumerate(sides, 1)) + field(5, value.tobytes())


def unpacked_blob(value: np.ndarray) -> bytes:
    each = b"".join(varint(5 << 3 | 5) + struct.pack("<f", number) for number in value.reshape(-1))
    return field(7, b"".join(field(1, side) for side in value.shape)) + each


CAFFE_NAMES = {
    "nin_imagenet": "conv1 cccp1 cccp2 conv2 cccp3 cccp4 conv3 cccp5 cccp6 conv4-1024 cccp7-1024 cccp8-1024",
    "nin_cifar10": "conv1 cccp1 cccp2 conv2 cccp3 cccp4 conv3 cccp5 cccp6",
    "lenet": "conv1 conv2 ip1 ip2 ip3",
}


def caffemodel(name: str, weights: dict, blob=new_blob, old: bool = False) -> bytes:
    """A file of Caffe, with the layers without weights that it has, too."""
    layer_names = list(dict.fromkeys(key.rpartition(".")[0] for key in weights))
    layers = [("data", "Data", 5, [])]
    for ours, theirs in zip(layer_names, CAFFE_NAMES[name].split(), strict=True):
        weight, bias = weights[f"{ours}.weight"], weights[f"{ours}.bias"]
        if theirs == "conv1" and weight.shape[1] == 3:
            weight = np.ascontiguousarray(weight[:, ::-1])  # BGR
        kind = ("Convolution", 4) if weight.ndim == 4 else ("InnerProduct", 14)
        layers += [(theirs, *kind, [weight, bias]), (f"relu_{theirs}", "ReLU", 18, [])]
    message = field(1, name)
    for layer, kind, old_kind, blobs in layers:
        if old:
            content = field(2, "bottom") + field(4, layer) + field(5, old_kind)
            message += field(2, content + b"".join(field(6, blob(value)) for value in blobs))
        else:
            content = field(1, layer) + field(2, kind) + field(3, "bottom") + field(10, 1)
            message += field(100, content + b"".join(field(7, blob(value)) for value in blobs))
    return message


@pytest.mark.parametrize("name", CAFFE_NAMES)
@pytest.mark.parametrize(("blob", "old"), [(new_blob, False), (double_blob, False), (old_blob, True)])
def test_a_caffemodel_is_read(name, blob, old, tmp_path):
    network = create_model(name)
    weights = random_weights(network, dtype=np.float32)
    path = tmp_path / "weights.bin"
    path.write_bytes(caffemodel(name, weights, blob, old))
    found = read_weights(network, path)
    assert list(found) == list(weights)
    assert all(np.array_equal(found[key], weights[key]) for key in weights)


def test_values_that_are_not_packed_are_read(tmp_path):
    network = create_model("lenet")
    weights = random_weights(network, dtype=np.float32)
    (tmp_path / "lenet.caffemodel").write_bytes(caffemodel("lenet", weights, unpacked_blob))
    found = read_weights(network, tmp_path / "lenet.caffemodel")
    assert all(np.array_equal(found[key], weights[key]) for key in weights)


def test_a_classifier_from_caffe_computes_on_rgb_what_caffe_does_on_bgr(tmp_path):
    network = create_model("nin_cifar10")
    weights = random_weights(network, dtype=np.float32)
    (tmp_path / "nin.caffemodel").write_bytes(caffemodel("nin_cifar10", weights))
    mean, std = input_scale(network, tmp_path / "nin.caffemodel")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.float32)
    bgr = {**weights, "block1.conv.weight": weights["block1.conv.weight"][:, ::-1]}
    expected = reference.forward(network, bgr, pixels[:, ::-1])
    normalized = (pixels / 255 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    found = reference.forward(network, read_weights(network, tmp_path / "nin.caffemodel"), normalized)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_mean_of_imagenet_is_subtracted_for_nin_imagenet(tmp_path):
    network = create_model("nin_imagenet")
    weights = random_weights(network, dtype=np.float32)
    (tmp_path / "nin.caffemodel").write_bytes(caffemodel("nin_imagenet", weights))
    mean, std = input_scale(network, tmp_path / "nin.caffemodel")
    assert [round(value * 255, 3) for value in mean] == [122.679, 116.669, 104.007]
    assert std == (1 / 255,) * 3


def test_a_layer_of_another_network_is_named(tmp_path):
    weights = random_weights(create_model("nin_cifar10"), dtype=np.float32)
    (tmp_path / "nin.caffemodel").write_bytes(caffemodel("nin_cifar10", weights))
    with pytest.raises(WeightsError, match=r"expected block3\.mlp2\.weight of shape .* received cccp6\.weight"):
        read_weights(create_model("nin_cifar100"), tmp_path / "nin.caffemodel")


@pytest.mark.parametrize("cut", [3, 20, 2000, -5])
def test_a_truncated_caffemodel_is_refused(cut, tmp_path):
    weights = random_weights(create_model("nin_cifar10"), dtype=np.float32)
    (tmp_path / "nin.caffemodel").write_bytes(caffemodel("nin_cifar10", weights)[:cut])
    with pytest.raises(WeightsError, match=r"nin\.caffemodel: damaged, or not a"):
        read_weights(create_model("nin_cifar10"), tmp_path / "nin.caffemodel")


def test_a_caffe_network_without_weights_is_refused(tmp_path):
    (tmp_path / "nin.caffemodel").write_bytes(field(1, "nin") + field(100, field(1, "data") + field(2, "Data")))
    with pytest.raises(WeightsError, match="contains no weights; give the"):
        read_weights(create_model("nin_cifar10"), tmp_path / "nin.caffemodel")
