"""The layers of a network with the padding that each needs in a framework that rounds or counts in another way."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import AvgPool2d, MaxPool2d, Shape
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.common.required_outputs import required_outputs
from mlpconv.backends.reference import margins, pool_counts


class PlannedLayer(NamedTuple):
    """A layer as a framework computes it."""

    row: LayerShape
    before: Shape
    """(C, H, W) or (features,) of its input; smaller than the network's where no layer reads the rest."""
    after: Shape
    """(C, H, W) or (features,) of its output; smaller than the network's where no layer reads the rest."""
    sides: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """((above, below), (left, right)): all the padding to be added to its input."""
    native: bool = True
    """Whether the layer's own padding, on both sides, gives the same windows."""
    counts: npt.NDArray[np.int64] | None = None
    """What an average pooling divides by at each position."""


def plan_layers(
    network: Network,
    shape: Shape,
    *,
    lean: bool = False,
    pooled_first: bool = False,
    start_after: str | None = None,
    output: str | None = None,
) -> list[PlannedLayer]:
    """Plan the layers of a network for images of one size, in the order in which they are computed.

    Args:
        network: The network.
        shape: (C, H, W) of the images.
        lean: Whether to leave out what no layer reads (common/required_outputs.py).
        pooled_first: Whether to compute max pooling before an activation that it follows, where that gives the same.
        start_after: The first layer, if the plan takes its output instead of images.
        output: The last layer to compute; by default the last one of the network.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    rows = layer_shapes(network, shape)
    required = required_outputs(network, shape) if lean else {}
    if output is not None:
        rows = rows[: 1 + next(index for index, row in enumerate(rows) if row.name == output)]
    before = rows[0].input_shape
    if start_after is not None:
        assert rows[0].name == start_after
        before, rows = rows[0].output_shape, rows[1:]
    planned = []
    for row in _pooled_first(rows) if pooled_first else rows:
        layer, window = row.layer, row.layer.window
        if window is None:
            after = before if row.input_shape == row.output_shape else row.output_shape
            planned.append(PlannedLayer(row, before, after))
            before = after
            continue
        axes = (0, 1)
        if row.name in required:
            sides = [(window.padding[axis], required[row.name].padding[axis]) for axis in axes]
        else:
            sides = [margins(window, before[1 + axis], row.output_shape[1 + axis], axis) for axis in axes]
        size = [(before[1 + a] + sum(sides[a]) - window.kernel[a]) // window.stride[a] + 1 for a in axes]
        plain = [(before[1 + a] + 2 * window.padding[a] - window.kernel[a]) // window.stride[a] + 1 for a in axes]
        counts = None
        if isinstance(layer, AvgPool2d):
            counts = pool_counts(layer, row.input_shape, row.output_shape)[: size[0], : size[1]]
        after = (row.output_shape[0], *size)
        planned.append(PlannedLayer(row, before, after, (sides[0], sides[1]), size == plain, counts))
        before = after
    return planned


def _pooled_first(rows: list[LayerShape]) -> list[LayerShape]:
    """Put an activation after the max pooling that follows it, where the map is smaller."""
    ordered: list[LayerShape] = []
    for row in rows:
        swapped = isinstance(row.layer, MaxPool2d) and ordered and ordered[-1].layer.traits.pools_first
        ordered.insert(len(ordered) - 1 if swapped else len(ordered), row)
    return ordered
