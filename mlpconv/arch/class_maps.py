"""Class maps: the part of a network that computes one map for each class, before global average pooling."""

from bisect import bisect_left
from typing import NamedTuple

from mlpconv.arch.layers import AnyLayer, Flatten, GlobalAvgPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes, output_shape, show
from mlpconv.errors import NetworkError

USEFUL_SIDE = 3
"""The side in positions from which a class map shows where in an image the evidence is."""
MAX_LARGER = 1024
"""How many pixels larger the images are for which a useful map is searched."""


class Grid(NamedTuple):
    """The position of a map on the network's input, (vertical, horizontal) in input pixels."""

    first: tuple[float, float]
    """The center of the first position; pixel i extends from i to i + 1."""
    stride: tuple[int, int]
    """The distance between neighboring positions."""


def until_class_maps(network: Network) -> tuple[Network, bool]:
    """Cut a network off after its class maps.

    A last ReLU6 is part of what computes the maps: the logit of a class is the mean of its output.

    Returns:
        The network up to its class maps, whose output is (classes, h, w), and whether a ReLU follows them: then the
        logit of a class is the mean of the ReLU of its map, else the mean of its map.

    Raises:
        NetworkError: The network does not end in GlobalAvgPool2d, Flatten.
    """
    rows = list(network.walk())
    layers = [layer for _, layer in rows]
    if [type(layer) for layer in layers[-2:]] != [GlobalAvgPool2d, Flatten]:
        raise NetworkError(
            f"{network.name or 'the network'} has no class maps: they are the input of GlobalAvgPool2d and Flatten at "
            f"the end, but it ends in {type(layers[-1]).__name__}; use a network that ends in them, such as nin"
        )
    count = len(rows) - 2
    if not count:
        raise NetworkError(f"{network.name or 'the network'} has no class maps: it has no layer before its pooling")
    while count > 1 and (isinstance(layers[count - 1], ReLU) or layers[count - 1].traits.identity_in_evaluation):
        count -= 1
    names = {name for name, _ in rows[:count]}
    kept: dict[str, AnyLayer | Block] = {}
    for name, layer in network.layers.items():
        if isinstance(layer, Block):
            inner = {part: value for part, value in layer.layers.items() if f"{name}.{part}" in names}
            kept |= {name: Block(**inner)} if inner else {}
        elif name in names:
            kept[name] = layer
    settings = {"input_channels": network.input_channels, "input_size": network.input_size, "name": network.name}
    return Network.named(kept, **settings), any(isinstance(layer, ReLU) for layer in layers[count:])


def can_die(network: Network) -> bool:
    """Whether a class of this network can die: its class maps go through an activation that has no gradient for
    negative inputs, and then into global average pooling.

    Raises:
        NetworkError: The network does not end in GlobalAvgPool2d, Flatten.
    """
    maps, rectified = until_class_maps(network)
    *_, (_, last) = maps.walk()
    return rectified or last.traits.can_die


class SinglePosition(NamedTuple):
    """A network whose class maps have one position, so that they cannot show where the evidence for a class is."""

    size: tuple[int, int]
    """(height, width) of the images."""
    larger: tuple[int, int] | None
    """(side, side of the map): the smallest square image with maps of at least 3×3, and the maps' side; None if no
    image has such maps."""

    def __str__(self) -> str:
        text = f"images of {show(self.size)} give maps of one position, which cannot show where the evidence is"
        if self.larger is None:
            return text
        side, maps = self.larger
        return f"{text}; images of {show((side, side))} give maps of {show((maps, maps))}"


def single_position(network: Network) -> SinglePosition | None:
    """Whether a network's class maps have one position at its input size; None if they have more, or it has none."""
    try:
        maps, _ = until_class_maps(network)
    except NetworkError:
        return None
    if output_shape(maps)[1:] != (1, 1):
        return None
    side = smallest_side(maps, USEFUL_SIDE)
    larger = None if side is None else (side, min(output_shape(maps, (maps.input_channels, side, side))[1:]))
    return SinglePosition(network.input_size, larger)


def last_map(network: Network, side: int | None = None) -> tuple[int, int] | None:
    """(height, width) of the last map in positions: what is pooled globally or flattened; None if there is no map.

    Args:
        network: The network.
        side: The side in pixels of square images; by default, the images have the network's input size.
    """
    shape = None if side is None else (network.input_channels, side, side)
    last = None
    for row in layer_shapes(network.replace(input_size=shape[1:]) if shape else network):
        if isinstance(row.layer, GlobalAvgPool2d | Flatten):
            return row.input_shape[1:] if len(row.input_shape) == 3 else last
        if len(row.output_shape) == 3:
            last = row.output_shape[1:]
    return last


def smallest_side(network: Network, positions: int) -> int | None:
    """The side in pixels of the smallest square images, larger than the network's, with so large a last map.

    Args:
        network: The network.
        positions: The positions that a side of the last map has at least.

    Returns:
        The side; None if even images that are ``MAX_LARGER`` pixels larger have no such map.
    """
    sides = range(max(network.input_size) + 1, max(network.input_size) + MAX_LARGER)
    index = bisect_left(sides, positions, key=lambda side: min(last_map(network, side) or (0,)))
    return sides[index] if index < len(sides) else None


def class_map_grid(network: Network) -> Grid:
    """The position of a network's class maps on its input.

    Raises:
        NetworkError: The network has no class maps.
    """
    return grid(until_class_maps(network)[0])


def grid(network: Network, last: str = "") -> Grid:
    """The position of a layer's map on the input.

    Args:
        network: The network.
        last: The full name of the layer; by default the last one.
    """
    first, stride = [0.5, 0.5], [1, 1]
    for name, layer in network.walk():
        if window := layer.window:
            for axis in (0, 1):
                first[axis] += ((window.kernel[axis] - 1) / 2 - window.padding[axis]) * stride[axis]
                stride[axis] *= window.stride[axis]
        if name == last:
            break
    return Grid((first[0], first[1]), (stride[0], stride[1]))
