"""A network computed with PyTorch's functions, to compare with."""

from typing import assert_never

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
    ReLU6,
    Sigmoid,
)
from mlpconv.arch.network import Network


def torch_activations(network: Network, weights: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer, computed with PyTorch's functions."""
    import torch
    import torch.nn.functional as F

    found = {}
    y = torch.from_numpy(x)
    for name, layer in network.walk():
        own = {key.split(".")[-1]: torch.from_numpy(weights[key]) for key in weights if key.startswith(f"{name}.")}
        match layer:
            case Conv2d():
                groups = y.shape[1] if layer.depthwise else 1
                y = F.conv2d(y, own["weight"], own.get("bias"), layer.stride, layer.padding, groups=groups)
            case BatchNorm2d():
                y = F.batch_norm(y, own["running_mean"], own["running_var"], own["weight"], own["bias"], eps=layer.eps)
            case ReLU():
                y = F.relu(y)
            case ReLU6():
                y = F.relu6(y)
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
            case _:
                assert_never(layer)
        found[name] = y.numpy()
    return found
