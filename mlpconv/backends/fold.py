"""Bilinear enlarging by a whole factor and the convolution after it, as one convolution on the small image.

Enlarging is linear and local, so a convolution with stride s behind an enlarging by f reads each output from a few
source pixels. Outputs whose positions agree modulo P = f / gcd(f, s) share the same weights; they are the P phases of
an axis. With M (P, k_src, k) the share of source pixel and phase in every enlarged pixel, the small convolution's
weights are M·W·Mᵀ, its stride is s / gcd(f, s), and its outputs are the phases side by side. Exact but for rounding,
edges included (the source is replicated outwards, as bilinear resizing does), where the convolution has no
padding of its own.
"""

from math import gcd, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import Conv2d, pair
from mlpconv.arch.network import Network


class AxisFold(NamedTuple):
    """One axis of a folded convolution.

    matrix: float64 (phases, source kernel, kernel). stride: in source pixels. before, after: replicated source pixels
    on each side. outputs: of the axis; the phases give phases·⌈outputs / phases⌉, the rest is cut off.
    """

    matrix: npt.NDArray[np.float64]
    stride: int
    before: int
    after: int
    outputs: int

    @property
    def phases(self) -> int:
        return len(self.matrix)


def fold_axis(source: int, target: int, kernel: int, stride: int) -> AxisFold:
    """The fold of one axis: ``source`` pixels enlarged to ``target``, then windows of ``kernel`` at ``stride``."""
    factor, rest = divmod(target, source)
    assert rest == 0, (source, target)
    shared = gcd(factor, stride)
    phases, step = factor // shared, stride // shared
    count = (target - kernel) // stride + 1
    places = (stride * np.arange(phases)[:, None] + np.arange(kernel) + 0.5) / factor - 0.5
    left = np.floor(places).astype(int)
    share = places - left
    low, high = left.min(), left.max() + 1
    matrix = np.zeros((phases, high - low + 1, kernel))
    for phase in range(phases):
        np.add.at(matrix[phase], (left[phase] - low, np.arange(kernel)), 1 - share[phase])
        np.add.at(matrix[phase], (left[phase] - low + 1, np.arange(kernel)), share[phase])
    last = step * (-(-count // phases) - 1) + high
    return AxisFold(matrix, step, int(-low), max(0, int(last) - (source - 1)), count)


def fold_axes(layer: Conv2d, source: tuple[int, int], target: int) -> tuple[AxisFold, AxisFold]:
    """The folds of rows and columns: ``source`` (height, width) enlarged to ``target``², then the convolution."""
    (height, width), kernel, stride = source, pair(layer.kernel_size), pair(layer.stride)
    return fold_axis(height, target, kernel[0], stride[0]), fold_axis(width, target, kernel[1], stride[1])


def can_fold(network: Network, source: tuple[int, int], target: int) -> bool:
    """Whether enlarging ``source`` (height, width) to ``target``² can be folded into the network's first layer, and
    at least halves its multiplications: a convolution without padding, and a whole factor on both axes."""
    _, first = next(network.walk())
    if not isinstance(first, Conv2d) or pair(first.padding) != (0, 0) or any(target % side for side in source):
        return False
    axes = fold_axes(first, source, target)
    folded = prod(axis.matrix.shape[1] * axis.phases * -(-axis.outputs // axis.phases) for axis in axes)
    return 2 * folded <= prod(axis.matrix.shape[2] * axis.outputs for axis in axes)
