"""Bilinear enlarging by an integer factor and the convolution after it, without the enlarged image.

Along an axis the enlarged image is piecewise linear with bends at the centers of the source pixels, f enlarged pixels
apart. With g = gcd(f, s), knots g apart that include those centers describe it exactly, and every window of a
convolution with stride s sees the same positions between its knots, because s is a multiple of g. So the convolution is
a convolution of the knots: its weights are M·W·Mᵀ, with M (knots, k) the share of each knot in each enlarged pixel of a
window, and its stride is s / g. The knots are the source enlarged by f / g only. This is exact except for rounding,
including the edges (bilinear resizing repeats them), if the convolution has no padding.
"""

from math import ceil, floor, gcd, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network


class AxisFold(NamedTuple):
    """One axis of a folded convolution."""

    knots: npt.NDArray[np.float64]
    """(knots, source pixels): computes the knots."""
    matrix: npt.NDArray[np.float64]
    """(kernel of the knots, kernel): computes the weights."""
    stride: int
    """In knots."""
    outputs: int
    """Number of outputs of the axis."""


def fold_axis(source: int, target: int, kernel: int, stride: int, outputs: int | None = None) -> AxisFold:
    """The fold of one axis.

    Args:
        source: Number of pixels of the source.
        target: Number of pixels after enlarging, a multiple of ``source``.
        kernel: Kernel of the convolution.
        stride: Stride of the convolution.
        outputs: Number of outputs to compute; by default all.
    """
    factor, rest = divmod(target, source)
    assert rest == 0, (source, target)
    count = outputs or (target - kernel) // stride + 1
    gap = gcd(factor, stride)
    offset = (factor - 1) / 2 % gap  # the position of the first knot at or after 0
    positions = (np.arange(kernel) - offset) / gap
    low = floor(positions[0])
    matrix = _shares(positions - low, ceil(positions[-1]) - low + 1)
    step = stride // gap
    at = (gap * (low + np.arange(step * (count - 1) + len(matrix))) + offset + 0.5) / factor - 0.5
    return AxisFold(_shares(at.clip(0, source - 1), source).T, matrix, step, count)


def _shares(positions: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.float64]:
    """(points, positions): the share of each of the points 0, 1, … in linear interpolation at each position."""
    return np.maximum(0, 1 - np.abs(positions - np.arange(points)[:, None]))


def fold_axes(
    layer: Conv2d, source: tuple[int, int], target: int, outputs: tuple[int, int] | None = None
) -> tuple[AxisFold, AxisFold]:
    """The folds of rows and columns.

    Args:
        layer: The convolution, without padding.
        source: (height, width) of the images.
        target: The side of the square that they are enlarged to.
        outputs: (rows, columns) of the output to compute; by default all.
    """
    (height, width), kernel, stride = source, layer.window.kernel, layer.window.stride
    rows, columns = outputs or (None, None)
    return (
        fold_axis(height, target, kernel[0], stride[0], rows),
        fold_axis(width, target, kernel[1], stride[1], columns),
    )


def can_fold(network: Network, source: tuple[int, int], target: int) -> bool:
    """Whether enlarging images can be folded into the first layer, and at least halves its multiplications.

    The layer must be a convolution of all channels without padding, and both axes must be enlarged by an integer
    factor.

    Args:
        network: The network.
        source: (height, width) of the images.
        target: The side of the square that they are enlarged to.
    """
    _, first = next(network.walk())
    if not isinstance(first, Conv2d) or first.depthwise or first.window.padding != (0, 0):
        return False
    if any(target % side for side in source):
        return False
    axes = fold_axes(first, source, target)
    return 2 * prod(len(axis.matrix) for axis in axes) <= prod(axis.matrix.shape[1] for axis in axes)
