"""What is left out changes nothing: outputs and gradients are those of the whole network."""

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mlpconv.arch.layers import AvgPool2d, Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, ReLU6, Sigmoid
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.common.required_outputs import required_outputs
from mlpconv.backends.pytorch.backend import TorchBackend
from mlpconv.backends.pytorch.forward import operations
from mlpconv.models import create_model
from support.strategies import networks


def outputs_and_gradients(network, images, steps):
    # In float64, where a gradient that cancels to nothing is not lost among rounding.
    module = TorchBackend().native(network).double()
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    module.train()
    x = images.clone()
    torch.manual_seed(1)
    for step in steps(module):
        x = step(x)
    (x * torch.arange(x.numel()).view_as(x).cos()).sum().backward()
    return [x.detach(), *(parameter.grad for parameter in module.parameters())]


def compare(network):
    shape = network.input_shape
    images = torch.from_numpy(np.random.default_rng(0).random((2, *shape)))
    whole = outputs_and_gradients(network, images, lambda m: [m.get_submodule(name) for name, _ in network.walk()])
    part = outputs_and_gradients(network, images, lambda m: operations(network, m, shape))
    for one, other in zip(part, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@given(networks())
@settings(max_examples=60)
def test_any_network_computes_the_same(network):
    assume(any(True for _ in TorchBackend().native(network).parameters()))
    compare(network)


@st.composite
def chains(draw):
    """Convolutions, activations and pooling with every kind of window, so that extents pass through several layers."""
    layers, channels = [], 2
    for _ in range(draw(st.integers(1, 5))):
        kernel, stride, padding = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
        kind = draw(st.sampled_from(["conv", "conv", "depthwise", "max", "avg", "relu", "relu6", "sigmoid"]))
        if kind == "conv":
            layers.append(Conv2d(channels := draw(st.integers(1, 3)), kernel, stride, padding))
        elif kind == "depthwise":
            layers.append(Conv2d(channels, kernel, stride, padding, depthwise=True))
        elif kind in ("max", "avg"):
            pool = MaxPool2d if kind == "max" else AvgPool2d
            layers.append(pool(kernel, stride, min(padding, kernel // 2), ceil_mode=draw(st.booleans())))
        else:
            layers.append({"relu": ReLU(), "relu6": ReLU6(), "sigmoid": Sigmoid()}[kind])
    network = Network(Conv2d(2, 1), *layers, GlobalAvgPool2d(), Flatten(), input_size=draw(st.integers(8, 17)))
    try:
        layer_shapes(network)
    except ValueError:
        assume(False)
    return network


@given(chains())
@example(Network(Conv2d(2, 1), ReLU(), MaxPool2d(1), ReLU(), GlobalAvgPool2d(), Flatten(), input_size=8))
@settings(max_examples=150)
def test_any_chain_of_windows_computes_the_same(network):
    compare(network)


@pytest.mark.parametrize(
    ("size", "computed"), [(224, {"block2": (25, 25), "block3": (11, 11)}), (80, {"block2": (7, 7), "block3": (3, 3)})]
)
def test_the_chapters_network(size, computed):
    extents = required_outputs(create_model("nin"), (1, size, size))
    for block, rows in computed.items():
        assert {extents[f"{block}.{part}"].size for part in ("conv", "mlp1", "mlp2")} == {rows}
    assert extents["block4.conv"].padding == (1, 1)
