"""Resizing as nodes of an ONNX graph: in 8 bits as Pillow does it, and as the back ends resize the network's input."""

import numpy as np

from mlpconv.backends.reference.images import resize_matrix
from mlpconv.export.onnx_graph.graph import Graph

ROWS, COLUMNS = 2, 3
"""The axes of images (N, C, H, W): a resize along ``ROWS`` changes their height."""
_PRECISION = 22
"""The bits after the point of Pillow's weights for 8-bit images."""
_BYTES = (1, 256, 65536)
"""The values of the lowest bit of each byte of such a weight."""


def add_8_bit_resize(graph: Graph, x: str, channels: int, size: tuple[int, int]) -> str:
    """Add the bilinear resize of Pillow, bit for bit: along one axis and then the other, each rounded to 8 bits.

    ONNX's own Resize operator does not round in the same way: about every hundredth value differs by one.
    Pillow begins with the height where that saves more, since version 13; earlier ones always began with the width.

    Args:
        graph: The graph.
        x: The images: uint8 (N, C, H, W).
        channels: The number of channels, C.
        size: (height, width) to resize to.
    """
    height, width = (
        graph.dimension(x, axis, f"resize.{name}") for axis, name in ((ROWS, "height"), (COLUMNS, "width"))
    )
    after = [graph.integers(side) for side in size]
    rows_saved = graph.add("Sub", height, after[0], name="resize.rows_saved")
    columns_saved = graph.add("Sub", width, after[1], name="resize.columns_saved")
    twice = graph.add("Mul", columns_saved, graph.integers(2), name="resize.twice_columns_saved")
    lower_bound = graph.add("Max", twice, graph.integers(0), name="resize.rows_saved_at_least")
    rows_first = graph.add("Greater", rows_saved, lower_bound, name="resize.is_height_first")

    def along(axis: int, x: str, where: str, name: str) -> str:
        dims = ("batch", channels, None, None)
        return graph.choose(
            where,
            lambda branch: _along(branch, x, axis, size[axis - ROWS]),
            lambda _: x,
            name=name,
            dtype="uint8",
            dims=dims,
        )

    x = along(ROWS, x, rows_first, "resize.height_first")
    x = along(COLUMNS, x, _differs(graph, x, COLUMNS, after[1]), "resize.to_width")
    return along(ROWS, x, _differs(graph, x, ROWS, after[0]), "resize.to_height")


def _differs(graph: Graph, x: str, axis: int, side: str) -> str:
    same = graph.add("Equal", graph.dimension(x, axis, "resize.side"), side, name="resize.is_resized")
    return graph.add("Not", same, name="resize.is_not_resized")


def _along(graph: Graph, x: str, axis: int, after: int) -> str:
    """Resize along one axis. The sums are computed in integers, as products with each byte of the weights."""
    total = ""
    for byte, weights in zip(_BYTES, _weights(graph, graph.dimension(x, axis, "resize.before"), after), strict=True):
        if axis == COLUMNS:
            weights = graph.add("Transpose", weights, name=f"resize.weights_{byte}_transposed", perm=[1, 0])
        product = graph.add(
            "MatMulInteger", *((x, weights) if axis == COLUMNS else (weights, x)), name="resize.product"
        )
        if byte > 1:
            value = graph.constant(f"resize.value_{byte}", byte, np.int32)
            product = graph.add("Mul", product, value, name="resize.product_of_byte")
        total = product if not total else graph.add("Add", total, product, name="resize.sum")
    half = graph.constant("resize.half", 1 << (_PRECISION - 1), np.int32)
    one = graph.constant("resize.one", 1 << _PRECISION, np.int32)
    rounded = graph.add("Div", graph.add("Add", total, half, name="resize.sum_and_half"), one, name="resize.rounded")
    return graph.cast(rounded, "uint8", "resize.resized")


def _weights(graph: Graph, before: str, after: int) -> list[str]:
    """The bytes of Pillow's weights for any number of pixels, the lowest first: each uint8 (after, before).

    Args:
        graph: The graph.
        before: The number of pixels before: int64 (1,).
        after: The number of pixels after.
    """

    def number(name: str, value: float) -> str:
        return graph.constant(f"resize.{name}", value, np.float64)

    side = graph.cast(before, "float64", "resize.pixels")
    scale = graph.add("Div", side, number(f"to_{after}", after), name="resize.scale")
    one = number("weight_one", 1)
    ratio = graph.add("Div", one, graph.add("Max", scale, one, name="resize.radius"), name="resize.per_radius")
    positions = graph.constant(f"resize.positions_{after}", np.arange(after)[:, None] + 0.5, np.float64)
    centers = graph.add("Mul", positions, scale, name="resize.centers")
    scalar = graph.add("Squeeze", before, name="resize.before_scalar")
    limits = (graph.constant(f"resize.range_{limit}", limit, np.int64) for limit in (0, 1))
    start, step = limits
    pixels = graph.cast(graph.add("Range", start, scalar, step, name="resize.indices"), "float64", "resize.pixel")
    # In the order in which Pillow computes it.
    distance = graph.add("Sub", pixels, centers, name="resize.from_center")
    half = number("weight_half", 0.5)
    distance = graph.add("Add", distance, half, name="resize.distance")
    distance = graph.add(
        "Abs", graph.add("Mul", distance, ratio, name="resize.in_radii"), name="resize.distance_in_radii"
    )
    triangle = graph.add("Relu", graph.add("Sub", one, distance, name="resize.line"), name="resize.triangle")
    total = graph.add("ReduceSum", triangle, graph.integers(1), name="resize.total", keepdims=1)
    share = graph.add("Div", triangle, total, name="resize.share")
    fixed = graph.add("Mul", share, number("fixed_point", 1 << _PRECISION), name="resize.scaled")
    fixed = graph.add("Floor", graph.add("Add", fixed, half, name="resize.scaled_and_half"), name="resize.weights")
    fixed = graph.cast(fixed, "int32", "resize.weights_in_fixed_point")
    byte = graph.constant("resize.byte", 256, np.int32)
    bytes_ = []
    for value in _BYTES:
        part = fixed
        if value > 1:
            divisor = graph.constant(f"resize.value_{value}", value, np.int32)
            part = graph.add("Div", fixed, divisor, name="resize.upper_bytes")
        if value != _BYTES[-1]:
            part = graph.add("Mod", part, byte, name="resize.byte_of_weights")
        bytes_.append(graph.cast(part, "uint8", f"resize.weights_{value}"))
    return bytes_


def add_float_resize(graph: Graph, x: str, axis: int, sides: tuple[int, int], antialias: bool) -> str:
    """Add the bilinear resize along one axis of images of a fixed size: see ``reference.images.resize_matrix``.

    Args:
        graph: The graph.
        x: The images: float32 (N, C, H, W).
        axis: ``ROWS`` or ``COLUMNS``.
        sides: The number of pixels before and after.
        antialias: As for ``resize_matrix``.
    """
    name = "input.height" if axis == ROWS else "input.width"
    matrix = resize_matrix(*sides, antialias)
    matrix = graph.constant(f"{name}.matrix", matrix if axis == ROWS else matrix.T, np.float32)
    return graph.add("MatMul", *((matrix, x) if axis == ROWS else (x, matrix)), name=name)
