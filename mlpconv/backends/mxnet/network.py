"""A network as a Gluon block, and canonical weights in and out of it."""

from typing import Any

import numpy as np
from mxnet import nd  # pyright: ignore[reportAttributeAccessIssue]
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
    Shape,
    Sigmoid,
    pair,
)
from mlpconv.arch.network import Block, Network
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.common.layer_plan import PlannedLayer, plan_layers
from mlpconv.backends.weights import GLUON_NAMES, weight_shapes

LOWEST = float(np.finfo(np.float32).min)


def build(network: Network, shape: Shape) -> Any:
    """A ``HybridSequential`` for images of ``shape`` (C, H, W), given as (B, C, H, W)."""
    found = {each.row.name: layer(each) for each in plan_layers(network, shape)}
    whole = nn.HybridSequential(prefix="")
    for name, part in network.layers.items():
        if isinstance(part, Block):
            block = nn.HybridSequential(prefix="")
            for inner in part.layers:
                block.register_child(found[f"{name}.{inner}"], inner)
            whole.register_child(block, name)
        else:
            whole.register_child(found[name], name)
    return whole


def lean(network: Network, native: Any, shape: Shape, *, behind: str | None = None, output: str | None = None) -> Any:
    """The layers of ``native`` for images of ``shape``, pooled first; behind, output: as in ``placed.place``.

    What nobody reads is computed: it would take padding of its own before a convolution, which takes longer.
    """
    sequence = nn.HybridSequential(prefix="")
    for each in plan_layers(network, shape, pooled_first=output is None, behind=behind, output=output):
        sequence.add(layer(each, child(native, each.row.name)))
    return sequence


def child(block: Any, name: str) -> Any:
    """A layer of a block by its full name."""
    for part in name.split("."):
        block = block._children[part]
    return block


def layer(each: PlannedLayer, like: Any = None) -> Any:
    """One layer with what must stand before it. like: a layer whose parameters to take."""
    row = each.row
    prefix = row.name.replace(".", "_") + "_"
    made = _layer(row.layer, each, {"prefix": prefix, "params": like.params if like is not None else None})
    if each.native or isinstance(row.layer, AvgPool2d):
        return made
    (above, below), (left, right) = each.sides
    width = (0, 0, 0, 0, above, below, left, right)
    # Padding must never win a maximum: zeros would, over negative values.
    fill = LOWEST if isinstance(row.layer, MaxPool2d) else 0
    padded = nn.HybridSequential(prefix="")
    padded.add(nn.HybridLambda(lambda F, x: F.pad(x, mode="constant", constant_value=fill, pad_width=width)))
    # Under no name of its own, so that the weights are called as they are everywhere.
    padded.add(made)
    return padded


def _layer(described: AnyLayer, each: PlannedLayer, common: dict[str, Any]) -> Any:
    before = each.before
    match described:
        case Conv2d(kernel_size=kernel, stride=stride):
            padding = pair(described.padding) if each.native else (0, 0)
            return nn.Conv2D(
                described.out_channels,
                pair(kernel),
                pair(stride),
                padding,
                use_bias=described.bias,
                in_channels=before[0],
                **common,
            )
        case BatchNorm2d():
            return nn.BatchNorm(
                1, momentum=1 - described.momentum, epsilon=described.eps, in_channels=before[0], **common
            )
        case ReLU():
            return nn.Activation("relu", **common)
        case Sigmoid():
            return nn.Activation("sigmoid", **common)
        case MaxPool2d(kernel_size=kernel, stride=stride):
            return nn.MaxPool2D(pair(kernel), pair(stride), pair(described.padding) if each.native else 0, **common)
        case AvgPool2d():
            return _average(described, each, common)
        case Dropout():
            return nn.Dropout(described.p, **common)
        case GlobalAvgPool2d():
            return nn.GlobalAvgPool2D(**common)
        case Flatten():
            return nn.Flatten(**common)
        case Linear():
            return nn.Dense(
                described.out_features, use_bias=described.bias, flatten=False, in_units=before[0], **common
            )


def _average(described: AvgPool2d, each: PlannedLayer, common: dict[str, Any]) -> Any:
    kernel, stride, padding = (pair(size) for size in (described.kernel_size, described.stride, described.padding))
    if each.native:
        return nn.AvgPool2D(kernel, stride, padding, count_include_pad=described.count_include_pad, **common)
    (above, below), (left, right) = each.sides
    # Ones where a value counts, zeros where it does not; pooled, the share of each window that counts.
    counted = padding if described.count_include_pad else (0, 0)
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

    return nn.HybridLambda(pool)


def parameters(network: Network, block: Any) -> dict[str, Any]:
    """The ``gluon.Parameter`` of every canonical weight."""
    described = dict(network.walk())
    found = {}
    for name in weight_shapes(network):
        layer_name, _, part = name.rpartition(".")
        own = child(block, layer_name)
        while not own._reg_params:  # behind its padding
            *_, own = own._children.values()
        theirs = GLUON_NAMES.get(part, part) if isinstance(described[layer_name], BatchNorm2d) else part
        found[name] = own._reg_params[theirs]
    return found


def load(network: Network, block: Any, weights: Weights) -> None:
    """Put canonical weights, already checked, into an initialised block."""
    for name, parameter in parameters(network, block).items():
        parameter.set_data(nd.array(weights[name].reshape(parameter.shape)))


def read(network: Network, block: Any) -> dict[str, Floats]:
    """The block's weights, canonical."""
    shapes = weight_shapes(network)
    return {name: each.data().asnumpy().reshape(shapes[name]) for name, each in parameters(network, block).items()}
