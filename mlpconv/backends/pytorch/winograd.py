"""Convolutions of square kernels by Winograd's algorithm, for PyTorch on a CPU in float32.

A tile of m×m outputs of a convolution with a kernel of r×r needs n² multiplications for each pair of channels, where
n = m + r − 1, instead of m²·r². For 5×5 kernels and tiles of 5×5 that is 81 instead of 625. With d a tile of the input,
g a kernel and y a tile of the output,

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A.

Everything is a matrix product: the transforms, of rows and then of columns, and for each of the n² points the sum over
the input channels. The gradients are the adjoints of the same steps.

In exact arithmetic the result is that of the convolution. In float32, its relative error is about 1e-5 with the largest
tiles, n = 9, and 4e-6 with n = 8, where oneDNN's convolution has 1e-6. In bfloat16 it would be too large.

Sources: A. Lavin and S. Gray, Fast algorithms for convolutional neural networks, 2016 (arXiv:1509.09308);
S. Winograd, Arithmetic complexity of computations, 1980.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Gradients = tuple[Tensor, Tensor, Tensor | None]
"""Of a convolution's x, weight and bias."""

LARGEST_TILE, LARGEST_KERNEL = 9, 6
"""The most rows of the inputs of a tile, n, and of a kernel, r. Larger tiles lose too much to rounding."""

ROWS = 192
"""Rows of the matrix products of a chunk: fewer are slow, and more do not fit into the processor's cache."""

DIRECT, TRANSFORM, MOVE = 0.6, 2, 30
"""What a multiplication of the direct convolution, one of a transform, and the reading or writing of a value take, in
multiplications of the products of the points. Fitted to the times of 68 convolutions, with 16 to 384 channels and maps
of 3×3 to 28×28, in training with batches of 128 on two cores with AVX2."""


class Tiling(NamedTuple):
    """How the output of a convolution is divided into tiles."""

    outputs: int
    """Rows and columns of the outputs of a tile, m."""
    kernel: int
    """Rows and columns of the kernel, r."""
    rows: int
    """Rows of tiles."""
    columns: int
    """Columns of tiles."""

    @property
    def inputs(self) -> int:
        """Rows and columns of the inputs of a tile, n."""
        return self.outputs + self.kernel - 1

    @property
    def tiles(self) -> int:
        """The tiles of one image."""
        return self.rows * self.columns

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of a map of whole steps of m that contains all tiles of the input."""
        overlap = -(-self.inputs // self.outputs) - 1
        return (self.rows + overlap) * self.outputs, (self.columns + overlap) * self.outputs


def tiling(weight_shape: tuple[int, ...], stride: tuple[int, int], batch: int, size: tuple[int, int]) -> Tiling | None:
    """The fastest tiling, or None where the direct convolution is faster.

    Args:
        weight_shape: (out, in, kh, kw) of the weight.
        stride: The stride.
        batch: The number of images.
        size: Rows and columns of the output.
    """
    outputs, inputs, kernel, width = weight_shape
    if stride != (1, 1) or kernel != width or not 3 <= kernel <= LARGEST_KERNEL:
        return None
    choices = [Tiling(m, kernel, -(-size[0] // m), -(-size[1] // m)) for m in range(2, LARGEST_TILE + 2 - kernel)]
    best = min(choices, key=lambda choice: _cost(choice, inputs, outputs))
    direct = DIRECT * prod(size) * kernel**2 * inputs * outputs
    return best if _has_enough_rows(best, batch) and _cost(best, inputs, outputs) < direct else None


def _has_enough_rows(tiling: Tiling, batch: int) -> bool:
    return 2 * batch * tiling.tiles >= ROWS


def _cost(tiling: Tiling, inputs: int, outputs: int) -> float:
    """The time for one image, in multiplications of the products of the points."""
    points = tiling.inputs**2
    transforms = _of_input(tiling, inputs) + _of_output(tiling, outputs)
    return tiling.tiles * (points * (inputs * outputs + MOVE * (inputs + outputs)) + TRANSFORM * transforms)


def multiplications(tiling: Tiling, inputs: int, outputs: int) -> tuple[int, int]:
    """Those of the forward and of the backward pass for one image, without the transforms of the kernels."""
    products = tiling.inputs**2 * inputs * outputs
    of_input, of_output = _of_input(tiling, inputs), _of_output(tiling, outputs)
    return tiling.tiles * (products + of_input + of_output), tiling.tiles * (2 * products + 2 * of_input + of_output)


def _of_input(tiling: Tiling, channels: int) -> int:
    """The multiplications of the transform of a tile of the input: of its rows, then of its columns."""
    return 2 * tiling.inputs**3 * channels


def _of_output(tiling: Tiling, channels: int) -> int:
    """The multiplications of the transform of a tile of the output."""
    return tiling.inputs * tiling.outputs * (tiling.inputs + tiling.outputs) * channels


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], tiling: Tiling) -> Tensor:
    """The convolution at stride 1 of x, float32 (B, C, H, W), with zeros on all sides."""
    height, width = (x.shape[axis + 2] + 2 * padding[axis] - tiling.kernel + 1 for axis in (0, 1))
    step, outputs = tiling.outputs, len(weight)
    kernel_transform, to_points, from_points = _transforms(tiling)
    buffers = _Buffers(x)
    kernels = _kernels(weight, kernel_transform, buffers)
    y = x.new_empty(len(x), height, width, outputs)
    for chunk in _chunks(len(x), tiling):
        images = _padded(x[chunk], padding, tiling)
        count = len(images) * tiling.tiles
        points = _points(images, to_points, tiling, buffers)
        products = buffers.new("tiles", len(points), count, outputs)
        torch.bmm(points, kernels, out=products)
        tiles = _transform(from_points, products, buffers, "outputs")
        found = buffers.new("found", len(images), tiling.rows * step, tiling.columns * step, outputs)
        by_tile = _output_tiles(found, tiling)
        by_tile.copy_(tiles.view(by_tile.shape))
        y[chunk] = found[:, :height, :width]
        if bias is not None:
            y[chunk] += bias
    return y.permute(0, 3, 1, 2)


def gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, bias: bool, padding: tuple[int, int], tiling: Tiling
) -> Gradients:
    """Those of ``convolve``, by the gradient of its output; ``bias``: whether it has one."""
    height, width = gradient.shape[2:]
    step, (outputs, inputs) = tiling.outputs, weight.shape[:2]
    kernel_transform, to_points, from_points = _transforms(tiling)
    buffers = _Buffers(x)
    kernels = _kernels(weight, kernel_transform, buffers).transpose(1, 2)
    spare = 0, 0, 0, tiling.columns * step - width, 0, tiling.rows * step - height
    rows, columns = (slice(padding[axis], padding[axis] + x.shape[axis + 2]) for axis in (0, 1))
    of_x = x.new_empty(len(x), *x.shape[2:], inputs)
    of_kernels = x.new_zeros(tiling.inputs**2, inputs, outputs)
    for chunk in _chunks(len(x), tiling):
        images = _padded(x[chunk], padding, tiling)
        count = len(images) * tiling.tiles
        points = _points(images, to_points, tiling, buffers)
        received = _output_tiles(F.pad(gradient[chunk].permute(0, 2, 3, 1), spare), tiling)
        tiles = buffers.new("outputs", step**2, count, outputs)
        tiles.view(received.shape).copy_(received)
        products = _transform(from_points.T, tiles, buffers, "tiles")
        torch.baddbmm(of_kernels, points.transpose(1, 2), products, out=of_kernels)
        torch.bmm(products, kernels, out=points)
        tiles = _transform(to_points.T, points, buffers, "tiles")
        found = buffers.new("found", len(images), *tiling.padded, inputs).zero_()
        _add_tiles(found, tiles.view(tiling.inputs, tiling.inputs, *received.shape[2:5], inputs), tiling)
        of_x[chunk] = found[:, rows, columns]
    # In separate memory: the gradient lives longer than the buffers.
    of_weight = _transform(kernel_transform.T, of_kernels, buffers, "weight").view(*weight.shape[2:], inputs, outputs)
    of_bias = gradient.sum((0, 2, 3)) if bias else None
    return of_x.permute(0, 3, 1, 2), of_weight.permute(3, 2, 0, 1), of_bias


def scratch_bytes(tiling: Tiling, inputs: int, outputs: int, backward: bool, batch: int) -> int:
    """Bytes of what ``convolve`` or ``gradients`` keeps besides its results; 0 for batches too small for them."""
    if not _has_enough_rows(tiling, batch):
        return 0
    images = min(-(-ROWS // tiling.tiles), batch)
    count, n, m = images * tiling.tiles, tiling.inputs, tiling.outputs
    tiles = n**2 * count * (inputs + max(inputs, outputs)) + m**2 * count * outputs
    half = max(n**2 * count * inputs, n * m * count * outputs, n * tiling.kernel * inputs * outputs)
    padded = images * ((1 + backward) * prod(tiling.padded) * inputs + m**2 * tiling.tiles * outputs)
    kernels = (1 + backward) * n**2 * inputs * outputs
    return 4 * (tiles + half + padded + kernels)


class _Buffers:
    """Memory that the chunks of one call use in turn."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._flat: dict[str, Tensor] = {}

    def new(self, name: str, *shape: int) -> Tensor:
        """An uninitialized tensor, in the memory of the earlier one of this name if it is large enough."""
        size = prod(shape)
        if name not in self._flat or self._flat[name].numel() < size:
            self._flat[name] = self._like.new_empty(size)
        return self._flat[name][:size].view(shape)


def _chunks(count: int, tiling: Tiling) -> Iterator[slice]:
    """The images to compute at once."""
    size = -(-ROWS // tiling.tiles)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _padded(x: Tensor, padding: tuple[int, int], tiling: Tiling) -> Tensor:
    """x as (b, rows, columns, C), with zeros on all sides, so that it contains all tiles."""
    rows, columns = tiling.padded
    above, left = padding
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, left, columns - x.shape[3] - left, above, rows - x.shape[2] - above))


def _points(images: Tensor, to_points: Tensor, tiling: Tiling, buffers: _Buffers) -> Tensor:
    """The transformed tiles of the input: (points, tiles of all images, C)."""
    side, channels = tiling.inputs, images.shape[3]
    count = len(images) * tiling.tiles
    windows = images.unfold(1, side, tiling.outputs).unfold(2, side, tiling.outputs)
    windows = windows[:, : tiling.rows, : tiling.columns].permute(4, 5, 0, 1, 2, 3)
    tiles = buffers.new("tiles", side**2, count, channels)
    tiles.view(windows.shape).copy_(windows)
    return _transform(to_points, tiles, buffers, "points")


def _transform(matrix: Tensor, tiles: Tensor, buffers: _Buffers, name: str) -> Tensor:
    """matrix · tile · matrixᵀ for tiles (rows·columns, ...), in the buffer of this name."""
    after, before = matrix.shape
    values = prod(tiles.shape[1:])
    half = buffers.new("half", after, before * values)
    torch.mm(matrix, tiles.reshape(before, -1), out=half)
    found = buffers.new(name, after, after, values)
    torch.bmm(matrix.expand(after, after, before), half.view(after, before, values), out=found)
    return found.view(after**2, *tiles.shape[1:])


def _output_tiles(y: Tensor, tiling: Tiling) -> Tensor:
    """A map (b, rows·m, columns·m, K) as its tiles (m, m, b, rows, columns, K), without a copy."""
    step = tiling.outputs
    return y.unflatten(2, (tiling.columns, step)).unflatten(1, (tiling.rows, step)).permute(2, 4, 0, 1, 3, 5)


def _add_tiles(found: Tensor, tiles: Tensor, tiling: Tiling) -> None:
    """Add tiles (n, n, b, rows, columns, C), which overlap, to a map (b, H, W, C) at their places."""
    step = tiling.outputs
    for above in range(0, tiling.inputs, step):
        for left in range(0, tiling.inputs, step):
            part = tiles[above : above + step, left : left + step]
            rows = slice(above, above + step * tiling.rows)
            columns = slice(left, left + step * tiling.columns)
            _output_tiles(found[:, rows, columns], tiling)[: part.shape[0], : part.shape[1]] += part


def _kernels(weight: Tensor, transform: Tensor, buffers: _Buffers) -> Tensor:
    """The transformed kernels: (points, in, out)."""
    return _transform(transform, weight.permute(2, 3, 1, 0).reshape(-1, *weight.shape[1::-1]), buffers, "kernels")


def _transforms(tiling: Tiling) -> tuple[Tensor, Tensor, Tensor]:
    # Tensors are not cached: made in FakeTensorMode, they would not be real ones.
    g, b, a = (torch.tensor(matrix) for matrix in _matrices(tiling.outputs, tiling.kernel))
    return g, b, a


@cache
def _matrices(outputs: int, kernel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G (n, r), Bᵀ (n, n) and Aᵀ (m, n).

    The product of two polynomials of degrees below m and r follows from its values at m + r − 2 points and its leading
    coefficient, by Lagrange's formula; the transposed algorithm is the convolution. Each row of Bᵀ is divided by its
    largest value, and that of G multiplied by it, so that the values at all points are of similar size.
    """
    count = outputs + kernel - 1
    points = _evaluated_at(count - 1)

    def powers(length: int) -> list[list[Fraction]]:
        last = [Fraction(index == length - 1) for index in range(length)]
        return [*([point**power for power in range(length)] for point in points), last]

    transform = powers(kernel)
    inverse = [_coefficients([other for other in points if other != point]) for point in points]
    inverse.append(_coefficients(points))
    for index, point in enumerate(points):
        at_others = prod(point - other for other in points if other != point)
        transform[index] = [value / at_others for value in transform[index]]
    for index, row in enumerate(inverse):
        largest = max(abs(value) for value in row)
        inverse[index] = [value / largest for value in row] + [Fraction(0)] * (count - len(row))
        transform[index] = [value * largest for value in transform[index]]

    def matrix(rows: list[list[Fraction]]) -> np.ndarray:
        return np.array(rows, np.float64).astype(np.float32)

    return matrix(transform), matrix(inverse), np.ascontiguousarray(matrix(powers(outputs)).T)


def _evaluated_at(count: int) -> tuple[Fraction, ...]:
    """The points, besides infinity, at which polynomials are evaluated: those with the least rounding that were found.

    A point and its negative share their powers, and small numbers and their inverses keep the powers near 1.
    """
    if count == LARGEST_TILE - 1:
        return tuple(sign * Fraction(point) for point in ("1/4", "2/3", "9/8", "15/7") for sign in (1, -1))
    return tuple(Fraction(point) for point in ("0", "1", "-1", "2", "-2", "1/2", "-1/2"))[:count]


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[Fraction]:
    """Those of the polynomial with these roots and leading coefficient 1, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        above, below = [Fraction(0), *found], [*found, Fraction(0)]
        found = [left - root * right for left, right in zip(above, below, strict=True)]
    return found
