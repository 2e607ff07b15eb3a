"""The head of a network: the layers at its end that turn features into one map for each class."""

from typing import NamedTuple

from mlpconv.arch.layers import AnyLayer, Conv2d, Flatten, GlobalAvgPool2d, ReLU
from mlpconv.arch.network import Network


class Head(NamedTuple):
    """A head whose logits are linear in the means of the features, as long as no ReLU in it is at 0."""

    features: str
    """The full name of the layer whose output, (C, h, w), the head reads."""
    first: str
    """The convolution from the features to one map for each class."""
    later: tuple[str, ...]
    """Convolutions from class maps to class maps, which follow."""
    rectified: bool
    """Whether a ReLU follows one of these convolutions."""


def find_head(network: Network) -> Head | None:
    """The head of a network; None where its logits are not linear in the means of the features.

    They are if the network ends in a convolution of all channels with as many outputs as classes and a bias, then
    perhaps further ones with ReLU in the same block, then GlobalAvgPool2d and Flatten, and if these convolutions keep
    the size of the maps.
    """
    rows = list(network.walk())
    if len(rows) < 4 or [type(layer) for _, layer in rows[-2:]] != [GlobalAvgPool2d, Flatten]:
        return None
    classes = next((layer.out_channels for _, layer in reversed(rows) if isinstance(layer, Conv2d)), 0)
    last = rows[-3][0].partition(".")[0]
    convolutions: list[str] = []
    first, rectified = 0, False
    for index in range(len(rows) - 3, 0, -1):
        name, layer = rows[index]
        if isinstance(layer, Conv2d) and name.partition(".")[0] == last and _keeps_size(layer, classes):
            convolutions.insert(0, name)
            first = index
            rectified = any(isinstance(each, ReLU) for _, each in rows[index:])
        elif not (isinstance(layer, ReLU) or layer.traits.identity_in_evaluation):
            break
    if not convolutions:
        return None
    return Head(rows[first - 1][0], convolutions[0], tuple(convolutions[1:]), rectified)


def layers_before(network: Network, name: str) -> dict[str, AnyLayer]:
    """The layers of a network before the one of this full name, by their full names, in order."""
    layers: dict[str, AnyLayer] = {}
    for each, layer in network.walk():
        if each == name:
            break
        layers[each] = layer
    return layers


def _keeps_size(layer: Conv2d, classes: int) -> bool:
    kernel, stride, padding = layer.window
    same = all(side % 2 and edge == side // 2 for side, edge in zip(kernel, padding, strict=True))
    return same and stride == (1, 1) and layer.bias and layer.out_channels == classes and not layer.depthwise
