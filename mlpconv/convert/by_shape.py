"""Canonical weights from layers whose names mean nothing here, matched by their types and shapes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape
from mlpconv.backends.base import Floats
from mlpconv.convert.layers import (
    ForeignLayer,
    check_shapes,
    convert_pairs,
    row_shapes,
    weighted_rows,
)
from mlpconv.convert.state_dict import PARTS, without_counters
from mlpconv.errors import WeightsError

Signature = frozenset[tuple[str, tuple[int, ...]]]
"""The parts of a layer with their shapes."""


def from_shapes(
    network: Network, content: Mapping[str, Any] | Sequence[ForeignLayer], where: str, *, ordered: bool
) -> dict[str, Floats]:
    """Canonical weights from the layers of a reader's own class.

    A layer whose parts and shapes occur once in the network is matched by these alone. Layers with the same shapes are
    matched by the numbers in their names if the names differ in nothing else, or in the order of definition if all
    layers of the file have the shapes of the network's layers in this order.

    Args:
        network: The network.
        content: Arrays by name, or layers.
        where: The name of the file, for errors.
        ordered: Whether the layers are in the order of definition.

    Raises:
        WeightsError: A layer has no counterpart, or more than one is possible.
    """
    layers = _grouped(content, where) if isinstance(content, Mapping) else list(content)
    rows = weighted_rows(network)
    layers = [_like_depthwise(layer, rows) for layer in layers]
    expected, received = _by_signature(rows, row_shapes), _by_signature(layers, ForeignLayer.shapes)
    for layer in layers:
        signature = frozenset(layer.shapes().items())
        if len(received[signature]) > len(expected.get(signature, ())):
            shapes = ", ".join(f"{part} {shape}" for part, shape in sorted(signature))
            raise WeightsError(
                f"{where}: the layer {layer.name!r} ({shapes}) is one of {len(received[signature])} with these shapes; "
                f"the network has {len(expected.get(signature, ()))}; check --model, or remove the layer from the file"
            )
    for row in rows:
        signature = frozenset(row_shapes(row).items())
        if len(expected[signature]) > len(received.get(signature, ())):
            raise WeightsError(f"{where}: no layer has the shapes of {row.name}; check --model")
    in_order = ordered and [frozenset(layer.shapes().items()) for layer in layers] == [
        frozenset(row_shapes(row).items()) for row in rows
    ]
    pairs = []
    for signature, same in expected.items():
        for row, layer in zip(same, _in_order(received[signature], same, in_order, where), strict=True):
            check_shapes(row, layer, where)
            pairs.append((row, layer))
    return convert_pairs(network, pairs, where)


def _like_depthwise(layer: ForeignLayer, rows: Sequence[LayerShape]) -> ForeignLayer:
    """The layer in the layout of the network's depthwise layers if only these have its shapes."""
    if any(row_shapes(row) == layer.shapes() for row in rows):
        return layer
    fitting = (layer.like(row) for row in rows if row_shapes(row) == layer.like(row).shapes())
    return next(fitting, layer)


def _grouped(values: Mapping[str, Any], where: str) -> list[ForeignLayer]:
    """The layers of named arrays in PyTorch's layout."""
    layers: dict[str, dict[str, Any]] = {}
    for name, value in without_counters(values).items():
        layer, _, part = name.rpartition(".")
        if part not in PARTS:
            raise WeightsError(f"{where}: {name!r} is no part of a layer ({', '.join(PARTS)}); remove it from the file")
        layers.setdefault(layer, {})[part] = value
    return [ForeignLayer(name, parts, channels_first=True) for name, parts in layers.items()]


def _by_signature(layers: Sequence[Any], shapes: Any) -> dict[Signature, list[Any]]:
    found: dict[Signature, list[Any]] = {}
    for layer in layers:
        found.setdefault(frozenset(shapes(layer).items()), []).append(layer)
    return found


def _in_order(layers: list[ForeignLayer], rows: list[LayerShape], in_order: bool, where: str) -> list[ForeignLayer]:
    """Layers of the same shapes in the order of the network."""
    if len(layers) == 1:
        return layers
    # conv2, conv10 differ in numbers only.
    numbered = sorted(layers, key=lambda layer: [int(number) for number in re.findall(r"\d+", layer.name)])
    by_numbers = len({re.sub(r"_?\d+", "", layer.name) for layer in layers}) == 1
    if (by_numbers and (not in_order or numbered == layers)) or (in_order and not by_numbers):
        return numbered if by_numbers else layers
    raise WeightsError(
        f"{where}: --by-shape is ambiguous: the layers {', '.join(repr(layer.name) for layer in layers)} have the same "
        f"shapes, and any of them could be {rows[0].name}; rename the weights to those of the network"
    )
