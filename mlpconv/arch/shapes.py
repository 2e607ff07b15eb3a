"""Shape inference: what each layer receives and gives, for one image."""

from typing import NamedTuple

from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Pool2d,
    ReLU,
    Shape,
    Sigmoid,
    by,
    pair,
)
from mlpconv.arch.network import Block, Network
from mlpconv.errors import NetworkError


class LayerShape(NamedTuple):
    """One layer with the shape of one image's values before and after it: (C, H, W) or (features,)."""

    name: str
    layer: AnyLayer
    input_shape: Shape
    output_shape: Shape


def layer_shapes(network: Network, input_shape: Shape | None = None) -> list[LayerShape]:
    """Every layer in order with its input and output shapes, without the batch.

    input_shape: (C, H, W); the network's own by default. Raises NetworkError naming the layer that cannot be computed.
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
        after = _output_shape(name, layer, shape, image)
        rows.append(LayerShape(name, layer, shape, after))
        shape = after
    return rows


def block_shapes(network: Network, input_shape: Shape | None = None) -> list[tuple[str, str, Shape]]:
    """The table that the chapter prints: name, kind and output shape of each block and loose layer."""
    last = {row.name.partition(".")[0]: row.output_shape for row in layer_shapes(network, input_shape)}
    return [
        (name, "Block" if isinstance(layer, Block) else type(layer).__name__, last[name])
        for name, layer in network.layers.items()
    ]


def output_shape(network: Network, input_shape: Shape | None = None) -> Shape:
    """The shape of what the network gives for one image: (classes,) for a classifier."""
    return layer_shapes(network, input_shape)[-1].output_shape


def num_classes(network: Network) -> int:
    """How many classes the network tells apart. Raises NetworkError where it does not end in one value a class."""
    shape = output_shape(network)
    if len(shape) != 1:
        raise NetworkError(
            f"{network.name or 'the network'} ends in a map of {show(shape)}, not in one value a class; "
            "end it with GlobalAvgPool2d and Flatten, or with Flatten and Linear"
        )
    return shape[0]


def show(shape: Shape) -> str:
    """A shape as one reads it: 96×54×54."""
    return "×".join(map(str, shape))


def _output_shape(name: str, layer: AnyLayer, shape: Shape, image: Shape) -> Shape:
    match layer:
        case Conv2d():
            _needs_map(name, layer, shape)
            return (layer.out_channels, *_windows(name, layer, shape, image))
        case MaxPool2d() | AvgPool2d():
            _needs_map(name, layer, shape)
            return (shape[0], *_windows(name, layer, shape, image))
        case GlobalAvgPool2d():
            _needs_map(name, layer, shape)
            return (shape[0], 1, 1)
        case BatchNorm2d():
            _needs_map(name, layer, shape)
            return shape
        case ReLU() | Sigmoid() | Dropout():
            return shape
        case Flatten():
            size = 1
            for side in shape:
                size *= side
            return (size,)
        case Linear():
            if len(shape) != 1:
                raise NetworkError(
                    f"{name}: Linear needs a flat input, but gets a map of {show(shape)}; put Flatten before"
                )
            return (layer.out_features,)


def _needs_map(name: str, layer: AnyLayer, shape: Shape) -> None:
    if len(shape) != 3:
        raise NetworkError(f"{name}: {type(layer).__name__} needs a map (C×H×W), but gets {show(shape)} flat values")


def _windows(name: str, layer: Conv2d | Pool2d, shape: Shape, image: Shape) -> tuple[int, int]:
    sides = zip(shape[1:], pair(layer.kernel_size), pair(layer.stride), pair(layer.padding), strict=True)
    ceil_mode = isinstance(layer, MaxPool2d | AvgPool2d) and layer.ceil_mode
    positions = []
    for size, kernel, stride, padding in sides:
        room = size + 2 * padding - kernel
        if room < 0:
            what = "kernel" if isinstance(layer, Conv2d) else "window"
            missing = max(k - s for k, s in zip(pair(layer.kernel_size), shape[1:], strict=True))
            remedy = f"padding={(missing + 1) // 2}" if isinstance(layer, Conv2d) else "a smaller window"
            raise NetworkError(
                f"{name}: a {by(layer.kernel_size)} {what} does not fit the {show(shape[1:])} map that a "
                f"{show(image[1:])} image has here; use a larger image or {remedy}"
            )
        if ceil_mode:
            count = -(-room // stride) + 1
            # A window that would start in the right-hand padding holds no pixel, so it is dropped.
            count -= (count - 1) * stride >= size + padding
        else:
            count = room // stride + 1
        positions.append(count)
    return positions[0], positions[1]
