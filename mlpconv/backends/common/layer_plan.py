"""Layers with the padding that each needs in a framework whose own rounding and counting are not ours."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import AvgPool2d, Conv2d, MaxPool2d, ReLU, Shape, pair
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.common.required_outputs import required_outputs
from mlpconv.backends.reference import margins, pool_counts


class PlannedLayer(NamedTuple):
    """A layer where it stands. before, after: (C, H, W), or (features,), of what it gets and gives, which is less than
    the network says where nobody reads the rest. sides: ((above, below), (left, right)) to be added to its input, and
    no padding else. native: whether the layer's own padding, on both sides, gives the same windows. counts: what an
    average pooling divides by at every position."""

    row: LayerShape
    before: Shape
    after: Shape
    sides: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    native: bool = True
    counts: npt.NDArray[np.int64] | None = None


def plan_layers(
    network: Network,
    shape: Shape,
    *,
    lean: bool = False,
    pooled_first: bool = False,
    behind: str | None = None,
    output: str | None = None,
) -> list[PlannedLayer]:
    """The layers in order for images of ``shape`` (C, H, W).

    lean: leave out what nobody reads (common/required_outputs.py). pooled_first: put a ReLU behind the max pooling that
    follows it. behind: the first layer, which is left out. output: the layer to end with.
    """
    rows = layer_shapes(network, shape)
    extents = required_outputs(network, shape) if lean else {}
    if output is not None:
        rows = rows[: 1 + next(index for index, row in enumerate(rows) if row.name == output)]
    before = rows[0].input_shape
    if behind is not None:
        assert rows[0].name == behind
        before, rows = rows[0].output_shape, rows[1:]
    found = []
    for row in _pooled_first(rows) if pooled_first else rows:
        layer = row.layer
        if not isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            after = before if isinstance(layer, ReLU) else row.output_shape
            if len(before) == len(after) == 3 and row.input_shape == row.output_shape:
                after = before
            found.append(PlannedLayer(row, before, after))
            before = after
            continue
        own, kernel, stride = pair(layer.padding), pair(layer.kernel_size), pair(layer.stride)
        axes = (0, 1)
        if row.name in extents:
            sides = [(own[axis], extents[row.name].padding[axis]) for axis in axes]
        else:
            sides = [margins(layer, before[1 + axis], row.output_shape[1 + axis], axis) for axis in axes]
        size = [(before[1 + a] + sum(sides[a]) - kernel[a]) // stride[a] + 1 for a in axes]
        plain = [(before[1 + a] + 2 * own[a] - kernel[a]) // stride[a] + 1 for a in axes]
        counts = None
        if isinstance(layer, AvgPool2d):
            counts = pool_counts(layer, row.input_shape, row.output_shape)[: size[0], : size[1]]
        after = (row.output_shape[0], *size)
        found.append(PlannedLayer(row, before, after, (sides[0], sides[1]), size == plain, counts))
        before = after
    return found


def _pooled_first(rows: list[LayerShape]) -> list[LayerShape]:
    """The largest value of a window is the same before and after a ReLU, and behind it the map is smaller."""
    found: list[LayerShape] = []
    for row in rows:
        behind = isinstance(row.layer, MaxPool2d) and found and isinstance(found[-1].layer, ReLU)
        found.insert(len(found) - 1 if behind else len(found), row)
    return found
