"""Canonical weights from the layers of another program, in the order in which it created them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Linear, Shape
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.convert.state_dict import as_float32
from mlpconv.errors import WeightsError

_LAYER_TYPES = {4: Conv2d, 2: Linear, 1: BatchNorm2d}


class ForeignLayer(NamedTuple):
    """A layer as read from the file of another program.

    Attributes:
        name: Its name in the file, or "" if it has none.
        parts: Its arrays by canonical part ("weight", "bias", "running_mean", "running_var"). A weight has the shape
            (kh, kw, in, out) or (in, out), as in Keras and Flax.
    """

    name: str
    parts: dict[str, np.ndarray]


def from_layers(network: Network, layers: Sequence[ForeignLayer], where: str) -> dict[str, Floats]:
    """Canonical weights of a network from channels-last layers.

    If all names are those of the network's layers, they are matched by name. Otherwise the layers of each type
    (convolutions, linear layers, batch normalizations) are matched in order, and the weight of a linear layer after
    `Flatten` is converted from a flatten in H,W,C order.

    Args:
        network: The network.
        layers: All layers that have weights.
        where: The name of the file, for errors.

    Raises:
        WeightsError: The layers belong to another network.
    """
    expected = [row for row in layer_shapes(network) if isinstance(row.layer, Conv2d | Linear | BatchNorm2d)]
    if {row.name for row in expected} == {layer.name for layer in layers}:
        pairs = [(row.name, None, layer.parts) for layer in layers for row in expected if row.name == layer.name]
    else:
        pairs = _in_order(network, layers, where)
    weights = {}
    for name, flattened, parts in pairs:
        for part, value in parts.items():
            value = as_float32(value, f"{where}: {name}.{part}")
            if value.ndim == 2 and flattened and value.shape[0] == np.prod(flattened):
                channels, height, width = flattened
                value = value.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(value.shape)
            if value.ndim in (2, 4):
                value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            weights[f"{name}.{part}"] = np.ascontiguousarray(value)
    check_weights(network, weights, where)
    return {name: weights[name] for name in weight_shapes(network)}


def _in_order(
    network: Network, layers: Sequence[ForeignLayer], where: str
) -> list[tuple[str, Shape | None, dict[str, np.ndarray]]]:
    """The name, the (C, H, W) shape before a flatten, and the arrays of each layer, matched in order."""
    pairs = []
    rows = layer_shapes(network)
    for ndim, layer_type in _LAYER_TYPES.items():
        expected = [index for index, row in enumerate(rows) if isinstance(row.layer, layer_type)]
        received = [layer for layer in layers if next(iter(layer.parts.values())).ndim == ndim]
        if len(expected) != len(received):
            raise WeightsError(
                f"{where}: these weights belong to another network: expected {len(expected)} {layer_type.__name__} "
                f"layers, received {len(received)}"
            )
        for index, layer in zip(expected, received, strict=True):
            previous = rows[index - 1].input_shape if index else ()
            pairs.append((rows[index].name, previous if len(previous) == 3 else None, layer.parts))
    return pairs
