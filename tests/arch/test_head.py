"""The head of a network: the layers that turn features into class maps."""

import pytest

from mlpconv.arch.head import find_head, layers_before
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.models import create_model


@pytest.mark.parametrize(
    ("model", "head"),
    [
        ("nin_32", ("dropout1", "block4.conv", (), False)),
        ("nin_fast", ("block4.relu", "block5.conv", (), False)),
        ("nin_cifar10", ("block3.relu1", "block3.mlp2", (), True)),
        ("nin", ("dropout1", "block4.conv", ("block4.mlp1", "block4.mlp2"), True)),
        ("lenet", None),
    ],
)
def test_the_head_of_registered_networks(model, head):
    assert find_head(create_model(model)) == head


@pytest.mark.parametrize(
    "layer",
    [
        Conv2d(5, 3),  # makes the maps smaller
        Conv2d(5, 2, padding=1),
        Conv2d(5, 3, stride=2, padding=1),
        Conv2d(5, 1, bias=False),
        Conv2d(4, 1, depthwise=True),
    ],
)
def test_a_convolution_that_is_not_linear_in_the_means_is_no_head(layer):
    network = Network(Block(conv=Conv2d(4, 3), relu=ReLU()), Block(conv=layer), GlobalAvgPool2d(), Flatten())
    assert find_head(network) is None


def test_a_head_starts_within_its_block():
    first = Block(conv=Conv2d(5, 3, padding=1), relu=ReLU())
    network = Network(first, Block(conv=Conv2d(5, 1), relu=ReLU()), GlobalAvgPool2d(), Flatten())
    assert find_head(network) == ("block1.relu", "block2.conv", (), True)
    assert find_head(Network(first, MaxPool2d(2, stride=2), GlobalAvgPool2d(), Flatten())) is None


def test_layers_before_a_layer():
    assert list(layers_before(create_model("nin_tiny"), "block1.norm1")) == [
        "block1.conv",
        "block1.norm",
        "block1.relu",
        "block1.mlp1",
    ]


def test_relu6_is_not_linear_above_6():
    network = Network(Block(conv=Conv2d(5, 1), relu=ReLU6()), GlobalAvgPool2d(), Flatten())
    assert find_head(network) is None
