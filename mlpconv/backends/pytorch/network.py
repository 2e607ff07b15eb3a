"""Networks as PyTorch modules."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

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
    ReLU6,
    Shape,
    Sigmoid,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Weights
from mlpconv.backends.weights import check_weights


def native(network: Network, weights: Weights | None = None) -> nn.Module:
    """The network as an ``nn.Sequential`` for your own training loop; its ``state_dict`` has the canonical names.

    Args:
        network: The network. Its module takes float images (B, C, H, W).
        weights: Canonical weights to load; by default PyTorch initializes its own.

    Raises:
        WeightsError: The weights do not fit the network.
    """
    modules = {}
    overwrite = False
    for row in layer_shapes(network):
        modules[row.name] = _module(row.layer, row.input_shape, overwrite)
        # What a layer keeps for its gradient must not be overwritten, nor the caller's images. Layers with weights keep
        # their input; max pooling may keep its output, where it is computed together with a ReLU (PooledReLU).
        overwrite = bool(row.layer.parameter_shapes(row.input_shape))
    module = nn.Sequential(
        OrderedDict(
            (
                name,
                nn.Sequential(OrderedDict((part, modules[f"{name}.{part}"]) for part in layer.layers))
                if isinstance(layer, Block)
                else modules[name],
            )
            for name, layer in network.layers.items()
        )
    )
    if weights is not None:
        put(module, network, weights, "weights")
    return module


def _module(layer: AnyLayer, before: Shape, overwrite: bool) -> nn.Module:
    match layer:
        case Conv2d():
            groups = before[0] if layer.depthwise else 1
            return nn.Conv2d(before[0], layer.out_channels, *layer.window, groups=groups, bias=layer.bias)
        case BatchNorm2d():
            return nn.BatchNorm2d(before[0], layer.eps, layer.momentum)
        case ReLU():
            return nn.ReLU(inplace=overwrite)
        case ReLU6():
            return nn.ReLU6()
        case Sigmoid():
            return nn.Sigmoid()
        case MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case AvgPool2d():
            return nn.AvgPool2d(
                layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad
            )
        case Dropout():
            return nn.Dropout(layer.p)
        case GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
        case Linear():
            return nn.Linear(before[0], layer.out_features, bias=layer.bias)
        case _:
            assert_never(layer)


def named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The canonical weights of a module by name: its own tensors, not copies."""
    return ((name, value) for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked"))


def put(module: nn.Module, network: Network, weights: Weights, where: str) -> None:
    """Load canonical weights into a module.

    Args:
        module: The module of the network.
        network: The network.
        weights: The canonical weights.
        where: The start of error messages, such as the path of a file.

    Raises:
        WeightsError: The weights do not fit the network.
    """
    check_weights(network, weights, where)
    with torch.no_grad():
        for name, value in named(module):
            value.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
