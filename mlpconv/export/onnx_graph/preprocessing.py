"""Preprocessing as nodes of an ONNX graph: everything between a decoded picture and the network's input.

The nodes compute what ``mlpconv predict`` computes from a file, in the same arithmetic: transparency and color as
Pillow, the square of ``Preprocess.fit``, the resize of Pillow in 8 bits to the size of the training images, then
normalization and the bilinear resize to the network's input.
"""

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.export.onnx_graph.graph import Graph
from mlpconv.export.onnx_graph.resizing import COLUMNS, ROWS, add_8_bit_resize, add_float_resize

_LUMA = (19595, 38470, 7471)
"""Red, green and blue of a gray value, in 65536ths."""
_COLORS_OF = ((0, 0, 0), (0, 0, 0), (0, 1, 2), (0, 1, 2))
"""The channels that are red, green and blue, of 1 to 4 channels."""
_HAS_ALPHA = (False, True, False, True)
"""Whether the last of 1 to 4 channels is alpha."""
_END = np.iinfo(np.int64).max


def add_preprocessing(graph: Graph, images: str, preprocess: Preprocess) -> str:
    """Add the preprocessing.

    Args:
        graph: The graph.
        images: The name of the images: uint8 (N, H, W, C), of any size, in gray or RGB, with or without alpha.
        preprocess: What to compute. Without a source size, images are first resized to the network's input in 8 bits,
            as ``mlpconv predict`` does with files.

    Returns:
        The name of the network's input: float32 (N, channels, size, size).
    """
    channels, size = preprocess.channels, preprocess.size
    height, width = preprocess.image_size
    x = _converted(graph, images, channels)
    x = graph.add("Transpose", x, name="channels_first", perm=[0, 3, 1, 2])
    if height == width:
        x = _squared(graph, x, preprocess, as_pillow=True)
    x = add_8_bit_resize(graph, x, channels, (height, width))
    if height != width and preprocess.fit != "squash":
        x = _squared(graph, x, preprocess, as_pillow=False)
        height = width = (min if preprocess.fit == "crop" else max)(height, width)
    # Tells the shape that the images now always have.
    x = graph.add("Reshape", x, graph.integers(0, channels, height, width), name="source")
    x = _normalized(graph, x, preprocess)
    for axis, side in ((COLUMNS, width), (ROWS, height)):
        if side != size:
            x = add_float_resize(graph, x, axis, (side, size), preprocess.antialias)
    return x


def _converted(graph: Graph, images: str, channels: int) -> str:
    """The images in gray or RGB: uint8 (N, H, W, channels)."""
    received = graph.dimension(images, 3, "color.received_channels")
    return graph.choose(
        graph.add("Equal", received, graph.integers(channels), name="color.is_as_trained"),
        lambda _: images,
        lambda branch: _convert(branch, images, received, channels),
        name="color",
        dtype="uint8",
        dims=("batch", "height", "width", channels),
    )


def _convert(graph: Graph, images: str, received: str, channels: int) -> str:
    """Images of another number of channels than the network's in gray or RGB, over white."""
    last = graph.add("Sub", received, graph.integers(1), name="color.last_channel")
    table = graph.constant("color.channels_of", _COLORS_OF, np.int64)
    indices = graph.add("Gather", table, last, name="color.channels_row", axis=0)
    indices = graph.add("Reshape", indices, graph.integers(3), name="color.channels")
    colors = graph.add("Gather", images, indices, name="color.rgb_8_bit", axis=3)
    colors = graph.cast(colors, "float32", "color.rgb")
    colors = graph.choose(
        graph.add("Gather", graph.constant("color.has_alpha", _HAS_ALPHA, bool), last, name="color.with_alpha", axis=0),
        lambda branch: _on_white(branch, images, colors, last),
        lambda _: colors,
        name="color.on_white",
        dtype="float32",
        dims=("batch", "height", "width", 3),
    )
    if channels == 1:
        # Products and sums are whole 65536ths below 2**24 of them, which float32 holds exactly.
        luma = graph.constant("color.luma", [[each / 65536] for each in _LUMA], np.float32)
        gray = graph.add("MatMul", colors, luma, name="color.gray_exact")
        half = graph.constant("color.half", 0.5, np.float32)
        colors = graph.add("Floor", graph.add("Add", gray, half, name="color.gray_and_half"), name="color.gray")
    return graph.cast(colors, "uint8", "color.converted")


def _on_white(graph: Graph, images: str, colors: str, last: str) -> str:
    """Colors over white, in the fixed point of Pillow's alpha_composite: whole numbers below 2**24."""

    def number(name: str, value: float) -> str:
        return graph.constant(f"color.{name}", value, np.float32)

    def without_bits(value: str, bits: int, name: str) -> str:
        exact = graph.add("Mul", value, number(f"shift_{bits}", 2.0**-bits), name=f"{name}_exact")
        return graph.add("Floor", exact, name=name)

    alpha = graph.cast(graph.add("Gather", images, last, name="color.alpha_8_bit", axis=3), "float32", "color.alpha")
    # color · alpha + 255 · (255 − alpha) = (color − 255) · alpha + 255 · 255, each in 128ths.
    darker = graph.add("Sub", colors, number("white", 255), name="color.from_white")
    weight = graph.add("Mul", alpha, number("in_128ths", 128), name="color.alpha_in_128ths")
    blend = graph.add("Mul", darker, weight, name="color.from_white_seen")
    blend = graph.add("Add", blend, number("white_and_half", (255 * 255 + 128) * 128), name="color.blend")
    blend = graph.add("Add", blend, without_bits(blend, 8, "color.blend_upper"), name="color.blend_by_255")
    return without_bits(blend, 15, "color.blended")


def _squared(graph: Graph, x: str, preprocess: Preprocess, *, as_pillow: bool) -> str:
    """The centered squares of images (N, C, H, W): see ``mlpconv.backends.reference.images.squared``.

    Args:
        graph: The graph.
        x: The images.
        preprocess: Its fit.
        as_pillow: Whether odd margins of "pad" are rounded half to even, as Pillow does.
    """
    if preprocess.fit == "squash":
        return x
    sides = [graph.dimension(x, ROWS, "fit.height"), graph.dimension(x, COLUMNS, "fit.width")]

    def changed(branch: Graph) -> str:
        if preprocess.fit == "crop":
            return _cropped(branch, x, sides)
        return _padded(branch, x, sides, preprocess.fit == "pad-border", as_pillow)

    return graph.choose(
        graph.add("Equal", *sides, name="fit.is_square"),
        lambda _: x,
        changed,
        name=f"fit.{preprocess.fit}",
        dtype="uint8",
        dims=("batch", preprocess.channels, None, None),
    )


def _cropped(graph: Graph, x: str, sides: list[str]) -> str:
    side = graph.add("Min", *sides, name="fit.side")
    starts, ends = [], []
    for each in sides:
        outside = graph.add("Sub", each, side, name="fit.outside")
        starts.append(graph.add("Div", outside, graph.integers(2), name="fit.start"))
        ends.append(graph.add("Add", starts[-1], side, name="fit.end"))
    first = graph.add("Concat", *starts, name="fit.first", axis=0)
    last = graph.add("Concat", *ends, name="fit.last", axis=0)
    return graph.add("Slice", x, first, last, graph.integers(ROWS, COLUMNS), name="fit.cropped")


def _padded(graph: Graph, x: str, sides: list[str], in_border_color: bool, as_pillow: bool) -> str:
    side = graph.add("Max", *sides, name="fit.side")
    before, after = [], []
    for each in sides:
        margin = graph.add("Sub", side, each, name="fit.margin")
        if as_pillow and not in_border_color:
            exact = graph.cast(margin, "float32", "fit.margin_float")
            exact = graph.add("Mul", exact, graph.constant("fit.half", 0.5, np.float32), name="fit.half_margin")
            before.append(graph.cast(graph.add("Round", exact, name="fit.half_to_even"), "int64", "fit.margin_before"))
        else:
            before.append(graph.add("Div", margin, graph.integers(2), name="fit.margin_before"))
        after.append(graph.add("Sub", margin, before[-1], name="fit.margin_after"))
    none = graph.integers(0, 0)
    margins = graph.add("Concat", none, *before, none, *after, name="fit.margins", axis=0)
    padded = graph.add("Pad", x, margins, name="fit.padded")
    if not in_border_color:
        return padded
    shape = graph.add("Concat", graph.integers(1, 1), *sides, name="fit.image_shape", axis=0)
    ones = graph.add("Expand", graph.constant("fit.one", 1, np.uint8), shape, name="fit.image_ones")
    inside = graph.cast(graph.add("Pad", ones, margins, name="fit.image_ones_padded"), "bool", "fit.is_image")
    return graph.add("Where", inside, padded, _border_color(graph, x), name="fit.bordered")


def _border_color(graph: Graph, x: str) -> str:
    """The lower median of the outermost pixels in each channel of each image: uint8 (N, C, 1, 1)."""

    def part(value: str, axis: int, start: int, end: int) -> str:
        bounds = (graph.integers(number) for number in (start, end, axis))
        return graph.add("Slice", value, *bounds, name="fit.border_part")

    below_first = part(x, ROWS, 1, _END)
    between = part(below_first, ROWS, 0, -1)
    right_of_first = part(between, COLUMNS, 1, _END)
    parts = (
        part(x, ROWS, 0, 1),
        part(below_first, ROWS, -1, _END),
        part(between, COLUMNS, 0, 1),
        part(right_of_first, COLUMNS, -1, _END),
    )
    # Of an image with one row or column, some parts are empty.
    lines = [graph.add("Reshape", each, graph.integers(0, 0, -1), name="fit.border_line") for each in parts]
    border = graph.cast(graph.add("Concat", *lines, name="fit.border_8_bit", axis=2), "float32", "fit.border")
    count = graph.dimension(border, 2, "fit.border_pixels")
    count = graph.add("Add", count, graph.integers(1), name="fit.border_pixels_and_one")
    half = graph.add("Div", count, graph.integers(2), name="fit.lower_half")
    lowest = graph.add("TopK", border, half, name="fit.lowest", unused=("indices",), axis=2, largest=0, sorted=1)
    color = graph.cast(part(lowest, 2, -1, _END), "uint8", "fit.border_color_flat")
    return graph.add("Reshape", color, graph.integers(0, 0, 1, 1), name="fit.border_color")


def _normalized(graph: Graph, x: str, preprocess: Preprocess) -> str:
    """(x/255 − mean)/std, float32, as one product and, unless the mean is 0, one sum."""
    mean, std = (np.array(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    scale = graph.constant("normalize.scale", 1 / (255 * std), np.float32)
    x = graph.add("Mul", graph.cast(x, "float32", "normalize.float"), scale, name="normalize.scaled")
    return (
        graph.add("Add", x, graph.constant("normalize.shift", -mean / std, np.float32), name="normalize")
        if mean.any()
        else x
    )
