"""Convolutions of square kernels by Winograd's algorithm, for PyTorch on a CPU in float32.

A tile of m×m outputs of a convolution with a kernel of r×r needs n² multiplications for each pair of channels, where
n = m + r − 1, instead of m²·r². For 5×5 kernels and tiles of 4×4 that is 64 instead of 400. With d a tile of the input,
g a kernel and y a tile of the output,

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A.

The transforms are matrix products with the Kronecker squares of Aᵀ, G and Bᵀ, and so is the sum over the input channels
for each of the n² points. The gradients are the adjoints of the same steps.

In exact arithmetic the result is that of the convolution. In float32, its relative error is about 4e-6 with the largest
tiles, n = 8, where oneDNN's convolution has 1e-6. In bfloat16 it would be too large.

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

POINTS = tuple(Fraction(*point) for point in ((0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2)))
"""Where the polynomials are evaluated, besides infinity. More points lose too much to rounding."""

ROWS = 192
"""Rows of the matrix products of a chunk: fewer are slow, and more do not fit into the processor's cache."""

DIRECT, TRANSFORM, MOVE = 2, 6, 280
"""What a multiplication of the direct convolution, one of a transform, and the reading or writing of a value take, in
multiplications of the products of the points. Fitted to the times of 42 convolutions, with 16 to 384 channels and maps
of 7×7 to 28×28, in training with batches of 128 on two cores with AVX2."""


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
    if stride != (1, 1) or kernel != width or not 3 <= kernel < len(POINTS):
        return None
    choices = [Tiling(m, kernel, -(-size[0] // m), -(-size[1] // m)) for m in range(2, len(POINTS) + 3 - kernel)]
    best = min(choices, key=lambda choice: _cost(choice, inputs, outputs))
    direct = DIRECT * prod(size) * kernel**2 * inputs * outputs
    enough_rows = 2 * batch * best.tiles >= ROWS
    return best if enough_rows and _cost(best, inputs, outputs) < direct else None


def _cost(tiling: Tiling, inputs: int, outputs: int) -> int:
    """The time for one image, in multiplications of the products of the points."""
    points = tiling.inputs**2
    transforms = TRANSFORM * (points * inputs + tiling.outputs**2 * outputs)
    return tiling.tiles * points * (inputs * outputs + transforms + MOVE * (inputs + outputs))


def multiplications(tiling: Tiling, inputs: int, outputs: int) -> tuple[int, int]:
    """Those of the forward and of the backward pass for one image, without the transforms of the kernels."""
    points = tiling.inputs**2
    products = points * inputs * outputs
    of_input, of_output = points**2 * inputs, points * tiling.outputs**2 * outputs
    forward, backward = products + of_input + of_output, 2 * products + 2 * of_input + of_output
    return tiling.tiles * forward, tiling.tiles * backward


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], tiling: Tiling) -> Tensor:
    """The convolution at stride 1 of x, float32 (B, C, H, W), with zeros on all sides."""
    height, width = (x.shape[axis + 2] + 2 * padding[axis] - tiling.kernel + 1 for axis in (0, 1))
    step, outputs = tiling.outputs, len(weight)
    _, to_points, from_points = _transforms(tiling)
    kernels = _kernels(weight, tiling)
    y = x.new_empty(len(x), height, width, outputs)
    buffers = _Buffers(x)
    for chunk in _chunks(len(x), tiling):
        images = _padded(x[chunk], padding, tiling)
        count = len(images) * tiling.tiles
        points = _points(images, to_points, tiling, buffers)
        products = buffers.new("tiles", len(points), count, outputs)
        torch.bmm(points, kernels, out=products)
        tiles = buffers.new("outputs", step**2, count * outputs)
        torch.mm(from_points, products.view(len(points), -1), out=tiles)
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
    kernels = _kernels(weight, tiling).transpose(1, 2)
    spare = 0, 0, 0, tiling.columns * step - width, 0, tiling.rows * step - height
    rows, columns = (slice(padding[axis], padding[axis] + x.shape[axis + 2]) for axis in (0, 1))
    of_x = x.new_empty(len(x), *x.shape[2:], inputs)
    of_kernels = x.new_zeros(tiling.inputs**2, inputs, outputs)
    buffers = _Buffers(x)
    for chunk in _chunks(len(x), tiling):
        images = _padded(x[chunk], padding, tiling)
        count = len(images) * tiling.tiles
        points = _points(images, to_points, tiling, buffers)
        received = _output_tiles(F.pad(gradient[chunk].permute(0, 2, 3, 1), spare), tiling)
        tiles = buffers.new("outputs", step**2, count * outputs)
        tiles.view(received.shape).copy_(received)
        products = buffers.new("tiles", len(points), count, outputs)
        torch.mm(from_points.T, tiles, out=products.view(len(points), -1))
        torch.baddbmm(of_kernels, points.transpose(1, 2), products, out=of_kernels)
        torch.bmm(products, kernels, out=points)
        tiles = buffers.new("tiles", len(points), count * inputs)
        torch.mm(to_points.T, points.view(len(points), -1), out=tiles)
        found = buffers.new("found", len(images), *tiling.padded, inputs).zero_()
        _add_tiles(found, tiles.view(tiling.inputs, tiling.inputs, *received.shape[2:5], inputs), tiling)
        of_x[chunk] = found[:, rows, columns]
    of_weight = (kernel_transform.T @ of_kernels.view(len(of_kernels), -1)).view(*weight.shape[2:], inputs, outputs)
    of_bias = gradient.sum((0, 2, 3)) if bias else None
    return of_x.permute(0, 3, 1, 2), of_weight.permute(3, 2, 0, 1), of_bias


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
    tiles = buffers.new("tiles", side**2, count * channels)
    tiles.view(windows.shape).copy_(windows)
    points = buffers.new("points", side**2, count, channels)
    torch.mm(to_points, tiles, out=points.view(side**2, -1))
    return points


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


def _kernels(weight: Tensor, tiling: Tiling) -> Tensor:
    """The transformed kernels: (points, in, out)."""
    outputs, inputs = weight.shape[:2]
    flat = weight.permute(2, 3, 1, 0).reshape(tiling.kernel**2, -1)
    return (_transforms(tiling)[0] @ flat).view(-1, inputs, outputs)


def _transforms(tiling: Tiling) -> tuple[Tensor, Tensor, Tensor]:
    # Tensors are not cached: made in FakeTensorMode, they would not be real ones.
    g, b, a = (torch.tensor(matrix) for matrix in _matrices(tiling.outputs, tiling.kernel))
    return g, b, a


@cache
def _matrices(outputs: int, kernel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G⊗G (n², r²), Bᵀ⊗Bᵀ (n², n²) and Aᵀ⊗Aᵀ (m², n²).

    The product of two polynomials of degrees below m and r follows from its values at m + r − 2 points and its leading
    coefficient, by Lagrange's formula; the transposed algorithm is the convolution. Each row of Bᵀ is divided by its
    largest value, and that of G multiplied by it, so that the values at all points are of similar size.
    """
    count = outputs + kernel - 1
    points = POINTS[: count - 1]

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

    def square(rows: list[list[Fraction]]) -> np.ndarray:
        matrix = np.array(rows, np.float64)
        return np.kron(matrix, matrix).astype(np.float32)

    return square(transform), square(inverse), np.ascontiguousarray(square(powers(outputs)).T)


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[Fraction]:
    """Those of the polynomial with these roots and leading coefficient 1, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        above, below = [Fraction(0), *found], [*found, Fraction(0)]
        found = [left - root * right for left, right in zip(above, below, strict=True)]
    return found
