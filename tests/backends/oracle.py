"""Weights and inputs for any network, and PyTorch's functions as its oracle."""

import numpy as np

from mlpconv.arch.layers import (
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
from mlpconv.backends.weights import weight_shapes


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
