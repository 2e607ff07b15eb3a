import pytest
import torch

from mlpconv.arch.layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sigmoid
from mlpconv.arch.network import Block, Network
from mlpconv.models import create_model


@pytest.mark.parametrize(
    "layers",
    [
        [ReLU(), Conv2d(2, 1), Flatten(), Linear(3)],
        [Conv2d(2, 1), Sigmoid(), ReLU(), Flatten(), Linear(3)],
        [Conv2d(2, 1), ReLU(), ReLU(), Flatten(), ReLU(), Linear(3)],
        [Block(conv=Conv2d(2, 1), sigmoid=Sigmoid()), ReLU(), GlobalAvgPool2d(), Flatten()],
        [Conv2d(2, 1), Sigmoid(), Dropout(0.5), ReLU(), MaxPool2d(2), ReLU(), Flatten(), Linear(3), ReLU()],
    ],
)
def test_a_relu_in_place_overwrites_nothing_that_is_needed(layers):
    model = Network(*layers, input_size=4).build("torch")
    images = torch.randn(3, 1, 4, 4)
    before = images.clone()
    for training in (True, False):
        model.train(training)(images).sum().backward()
        assert torch.equal(images, before)


def test_a_relu_after_a_convolution_works_in_place():
    model = create_model("nin").build("torch")
    assert all(layer.inplace for layer in model.modules() if isinstance(layer, torch.nn.ReLU))
