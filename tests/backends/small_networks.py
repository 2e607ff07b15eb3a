"""Random small networks for property tests, weights for them, and PyTorch's functions as their oracle."""

import numpy as np
from hypothesis import strategies as st

from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
)
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.weights import weight_shapes
from mlpconv.errors import NetworkError


def sizes(least: int, most: int) -> st.SearchStrategy:
    side = st.integers(least, most)
    return side | st.tuples(side, side)


@st.composite
def pools(draw: st.DrawFn) -> MaxPool2d | AvgPool2d:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    stride, ceil_mode = draw(sizes(1, 4)), draw(st.booleans())
    if draw(st.booleans()):
        return MaxPool2d(kernel, stride, padding, ceil_mode)
    return AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad=draw(st.booleans()))


convolutions = st.builds(
    Conv2d, st.integers(1, 4), sizes(1, 4), stride=sizes(1, 3), padding=sizes(0, 2), bias=st.booleans()
)
simple = st.sampled_from([ReLU(), Sigmoid(), BatchNorm2d(), BatchNorm2d(eps=0.1, momentum=0.25), Dropout(0.3)])
endings = st.sampled_from(
    [(), (GlobalAvgPool2d(), Flatten()), (Flatten(), Linear(5)), (Flatten(), Linear(3, bias=False), ReLU(), Linear(4))]
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A network of up to seven layers over an image of up to 3×14×14, not always square."""
    channels, size = draw(st.integers(1, 3)), draw(st.tuples(st.integers(4, 14), st.integers(4, 14)))
    layers: list[AnyLayer] = [ReLU()]
    for layer in draw(st.lists(convolutions | pools() | simple, max_size=5)):
        try:
            layer_shapes(Network(*layers, layer, input_channels=channels, input_size=size))
        except NetworkError:
            continue  # A window larger than what the layers before it have left.
        layers.append(layer)
    return Network(*layers, *draw(endings), input_channels=channels, input_size=size)


def random_weights(network: Network, seed: int = 0, dtype: type = np.float64) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(network).items():
        value = draw.normal(0, 1 / np.sqrt(max(1, np.prod(shape[1:]))), shape)
        weights[name] = (np.abs(value) + 0.5 if name.endswith("running_var") else value).astype(dtype)
    return weights


def random_input(network: Network, batch: int = 2, seed: int = 1, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (batch, *network.input_shape)).astype(dtype)


def torch_activations(network: Network, weights: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """What PyTorch's own functions give for every layer."""
    import torch
    import torch.nn.functional as F

    found = {}
    y = torch.from_numpy(x)
    for name, layer in network.walk():
        own = {key.split(".")[-1]: torch.from_numpy(weights[key]) for key in weights if key.startswith(f"{name}.")}
        match layer:
            case Conv2d():
                y = F.conv2d(y, own["weight"], own.get("bias"), layer.stride, layer.padding)
            case BatchNorm2d():
                y = F.batch_norm(y, own["running_mean"], own["running_var"], own["weight"], own["bias"], eps=layer.eps)
            case ReLU():
                y = F.relu(y)
            case Sigmoid():
                y = F.sigmoid(y)
            case MaxPool2d():
                y = F.max_pool2d(y, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
            case AvgPool2d():
                y = F.avg_pool2d(
                    y, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad
                )
            case Dropout():
                y = F.dropout(y, layer.p, training=False)
            case GlobalAvgPool2d():
                y = F.adaptive_avg_pool2d(y, 1)
            case Flatten():
                y = y.flatten(1)
            case Linear():
                y = F.linear(y, own["weight"], own.get("bias"))
        found[name] = y.numpy()
    return found
