"""Where the class maps of a network are, and which positions of the image theirs correspond to."""

import numpy as np
import pytest

from mlpconv.arch.class_maps import (
    can_die,
    class_map_grid,
    last_map,
    single_position,
    smallest_side,
    until_class_maps,
)
from mlpconv.arch.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes, output_shape
from mlpconv.backends import reference
from mlpconv.backends.reference import class_maps
from mlpconv.errors import NetworkError
from mlpconv.models import create_model
from support.random_values import random_input, random_weights


@pytest.mark.parametrize(
    ("name", "last", "shape", "rectified"),
    [
        ("nin", "block4.mlp2", (10, 5, 5), True),
        ("nin_28", "block4.conv", (10, 7, 7), False),
        ("nin_cifar10", "block3.mlp2", (10, 8, 8), True),
        ("nin_imagenet", "block4.mlp2", (1000, 6, 6), True),
    ],
)
def test_the_registered_networks(name, last, shape, rectified):
    until, has_relu = until_class_maps(create_model(name))
    assert [row[0] for row in until.walk()][-1] == last
    assert output_shape(until) == shape
    assert has_relu == rectified


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg11"])
def test_networks_without_maps(name):
    with pytest.raises(NetworkError, match=f"{name} has no class maps: .* ends in Linear; use a network"):
        until_class_maps(create_model(name))


def test_nothing_before_the_pooling():
    with pytest.raises(NetworkError, match="no layer before its pooling"):
        until_class_maps(Network(GlobalAvgPool2d(), Flatten()))


def test_dropout_after_the_last_relu_is_skipped():
    network = Network(Conv2d(4, 3), Block(conv=Conv2d(3, 1), relu=ReLU()), Dropout(0.5), GlobalAvgPool2d(), Flatten())
    until, rectified = until_class_maps(network)
    assert [name for name, _ in until.walk()] == ["conv1", "block1.conv"]
    assert rectified
    bare = Network(Conv2d(3, 1), MaxPool2d(2), GlobalAvgPool2d(), Flatten())
    assert [name for name, _ in until_class_maps(bare)[0].walk()] == ["conv1", "pool1"]
    with_linear = Network(Conv2d(3, 3), GlobalAvgPool2d(), Flatten(), Linear(3))
    with pytest.raises(NetworkError, match="ends in Linear"):
        until_class_maps(with_linear)


NETWORKS = [
    (Network(Conv2d(1, 3), GlobalAvgPool2d(), Flatten(), input_size=15), (1.5, 1.5), (1, 1)),
    (Network(Conv2d(1, 3, padding=1), GlobalAvgPool2d(), Flatten(), input_size=15), (0.5, 0.5), (1, 1)),
    (
        Network(Conv2d(1, (5, 3), (2, 1)), AvgPool2d(3, 2), GlobalAvgPool2d(), Flatten(), input_size=(31, 15)),
        (4.5, 2.5),
        (4, 2),
    ),
]


@pytest.mark.parametrize(("network", "first", "stride"), NETWORKS)
def test_the_position_of_a_map_is_the_center_of_its_receptive_field(network, first, stride):
    grid = class_map_grid(network)
    assert (grid.first, grid.stride) == (first, stride)
    # With equal weights, a position's value is the sum of what it sees: the centre of those pixels is its place.
    weights = {"conv1.weight": np.ones((1, 1, *np.broadcast_to(network.layers["conv1"].kernel_size, 2)))}
    weights["conv1.bias"] = np.zeros(1)
    height, width = network.input_size
    pixels = np.eye(height * width).reshape(-1, 1, height, width)
    seen = class_maps(network, weights, pixels)[:, 0]
    for row, column in ((1, 1), (2, 1), (1, 3)):
        share = seen[:, row, column].reshape(height, width)
        centre = (
            (share.sum(1) * (np.arange(height) + 0.5)).sum() / share.sum(),
            (share.sum(0) * (np.arange(width) + 0.5)).sum() / share.sum(),
        )
        expected = (first[0] + row * stride[0], first[1] + column * stride[1])
        assert centre == pytest.approx(expected)


def test_the_chapters_network():
    grid = class_map_grid(create_model("nin"))
    assert grid.stride == (32, 32)
    assert grid.first == (33.5, 33.5)


@pytest.mark.parametrize(("size", "single"), [(70, True), (98, True), (99, False), (131, False), (224, False)])
def test_the_chapters_network_has_maps_of_one_position_below_99_pixels(size, single):
    found = single_position(create_model("nin").replace(input_size=size))
    assert found == (((size, size), (131, 3)) if single else None)


@pytest.mark.parametrize(
    ("name", "size"),
    [("nin", 70), ("nin", 98), ("nin_28", 4), ("nin_32", 3), ("nin_fast", 8), ("nin_tiny", 4), ("nin_cifar10", 4)],
)
def test_the_size_that_is_named_is_the_smallest_with_a_useful_map(name, size):
    network = create_model(name).replace(input_size=size)
    side, map_side = single_position(network).larger
    maps, _ = until_class_maps(network)

    def smaller_side(side):
        return min(layer_shapes(maps, (maps.input_channels, side, side))[-1].output_shape[1:])

    assert smaller_side(side) == map_side >= 3
    assert side == max(network.input_size) + 1 or smaller_side(side - 1) < 3


def test_a_network_without_class_maps_has_no_position():
    assert single_position(create_model("lenet")) is None


@pytest.mark.parametrize(
    ("sizes", "positions"), [((70, 98), 1), ((99, 130), 2), ((131, 162), 3), ((163, 194), 4), ((195, 226), 5)]
)
def test_the_last_map_of_the_chapters_network_by_image_size(sizes, positions):
    nin = create_model("nin")
    assert {last_map(nin, side) for side in sizes} == {(positions, positions)}
    assert last_map(nin.replace(input_size=(sizes[0], 224))) == (positions, 5)
    assert smallest_side(nin.replace(input_size=(70, 70)), positions) == max(sizes[0], 71)


def test_the_last_map_is_what_is_flattened_where_nothing_is_pooled_globally():
    assert last_map(create_model("lenet")) == (5, 5)
    assert last_map(create_model("vgg11")) == (7, 7)
    assert last_map(Network(Flatten(), Linear(2), input_channels=1, input_size=6)) == (6, 6)
    assert last_map(Network(Conv2d(3, 3), input_channels=1, input_size=6)) == (4, 4)


def test_maps_that_hardly_grow_with_the_images():
    network = Network(MaxPool2d(2, stride=512), Flatten(), Linear(2), input_channels=1, input_size=6)
    assert smallest_side(network, 2) == 514
    assert smallest_side(network, 9) is None


@pytest.mark.parametrize(("activation", "parts"), [(ReLU(), ["conv"]), (ReLU6(), ["conv", "relu"])])
def test_the_logit_is_the_mean_of_what_remains_after_a_last_activation(activation, parts):
    network = Network(
        Block(conv=Conv2d(3, 1), relu=activation), Dropout(0.5), GlobalAvgPool2d(), Flatten(), input_size=5
    )
    maps, rectified = until_class_maps(network)
    assert [name for name, _ in maps.walk()] == [f"block1.{part}" for part in parts]
    weights, x = random_weights(network), 9 * random_input(network)
    found = reference.forward(maps, weights, x)
    expected = (np.maximum(found, 0) if rectified else found).mean((2, 3))
    np.testing.assert_allclose(reference.forward(network, weights, x), expected)
    assert can_die(network)


def test_classes_without_a_last_activation_cannot_die():
    assert not can_die(Network(Conv2d(4, 1), ReLU6(), Conv2d(3, 1), GlobalAvgPool2d(), Flatten()))
    assert not can_die(Network(Conv2d(3, 1), Sigmoid(), GlobalAvgPool2d(), Flatten()))
