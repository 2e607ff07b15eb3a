"""Class maps: where a network that ends in global average pooling keeps one map for each class."""

from typing import NamedTuple

from mlpconv.arch.layers import AnyLayer, AvgPool2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, pair
from mlpconv.arch.network import Block, Network
from mlpconv.errors import NetworkError


class Grid(NamedTuple):
    """Where the positions of the class maps lie on the network's input, (down, across) in input pixels. first: the
    centre of the first one, pixel i reaching from i to i + 1. stride: from one to the next."""

    first: tuple[float, float]
    stride: tuple[int, int]


def until_class_maps(network: Network) -> tuple[Network, bool]:
    """The network up to its class maps, whose output is (classes, h, w), and whether a ReLU comes behind them: then a
    class's logit is the mean of its map's ReLU, else the mean of its map.

    Raises NetworkError where the network does not end in GlobalAvgPool2d, Flatten.
    """
    rows = list(network.walk())
    kinds = [type(layer) for _, layer in rows]
    if kinds[-2:] != [GlobalAvgPool2d, Flatten]:
        raise NetworkError(
            f"{network.name or 'the network'} has no class maps: they are what GlobalAvgPool2d and Flatten at the end "
            f"make the logits of, and it ends in {kinds[-1].__name__}; use a network that ends in them, such as nin"
        )
    count = len(rows) - 2
    if not count:
        raise NetworkError(f"{network.name or 'the network'} has no class maps: it has no layer before its pooling")
    # In evaluation dropout does nothing.
    while count > 1 and kinds[count - 1] in (ReLU, Dropout):
        count -= 1
    kept = {name for name, _ in rows[:count]}
    layers: dict[str, AnyLayer | Block] = {}
    for name, layer in network.layers.items():
        if isinstance(layer, Block):
            inner = {part: value for part, value in layer.layers.items() if f"{name}.{part}" in kept}
            layers |= {name: Block(**inner)} if inner else {}
        elif name in kept:
            layers[name] = layer
    settings = {"input_channels": network.input_channels, "input_size": network.input_size, "name": network.name}
    return Network.named(layers, **settings), ReLU in kinds[count:]


def class_map_grid(network: Network) -> Grid:
    """Where the positions of a network's class maps lie. Raises NetworkError where it has none."""
    return grid(until_class_maps(network)[0])


def grid(network: Network, last: str = "") -> Grid:
    """Where the positions of a layer's map lie, by default of the network's output."""
    first, stride = [0.5, 0.5], [1, 1]
    for name, layer in network.walk():
        if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            for axis in (0, 1):
                sizes = (layer.kernel_size, layer.stride, layer.padding)
                kernel, step, padding = (pair(size)[axis] for size in sizes)
                first[axis] += ((kernel - 1) / 2 - padding) * stride[axis]
                stride[axis] *= step
        if name == last:
            break
    return Grid((first[0], first[1]), (stride[0], stride[1]))
