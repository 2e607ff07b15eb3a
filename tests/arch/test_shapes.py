import pytest
import torch
from hypothesis import given, settings

from mlpconv.arch.layers import AvgPool2d, BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import block_shapes, layer_shapes, num_classes, output_shape, show
from mlpconv.errors import NetworkError
from mlpconv.models import create_model
from support.strategies import networks
from support.torch_modules import torch_layers


@given(networks())
@settings(max_examples=80)
def test_shapes_agree_with_pytorch(network):
    rows = layer_shapes(network)
    value = torch.zeros(2, *network.input_shape)
    with torch.no_grad():
        for row, module in zip(rows, torch_layers(network, in_place="never"), strict=True):
            assert row.input_shape == tuple(value.shape[1:])
            value = module(value)
            assert row.output_shape == tuple(value.shape[1:])
    assert output_shape(network) == (num_classes(network),) == tuple(value.shape[1:])


WINDOWS = [(1, 1, 0), (2, 2, 1), (3, 2, 0), (3, 2, 1), (2, 3, 1), (3, 3, 0), (4, 3, 2)]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(*window, size) for window in WINDOWS for size in range(1, 14) if size + 2 * window[2] >= window[0]],
)
def test_pooling_rounds_up_as_pytorch_does(kernel, stride, padding, size):
    network = Network(MaxPool2d(kernel, stride, padding, ceil_mode=True), input_size=size)
    module = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)
    assert output_shape(network) == tuple(module(torch.zeros(1, 1, size, size)).shape[1:])


def test_nin_has_the_shapes_of_the_chapter():
    assert block_shapes(create_model("nin")) == [
        ("block1", "Block", (96, 54, 54)),
        ("pool1", "MaxPool2d", (96, 26, 26)),
        ("block2", "Block", (256, 26, 26)),
        ("pool2", "MaxPool2d", (256, 12, 12)),
        ("block3", "Block", (384, 12, 12)),
        ("pool3", "MaxPool2d", (384, 5, 5)),
        ("dropout1", "Dropout", (384, 5, 5)),
        ("block4", "Block", (10, 5, 5)),
        ("gap", "GlobalAvgPool2d", (10, 1, 1)),
        ("flatten", "Flatten", (10,)),
    ]


def test_another_image_size_changes_the_maps_but_not_the_output():
    network = create_model("nin")
    assert {name: shape for name, _, shape in block_shapes(network, (1, 80, 96))}["pool1"] == (96, 8, 10)
    assert output_shape(network, (1, 80, 96)) == (10,)


@pytest.mark.parametrize(
    ("network", "place", "received", "remedy"),
    [
        (Network(Conv2d(4, 9), input_size=5), "conv1", "9×9 kernel", "use a larger image or padding=2"),
        (Network(Block(a=ReLU(), b=Conv2d(4, (3, 6))), input_size=5), "block1.b", "5×5 map", "padding=1"),
        (Network(MaxPool2d(2), MaxPool2d(4), input_size=4), "pool2", "3×3 map", "a smaller window"),
        (Network(AvgPool2d(3), input_size=(2, 9)), "pool1", "2×9 map", "a smaller window"),
        (Network(Conv2d(4, 1, depthwise=True), input_channels=3), "conv1", "3×224×224", "use out_channels=3"),
        (Network(Linear(3), input_size=2), "fc1", "1×2×2", "put Flatten before"),
        (Network(Flatten(), Conv2d(3, 1), input_size=2), "conv1", "4 flat values", "needs a map"),
        (Network(Flatten(), MaxPool2d(1), input_size=2), "pool1", "4 flat values", "needs a map"),
        (Network(Flatten(), BatchNorm2d(), input_size=2), "norm1", "4 flat values", "needs a map"),
        (Network(Flatten(), GlobalAvgPool2d(), input_size=2), "gap", "4 flat values", "needs a map"),
    ],
)
def test_the_error_of_a_layer_that_does_not_fit_names_it_its_input_and_a_remedy(network, place, received, remedy):
    with pytest.raises(NetworkError) as caught:
        layer_shapes(network)
    message = str(caught.value)
    assert message.startswith(f"{place}: ")
    assert received in message
    assert remedy in message


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4, 5])
def test_the_padding_that_the_message_proposes_is_the_least_that_works(padding):
    fits = padding >= 3
    network = Network(Conv2d(2, 9, padding=padding), input_size=4)
    if fits:
        assert layer_shapes(network)
    else:
        with pytest.raises(NetworkError, match=f"padding={3}"):
            layer_shapes(network)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 224), (1, 0, 5), (1, 2, 3, 4)])
def test_an_input_of_another_shape_is_refused(shape):
    with pytest.raises(NetworkError) as caught:
        layer_shapes(create_model("nin"), shape)
    assert show(shape) in str(caught.value)


def test_a_network_that_ends_in_a_map_does_not_classify():
    with pytest.raises(NetworkError, match=r"ends in a map of 4×2×2.*Flatten"):
        num_classes(Network(Conv2d(4, 3), input_size=4, name="stump"))
