"""A network as a Gluon block, with canonical weights loaded into it and read from it."""

from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
from mxnet import nd, util  # pyright: ignore[reportAttributeAccessIssue]
from mxnet import np as mxnet_np  # pyright: ignore[reportAttributeAccessIssue]
from mxnet.gluon import nn  # pyright: ignore[reportMissingImports]

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
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.common.layer_plan import PlannedLayer, plan_layers
from mlpconv.backends.weights import GLUON_NAMES, weight_shapes

LOWEST = float(np.finfo(np.float32).min)
"""The padding of max pooling: no value of a map is less."""


def build(network: Network, shape: Shape) -> Any:
    """A ``HybridSequential`` for images of one size, given as (B, C, H, W).

    Args:
        network: The network.
        shape: (C, H, W) of the images.
    """
    layers = {planned.row.name: layer(planned) for planned in plan_layers(network, shape)}
    whole = nn.HybridSequential(prefix=f"{network.name}_")
    for name, part in network.layers.items():
        if isinstance(part, Block):
            block = nn.HybridSequential(prefix=f"{name}_")
            for inner in part.layers:
                block.register_child(layers[f"{name}.{inner}"], inner)
            whole.register_child(block, name)
        else:
            whole.register_child(layers[name], name)
    return whole


def lean(
    network: Network, native: Any, shape: Shape, *, start_after: str | None = None, output: str | None = None
) -> Any:
    """The layers of a block for images of another size, max pooling first where it follows a ReLU.

    What no layer reads is computed: to leave it out, a convolution would need a separate padding, which takes longer.

    Args:
        network: The network.
        native: Its block, whose parameters are shared.
        shape: (C, H, W) of the images.
        start_after: The first layer, if the result takes its output instead of images.
        output: The last layer to compute; by default the last one of the network.
    """
    sequence = nn.HybridSequential(prefix="")
    for planned in plan_layers(network, shape, pooled_first=output is None, start_after=start_after, output=output):
        sequence.add(layer(planned, child(native, planned.row.name)))
    return sequence


def child(block: Any, name: str) -> Any:
    """A layer of a block by its full name."""
    for part in name.split("."):
        block = block._children[part]
    return block


def layer(planned: PlannedLayer, like: Any = None) -> Any:
    """One layer with the padding that must be done before it.

    Args:
        planned: The layer.
        like: A layer whose parameters to share.
    """
    row = planned.row
    prefix = row.name.replace(".", "_") + "_"
    made = _layer(row.layer, planned, {"prefix": prefix, "params": like.params if like is not None else None})
    if planned.native or isinstance(row.layer, AvgPool2d):
        return made
    (above, below), (left, right) = planned.sides
    pad_width = (0, 0, 0, 0, above, below, left, right)
    # Padding must never win a maximum: zeros would, over negative values.
    fill = LOWEST if isinstance(row.layer, MaxPool2d) else 0
    padded = nn.HybridSequential(prefix=prefix)
    options = {"mode": "constant", "constant_value": fill, "pad_width": pad_width}
    padded.add(nn.HybridLambda(_with_nd(lambda F, x: F.pad(x, **options))))
    # Without a name, so that the weights have the same names as elsewhere.
    padded.add(made)
    return padded


def _layer(layer: AnyLayer, planned: PlannedLayer, common: dict[str, Any]) -> Any:
    before = planned.before
    match layer:
        case Conv2d(window=window, bias=bias):
            padding = window.padding if planned.native else (0, 0)
            settings = {"use_bias": bias, "in_channels": before[0], "groups": before[0] if layer.depthwise else 1}
            return nn.Conv2D(layer.out_channels, window.kernel, window.stride, padding, **settings, **common)
        case BatchNorm2d():
            return nn.BatchNorm(1, momentum=1 - layer.momentum, epsilon=layer.eps, in_channels=before[0], **common)
        case ReLU():
            return nn.Activation("relu", **common)
        case ReLU6():
            # Clipping alone has a gradient at 0.
            return nn.HybridLambda(_with_nd(lambda F, x: F.clip(F.relu(x), 0, 6)), prefix=common["prefix"])
        case Sigmoid():
            return nn.Activation("sigmoid", **common)
        case MaxPool2d(window=window):
            return nn.MaxPool2D(window.kernel, window.stride, window.padding if planned.native else 0, **common)
        case AvgPool2d():
            return _average(layer, planned, common)
        case Dropout():
            return nn.Dropout(layer.p, **common)
        case GlobalAvgPool2d():
            return nn.GlobalAvgPool2D(**common)
        case Flatten():
            return nn.Flatten(**common)
        case Linear():
            return nn.Dense(layer.out_features, use_bias=layer.bias, flatten=False, in_units=before[0], **common)
        case _:
            assert_never(layer)


def _average(layer: AvgPool2d, planned: PlannedLayer, common: dict[str, Any]) -> Any:
    kernel, stride, padding = layer.window
    if planned.native:
        return nn.AvgPool2D(kernel, stride, padding, count_include_pad=layer.count_include_pad, **common)
    (above, below), (left, right) = planned.sides
    # Ones where a value counts, zeros where it does not; pooled, the share of each window that counts.
    counted = padding if layer.count_include_pad else (0, 0)
    inner = tuple(
        min(side, most) for side, most in zip((above, below, left, right), np.repeat(counted, 2), strict=True)
    )
    outer = tuple(side - part for side, part in zip((above, below, left, right), inner, strict=True))

    def pool(F: Any, x: Any) -> Any:
        options = {"mode": "constant"}
        ones = F.pad(F.ones_like(x), constant_value=1, pad_width=(0, 0, 0, 0, *map(int, inner)), **options)
        ones = F.pad(ones, constant_value=0, pad_width=(0, 0, 0, 0, *map(int, outer)), **options)
        x = F.pad(x, constant_value=0, pad_width=(0, 0, 0, 0, above, below, left, right), **options)
        window = {"kernel": kernel, "stride": stride, "pool_type": "avg"}
        return F.broadcast_div(F.Pooling(x, **window), F.Pooling(ones, **window))

    return nn.HybridLambda(_with_nd(pool), prefix=common["prefix"])


def _with_nd(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A function of legacy operators that also accepts the arrays of ``np``, after ``npx.set_np()``."""

    def call(F: Any, x: Any) -> Any:
        found = function(F, x.as_nd_ndarray())
        return found.as_np_ndarray() if util.is_np_array() else found

    return call


def parameters(network: Network, block: Any) -> dict[str, Any]:
    """The ``gluon.Parameter`` of every canonical weight.

    Args:
        network: The network.
        block: Its block.
    """
    layers = dict(network.walk())
    parameters = {}
    for name in weight_shapes(network):
        layer_name, _, part = name.rpartition(".")
        gluon_layer = child(block, layer_name)
        while not gluon_layer._reg_params:  # the layer follows its padding
            *_, gluon_layer = gluon_layer._children.values()
        gluon_part = GLUON_NAMES.get(part, part) if isinstance(layers[layer_name], BatchNorm2d) else part
        parameters[name] = gluon_layer._reg_params[gluon_part]
    return parameters


def load(network: Network, block: Any, weights: Weights) -> None:
    """Load canonical weights, already checked, into an initialized block.

    Args:
        network: The network.
        block: Its block.
        weights: The canonical weights.
    """
    for name, parameter in parameters(network, block).items():
        array = mxnet_np.array if util.is_np_array() else nd.array
        parameter.set_data(array(weights[name].reshape(parameter.shape)))


def read(network: Network, block: Any) -> dict[str, Floats]:
    """The canonical weights of a block.

    Args:
        network: The network.
        block: Its block.
    """
    shapes = weight_shapes(network)
    return {
        name: parameter.data().asnumpy().reshape(shapes[name]) for name, parameter in parameters(network, block).items()
    }
