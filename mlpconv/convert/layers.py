"""Canonical weights from the layers of another program, in the order in which it created them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Linear
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.base import Floats
from mlpconv.backends.common.channels_last import array_to_channels_first, flattened_shapes
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.convert.state_dict import Array, as_float32
from mlpconv.errors import WeightsError

_LAYER_TYPES = {4: Conv2d, 2: Linear, 1: BatchNorm2d}


class ForeignLayer(NamedTuple):
    """A layer as read from the file of another program.

    Attributes:
        name: Its name in the file, or "" if it has none.
        parts: Its arrays by canonical part ("weight", "bias", "running_mean", "running_var").
        channels_first: Whether a weight has the shape (out, in, kh, kw) or (out, in) over a flatten in C,H,W order, as
            canonical ones; otherwise (kh, kw, in, out) or (in, out) over a flatten in H,W,C order, as in Keras and
            Flax. The kernel of a depthwise convolution is (kh, kw, 1, C) in Flax and (kh, kw, C, 1) in Keras; ``like``
            converts that of Keras.
        flatten_channels_first: Whether the flatten is in C,H,W order in any case, as in mlpconv's own Keras models.
        depthwise: Whether it is known to be a depthwise convolution, whose place among others may not be known:
            a .weights.h5 file of Keras 3 has only the layers of each class in order.
    """

    name: str
    parts: dict[str, Array]
    channels_first: bool = False
    flatten_channels_first: bool = False
    depthwise: bool = False

    def like(self, row: LayerShape) -> "ForeignLayer":
        """The layer, whose kernel is (kh, kw, 1, C) if the network's layer is depthwise and it is (kh, kw, C, 1)."""
        weight = self.parts.get("weight")
        if self.channels_first or weight is None or weight.ndim != 4 or weight.shape[3] != 1:
            return self
        if not (isinstance(row.layer, Conv2d) and row.layer.depthwise):
            return self
        return self._replace(parts={**self.parts, "weight": weight.swapaxes(2, 3)})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts with channels first."""
        return {part: _channels_first(value, self.channels_first).shape for part, value in self.parts.items()}


def from_layers(network: Network, layers: Sequence[ForeignLayer], where: str) -> dict[str, Floats]:
    """Canonical weights of a network from the layers of another program.

    If all names are those of the network's layers, they are matched by name. Otherwise the layers of each type
    (convolutions, linear layers, batch normalizations) are matched in order.

    Args:
        network: The network.
        layers: All layers that have weights.
        where: The name of the file, for errors.

    Raises:
        WeightsError: The layers belong to another network.
    """
    rows = weighted_rows(network)
    names = {name: row for row in rows for name in (row.name, row.name.replace(".", "_"))}
    if len(layers) == len(rows) and {layer.name for layer in layers} <= set(names):
        pairs = [(names[layer.name], layer.like(names[layer.name])) for layer in layers]
        return convert_pairs(network, pairs, where)
    return convert_pairs(network, _in_order(rows, layers, where), where)


def weighted_rows(network: Network) -> list[LayerShape]:
    """The layers of a network that have weights, with their shapes."""
    return [row for row in layer_shapes(network) if isinstance(row.layer, Conv2d | Linear | BatchNorm2d)]


def convert_pairs(network: Network, pairs: Sequence[tuple[LayerShape, ForeignLayer]], where: str) -> dict[str, Floats]:
    """Canonical weights from pairs of a network's layer and the same layer of another program.

    Raises:
        WeightsError: The weights are not those of the network, or not finite.
    """
    flattened = flattened_shapes(network)
    weights = {}
    for row, layer in pairs:
        for part, value in layer.parts.items():
            value = as_float32(value, f"{where}: {layer.name or row.name}.{part}")
            shape = () if layer.channels_first or layer.flatten_channels_first else flattened.get(row.name, ())
            if value.ndim == 2 and shape and value.shape[0] == np.prod(shape):
                channels, height, width = shape
                value = value.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(value.shape)
            weights[f"{row.name}.{part}"] = np.ascontiguousarray(_channels_first(value, layer.channels_first))
    check_weights(network, weights, where)
    return {name: weights[name] for name in weight_shapes(network)}


def _channels_first(value: Array, already: bool) -> Array:
    return value if already else array_to_channels_first(value)


def _in_order(
    rows: Sequence[LayerShape], layers: Sequence[ForeignLayer], where: str
) -> list[tuple[LayerShape, ForeignLayer]]:
    """The layers of each type matched in order."""
    for layer in layers:
        if max(value.ndim for value in layer.parts.values()) not in _LAYER_TYPES:
            shapes = ", ".join(str(value.shape) for value in layer.parts.values())
            raise WeightsError(f"{where}: no layer of mlpconv has arrays like those of {layer.name!r}: {shapes}")
    pairs = []
    for ndim, layer_type in _LAYER_TYPES.items():
        expected = [row for row in rows if isinstance(row.layer, layer_type)]
        received = [layer for layer in layers if max(value.ndim for value in layer.parts.values()) == ndim]
        if len(expected) != len(received):
            raise WeightsError(
                f"{where}: these weights belong to another network: expected {len(expected)} {layer_type.__name__} "
                f"layers, received {len(received)}"
            )
        if any(layer.depthwise for layer in received):
            received = _depthwise_in_place(expected, received, where)
        for row, layer in zip(expected, received, strict=True):
            layer = layer.like(row)
            if layer.name:
                check_shapes(row, layer, where)
            pairs.append((row, layer))
    return pairs


def _depthwise_in_place(rows: Sequence[LayerShape], layers: Sequence[ForeignLayer], where: str) -> list[ForeignLayer]:
    """Convolutions in the order of the network, of which the depthwise ones and the others are each in order."""
    depthwise = [layer for layer in layers if layer.depthwise]
    wanted = [isinstance(row.layer, Conv2d) and row.layer.depthwise for row in rows]
    if sum(wanted) != len(depthwise):
        raise WeightsError(
            f"{where}: these weights belong to another network: expected {sum(wanted)} depthwise convolutions, "
            f"received {len(depthwise)}"
        )
    kinds = {True: iter(depthwise), False: iter([layer for layer in layers if not layer.depthwise])}
    return [next(kinds[each]) for each in wanted]


def check_shapes(row: LayerShape, layer: ForeignLayer, where: str) -> None:
    """Check that a layer has the parts and shapes of a network's layer.

    Raises:
        WeightsError: It has others; the message names the first of them.
    """
    expected = row_shapes(row)
    received = layer.shapes()
    for part in [*expected, *received]:
        if expected.get(part) != received.get(part):
            raise WeightsError(
                f"{where}: these weights belong to another network: expected {row.name}.{part} of shape "
                f"{expected.get(part, 'none')}, received {layer.name}.{part} of shape {received.get(part, 'none')}"
            )


def row_shapes(row: LayerShape) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a layer's parameters and statistics."""
    return row.layer.parameter_shapes(row.input_shape) | row.layer.statistic_shapes(row.input_shape)
