"""Weights given layer by layer, in the order in which another program made the layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Linear, Shape
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.convert.state_dict import as_float32
from mlpconv.errors import WeightsError

_KINDS = {4: Conv2d, 2: Linear, 1: BatchNorm2d}


class ForeignLayer(NamedTuple):
    """name: as the file says it, "" where it says none. parts: canonical part → array; a weight is (kh, kw, in, out) or
    (in, out), as in Keras and Flax."""

    name: str
    parts: dict[str, np.ndarray]


def from_layers(network: Network, layers: Sequence[ForeignLayer], place: str) -> dict[str, Floats]:
    """Canonical weights of ``network`` from layers with channels last.

    By name where all names are the network's; else those of each kind (convolutions, linear layers, normalisations) in
    order, and there the first linear layer's weight is of a flatten in H,W,C order. Raises WeightsError for another
    network's.
    """
    own = [row for row in layer_shapes(network) if isinstance(row.layer, Conv2d | Linear | BatchNorm2d)]
    if {row.name for row in own} == {layer.name for layer in layers}:
        pairs = [(row.name, None, layer.parts) for layer in layers for row in own if row.name == layer.name]
    else:
        pairs = _in_order(network, layers, place)
    found = {}
    for name, flattened, parts in pairs:
        for part, value in parts.items():
            value = as_float32(value, f"{place}: {name}.{part}")
            if value.ndim == 2 and flattened and value.shape[0] == np.prod(flattened):
                channels, height, width = flattened
                value = value.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(value.shape)
            if value.ndim in (2, 4):
                value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            found[f"{name}.{part}"] = np.ascontiguousarray(value)
    check_weights(network, found, place)
    return {name: found[name] for name in weight_shapes(network)}


def _in_order(network: Network, layers: Sequence[ForeignLayer], place: str) -> list[tuple[str, Shape | None, Any]]:
    pairs = []
    rows = layer_shapes(network)
    for dimensions, kind in _KINDS.items():
        own = [index for index, row in enumerate(rows) if isinstance(row.layer, kind)]
        theirs = [layer for layer in layers if next(iter(layer.parts.values())).ndim == dimensions]
        if len(own) != len(theirs):
            raise WeightsError(
                f"{place}: these weights belong to another network: it has {len(own)} {kind.__name__} layers, here are "
                f"{len(theirs)}"
            )
        for index, layer in zip(own, theirs, strict=True):
            before = rows[index - 1].input_shape if index else ()
            pairs.append((rows[index].name, before if len(before) == 3 else None, layer.parts))
    return pairs
