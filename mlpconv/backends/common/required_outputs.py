"""How much of each map a later layer reads.

Pooling that rounds down often leaves the last rows and columns of a map unread: 3×3 windows at stride 2 see 25 of 26
rows. A convolution before it gives fewer rows where less padding is put below its input; what is read, and every
gradient, stays as it is. The chapter's network at 224×224 does 9 % of its multiplications for positions that nobody
reads.
"""

from typing import NamedTuple

from mlpconv.arch.layers import AvgPool2d, Conv2d, MaxPool2d, Pool2d, ReLU, Sigmoid, pair
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes

Size = tuple[int, int]


class RequiredOutput(NamedTuple):
    """One convolution. padding: zeros to put below and to the right of its input (above and to the left it has its
    own). size: (rows, columns) that it then computes of its output."""

    padding: Size
    size: Size


def required_outputs(network: Network, input_shape: tuple[int, ...], folded: bool = False) -> dict[str, RequiredOutput]:
    """What each convolution computes, by name, for images of ``input_shape`` (C, H, W).

    folded: the first layer is a folded convolution (common/resize_folding.py), which computes just what is read of it.

    Batch normalisation takes its statistics from all positions and dropout draws for all of them, so what they
    receive is computed whole.
    """
    rows = [row for row in layer_shapes(network, input_shape) if len(row.input_shape) == 3]
    read = _output(rows[-1])
    reads: list[Size] = []
    for row in reversed(rows):
        reads.append(read)
        read = _read_by(row, read)
    extents = {}
    received = _input(rows[0])
    for row, wanted in zip(rows, reversed(reads), strict=True):
        layer = row.layer
        if not isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            received = received if isinstance(layer, ReLU | Sigmoid) else _output(row)
            continue
        if not isinstance(layer, Conv2d):
            received = _output(row)
            continue
        own, stride, kernel = pair(layer.padding), pair(layer.stride), pair(layer.kernel_size)
        ends = _ends(layer, wanted)
        below, right = (min(own[i], max(ends[i] - own[i] - received[i], 0)) for i in (0, 1))
        padding = below, right
        rows_out, columns_out = ((received[i] + own[i] + padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
        received = rows_out, columns_out
        if folded and row is rows[0]:
            received = min(rows_out, wanted[0]), min(columns_out, wanted[1])
        extents[row.name] = RequiredOutput(padding, received)
    return extents


def _input(row: LayerShape) -> Size:
    return row.input_shape[1], row.input_shape[2]


def _output(row: LayerShape) -> Size:
    return (row.output_shape[1], row.output_shape[2]) if len(row.output_shape) == 3 else _input(row)


def _ends(layer: Conv2d | Pool2d, size: Size) -> Size:
    """Where the last of ``size`` windows ends, counted from the first padded row and column."""
    kernel, stride = pair(layer.kernel_size), pair(layer.stride)
    return (size[0] - 1) * stride[0] + kernel[0], (size[1] - 1) * stride[1] + kernel[1]


def _read_by(row: LayerShape, size: Size) -> Size:
    """The part of its input that a layer reads to give ``size`` of its output."""
    layer, whole = row.layer, _input(row)
    match layer:
        case ReLU() | Sigmoid():
            return size
        case Conv2d() | MaxPool2d() | AvgPool2d():
            ends, above = _ends(layer, size), pair(layer.padding)
            # At least one: where the only window lies in the padding, nothing is read, but no map is empty.
            return min(max(ends[0] - above[0], 1), whole[0]), min(max(ends[1] - above[1], 1), whole[1])
        case _:
            return whole
