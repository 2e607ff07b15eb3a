"""Shape inference: the input and output shape of each layer for one image."""

from typing import NamedTuple

from mlpconv.arch.layer_definition import Shape, show
from mlpconv.arch.layers import AnyLayer
from mlpconv.arch.network import Block, Network
from mlpconv.errors import NetworkError


class LayerShape(NamedTuple):
    """One layer with its shapes for one image, without the batch: (C, H, W) or (features,)."""

    name: str
    """The full name: "block1.conv"."""
    layer: AnyLayer
    """The layer."""
    input_shape: Shape
    """The shape that it receives."""
    output_shape: Shape
    """The shape that it returns."""


def layer_shapes(network: Network, input_shape: Shape | None = None) -> list[LayerShape]:
    """Infer the input and output shape of every layer, in order.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: A layer cannot be computed; the message names it.

    Example:
        >>> import mlpconv
        >>> for row in mlpconv.layer_shapes(mlpconv.create_model("nin"))[:3]:
        ...     print(row.name, row.input_shape, row.output_shape)
        block1.conv (1, 224, 224) (96, 54, 54)
        block1.relu (96, 54, 54) (96, 54, 54)
        block1.mlp1 (96, 54, 54) (96, 54, 54)
    """
    shape = image = input_shape or network.input_shape
    if len(image) != 3 or min(image) < 1:
        raise NetworkError(f"an input shape is channels×height×width, each at least 1, not {show(image)}")
    if image[0] != network.input_channels:
        raise NetworkError(
            f"{network.name or 'the network'} takes {network.input_channels} channel(s), the input {show(image)} has "
            f"{image[0]}; give input_channels={image[0]} or images of {network.input_channels} channel(s)"
        )
    rows = []
    for name, layer in network.walk():
        try:
            after = layer.output_shape(shape, image)
        except NetworkError as error:
            raise NetworkError(f"{name}: {error}") from None
        rows.append(LayerShape(name, layer, shape, after))
        shape = after
    return rows


def block_shapes(network: Network, input_shape: Shape | None = None) -> list[tuple[str, str, Shape]]:
    """The chapter's table: name, type and output shape of each block and of each layer outside a block.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: A layer cannot be computed; the message names it.

    Example:
        >>> import mlpconv
        >>> mlpconv.block_shapes(mlpconv.create_model("nin"))[:2]
        [('block1', 'Block', (96, 54, 54)), ('pool1', 'MaxPool2d', (96, 26, 26))]
    """
    last = {row.name.partition(".")[0]: row.output_shape for row in layer_shapes(network, input_shape)}
    return [
        (name, "Block" if isinstance(layer, Block) else type(layer).__name__, last[name])
        for name, layer in network.layers.items()
    ]


def output_shape(network: Network, input_shape: Shape | None = None) -> Shape:
    """The shape of the network's output for one image: (classes,) for a classifier."""
    return layer_shapes(network, input_shape)[-1].output_shape


def num_classes(network: Network) -> int:
    """The number of classes of a classifier.

    Raises:
        NetworkError: The network does not end in one value for each class.
    """
    shape = output_shape(network)
    if len(shape) != 1:
        raise NetworkError(
            f"{network.name or 'the network'} ends in a map of {show(shape)}, not in one value for each class; "
            "end it with GlobalAvgPool2d and Flatten, or with Flatten and Linear"
        )
    return shape[0]
