"""Bilinear enlarging by a whole factor and the convolution after it, without the enlarged image.

Along an axis the enlarged image is a broken line that bends at the centres of the source pixels, f enlarged pixels
apart. With g = gcd(f, s), knots g apart that include those centres describe it exactly, and every window of a
convolution with stride s sees the same places between its knots, because s is a multiple of g. So the convolution is
one on the knots: its weights are M·W·Mᵀ, with M (knots, k) the share of each knot in each enlarged pixel of a window,
and its stride is s / g. The knots are the source enlarged by f / g only. Exact but for rounding, edges included
(bilinear resizing replicates them), where the convolution has no padding of its own.
"""

from math import ceil, floor, gcd, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import Conv2d, pair
from mlpconv.arch.network import Network


class AxisFold(NamedTuple):
    """One axis of a folded convolution.

    knots: float64 (knots, source pixels), which makes the knots. matrix: float64 (kernel on the knots, kernel).
    stride: in knots. outputs: of the axis.
    """

    knots: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float64]
    stride: int
    outputs: int


def fold_axis(source: int, target: int, kernel: int, stride: int, outputs: int | None = None) -> AxisFold:
    """The fold of one axis: ``source`` pixels enlarged to ``target``, then windows of ``kernel`` at ``stride``; the
    first ``outputs`` of them, or all."""
    factor, rest = divmod(target, source)
    assert rest == 0, (source, target)
    count = outputs or (target - kernel) // stride + 1
    gap = gcd(factor, stride)
    offset = (factor - 1) / 2 % gap  # where the first knot at or after 0 lies
    places = (np.arange(kernel) - offset) / gap
    low = floor(places[0])
    matrix = _shares(places - low, ceil(places[-1]) - low + 1)
    step = stride // gap
    at = (gap * (low + np.arange(step * (count - 1) + len(matrix))) + offset + 0.5) / factor - 0.5
    return AxisFold(_shares(at.clip(0, source - 1), source).T, matrix, step, count)


def _shares(places: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.float64]:
    """(points, places): the share of each of the points 0, 1, … in linear interpolation at each place."""
    return np.maximum(0, 1 - np.abs(places - np.arange(points)[:, None]))


def fold_axes(
    layer: Conv2d, source: tuple[int, int], target: int, outputs: tuple[int, int] | None = None
) -> tuple[AxisFold, AxisFold]:
    """The folds of rows and columns: ``source`` (height, width) enlarged to ``target``², then the convolution."""
    (height, width), kernel, stride = source, pair(layer.kernel_size), pair(layer.stride)
    rows, columns = outputs or (None, None)
    return (
        fold_axis(height, target, kernel[0], stride[0], rows),
        fold_axis(width, target, kernel[1], stride[1], columns),
    )


def can_fold(network: Network, source: tuple[int, int], target: int) -> bool:
    """Whether enlarging ``source`` (height, width) to ``target``² can be folded into the network's first layer, and
    at least halves its multiplications: a convolution without padding, and a whole factor on both axes."""
    _, first = next(network.walk())
    if not isinstance(first, Conv2d) or pair(first.padding) != (0, 0) or any(target % side for side in source):
        return False
    axes = fold_axes(first, source, target)
    return 2 * prod(len(axis.matrix) for axis in axes) <= prod(axis.matrix.shape[1] for axis in axes)
