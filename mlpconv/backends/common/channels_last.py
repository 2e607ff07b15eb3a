"""Canonical weights in the layout of a framework whose maps are (H, W, C), also before a flatten."""

from typing import Any

from mlpconv.arch.layers import Flatten, Linear, Shape
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import depthwise_kernels


def array_to_channels_last(value: Any, depthwise: bool = False) -> Any:
    """A weight (out, in, kh, kw) as (kh, kw, in, out), or (out, in) as (in, out); others as they are.

    Args:
        value: The weight.
        depthwise: Whether it is the kernel (C, 1, kh, kw) of a depthwise convolution; in Keras it is (kh, kw, C, 1).
    """
    return _permuted(value, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def array_to_channels_first(value: Any, depthwise: bool = False) -> Any:
    """The inverse of ``array_to_channels_last``."""
    return _permuted(value, (2, 3, 0, 1) if depthwise else (3, 2, 0, 1))


def _permuted(value: Any, kernel_axes: tuple[int, ...]) -> Any:
    if value.ndim == 4:
        return value.transpose(kernel_axes)
    return value.T if value.ndim == 2 else value


def to_channels_last(network: Network, weights: Weights) -> dict[str, dict[str, Floats]]:
    """The arrays of each layer by part, in the layout of Keras."""
    flattened, depthwise = flattened_shapes(network), depthwise_kernels(network)
    layers: dict[str, dict[str, Floats]] = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        if value.ndim == 2 and (shape := flattened.get(layer)):
            value = value.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(value.shape)
        layers.setdefault(layer, {})[part] = array_to_channels_last(value, name in depthwise)
    return layers


def flattened_shapes(network: Network) -> dict[str, Shape]:
    """The (C, H, W) shape before the flatten whose output each linear layer takes."""
    shapes: dict[str, Shape] = {}
    before: Shape = ()
    for row in layer_shapes(network):
        if isinstance(row.layer, Flatten) and len(row.input_shape) == 3:
            before = row.input_shape
        elif isinstance(row.layer, Linear):
            if before:
                shapes[row.name] = before
            before = ()
    return shapes
