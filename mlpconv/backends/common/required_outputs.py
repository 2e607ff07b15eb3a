"""Which part of each convolution's output a later layer reads.

Pooling that rounds down often leaves the last rows and columns of a map unread: 3×3 windows at stride 2 read 25 of 26
rows. A convolution before it computes fewer rows if it gets less padding below its input; what is read, and every
gradient, stays the same. The chapter's network at 224×224 spends 9 % of its multiplications on positions that no layer
reads.
"""

from typing import NamedTuple

from mlpconv.arch.layer_definition import Window
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes

MapSize = tuple[int, int]
"""(rows, columns) of a map."""


class RequiredOutput(NamedTuple):
    """What one convolution computes."""

    padding: MapSize
    """Zeros to put below and to the right of its input; above and to the left it has the padding of the layer."""
    size: MapSize
    """(rows, columns) of its output that it then computes."""


def required_outputs(network: Network, input_shape: tuple[int, ...], folded: bool = False) -> dict[str, RequiredOutput]:
    """What each convolution computes, by its full name.

    Only layers with windows and element-wise layers let a part of their output be computed alone; what the others
    receive is computed completely.

    Args:
        network: The network.
        input_shape: (C, H, W) of the images.
        folded: Whether the first layer is a folded convolution (common/resize_folding.py), which computes exactly what
            is read of it.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    rows = [row for row in layer_shapes(network, input_shape) if len(row.input_shape) == 3]
    read = _output_size(rows[-1])
    reads: list[MapSize] = []
    for row in reversed(rows):
        reads.append(read)
        read = _read_by(row, read)
    required = {}
    received = _input_size(rows[0])
    for row, wanted in zip(rows, reversed(reads), strict=True):
        layer = row.layer
        if not isinstance(layer, Conv2d):
            received = received if layer.traits.elementwise else _output_size(row)
            continue
        window = layer.window
        above, stride, kernel = window.padding, window.stride, window.kernel
        ends = _ends(window, wanted)
        below, right = (min(above[i], max(ends[i] - above[i] - received[i], 0)) for i in (0, 1))
        padding = below, right
        height, width = ((received[i] + above[i] + padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
        received = height, width
        if folded and row is rows[0]:
            received = min(height, wanted[0]), min(width, wanted[1])
        required[row.name] = RequiredOutput(padding, received)
    return required


def _input_size(row: LayerShape) -> MapSize:
    return row.input_shape[1], row.input_shape[2]


def _output_size(row: LayerShape) -> MapSize:
    return (row.output_shape[1], row.output_shape[2]) if len(row.output_shape) == 3 else _input_size(row)


def _ends(window: Window, size: MapSize) -> MapSize:
    """Where the last of ``size`` windows ends, counted from the first padded row and column."""
    kernel, stride = window.kernel, window.stride
    return (size[0] - 1) * stride[0] + kernel[0], (size[1] - 1) * stride[1] + kernel[1]


def _read_by(row: LayerShape, size: MapSize) -> MapSize:
    """The part of its input that a layer reads to compute ``size`` of its output."""
    if row.layer.traits.elementwise:
        return size
    whole = _input_size(row)
    if window := row.layer.window:
        ends, above = _ends(window, size), window.padding
        # At least one: where the only window is padding, nothing is read, but no map is empty.
        return min(max(ends[0] - above[0], 1), whole[0]), min(max(ends[1] - above[1], 1), whole[1])
    return whole
