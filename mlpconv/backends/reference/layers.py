"""The forward pass in NumPy, layer by layer, in evaluation mode."""

from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layer_definition import Window
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
    ReLU,
    ReLU6,
    Shape,
    Sigmoid,
)
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes

Array = npt.NDArray[Any]


def forward(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """The network's output, (B, classes) for a classifier, in evaluation mode.

    Args:
        network: The network.
        weights: The canonical weights.
        x: The input, float32 or float64 (B, C, H, W); everything is computed in its type.

    Raises:
        NetworkError: The network cannot be computed for images of this size.
    """
    return list(activations(network, weights, x).values())[-1]


def class_maps(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """The class maps, (B, classes, h, w), before a last ReLU.

    Args:
        network: The network.
        weights: The canonical weights.
        x: The input, float32 or float64 (B, C, H, W).

    Raises:
        NetworkError: The network has no class maps, or cannot be computed for images of this size.
    """
    return forward(until_class_maps(network)[0], weights, x)


def activations(network: Network, weights: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """The output of every layer by its full name, (B, C, H, W) or (B, features), in evaluation mode.

    Args:
        network: The network.
        weights: The canonical weights.
        x: The input, float32 or float64 (B, C, H, W).

    Raises:
        NetworkError: The network cannot be computed for images of this size.
    """
    outputs: dict[str, Array] = {}
    for name, layer, before, after in layer_shapes(network, x.shape[1:]):
        parts = [*layer.parameter_shapes(before), *layer.statistic_shapes(before)]
        x = _apply(layer, {part: weights[f"{name}.{part}"].astype(x.dtype) for part in parts}, x, after)
        assert x.shape[1:] == after, f"{name}: {x.shape[1:]} is not the inferred {after}"
        outputs[name] = x
    return outputs


def _apply(layer: AnyLayer, weights: dict[str, Array], x: Array, after: Shape) -> Array:
    match layer:
        case Conv2d():
            windows = _windows(layer.window, x, after, 0)
            if layer.depthwise:
                y = np.einsum("bchwij,cij->bchw", windows, weights["weight"][:, 0])
                return y + _channels(weights["bias"]) if layer.bias else y
            y = np.tensordot(windows, weights["weight"], axes=((1, 4, 5), (1, 2, 3)))  # (B, H', W', out)
            return np.moveaxis(y + weights.get("bias", 0), -1, 1)
        case BatchNorm2d():
            scale = weights["weight"] / np.sqrt(weights["running_var"] + layer.eps)
            return _channels(scale) * (x - _channels(weights["running_mean"])) + _channels(weights["bias"])
        case ReLU():
            return np.maximum(x, 0)
        case ReLU6():
            return np.clip(x, 0, 6)
        case Sigmoid():
            return np.exp(-np.logaddexp(0, -x))
        case MaxPool2d():
            return _windows(layer.window, x, after, -np.inf).max(axis=(4, 5))
        case AvgPool2d():
            counts = pool_counts(layer, x.shape[1:], after).astype(x.dtype)
            return _windows(layer.window, x, after, 0).sum(axis=(4, 5)) / counts
        case Dropout():
            return x
        case GlobalAvgPool2d():
            return x.mean(axis=(2, 3), keepdims=True)
        case Flatten():
            return x.reshape(len(x), -1)
        case Linear():
            return x @ weights["weight"].T + weights.get("bias", 0)
        case _:
            assert_never(layer)


def _channels(values: Array) -> Array:
    return values[:, None, None]


def margins(window: Window, side: int, count: int, axis: int) -> tuple[int, int]:
    """The number of values to add before and after an axis so that a number of windows fit.

    The last window of a pooling with ``ceil_mode`` may need more than the padding after the axis.

    Args:
        window: The windows.
        side: Number of values of the axis.
        count: Number of windows.
        axis: 0 for rows, 1 for columns.
    """
    kernel, stride, padding = (size[axis] for size in window)
    return padding, max(0, (count - 1) * stride + kernel - side - padding)


def _windows(window: Window, x: Array, after: Shape, fill: float) -> Array:
    """(B, C, H', W', kh, kw): a view of every window of x, padded with ``fill``."""
    sides = [margins(window, x.shape[2 + axis], after[1 + axis], axis) for axis in (0, 1)]
    x = np.pad(x, [(0, 0), (0, 0), *sides], constant_values=fill)
    rows, columns = window.stride
    views = np.lib.stride_tricks.sliding_window_view(x, window.kernel, axis=(2, 3))
    return views[:, :, ::rows, ::columns][:, :, : after[1], : after[2]]


def pool_counts(layer: AvgPool2d, before: Shape, after: Shape) -> npt.NDArray[np.int64]:
    """What an average pooling divides by at each position, int64 (H', W').

    A window counts the values of the map in it, and those of the map's padding if ``count_include_pad``; what extends
    over the padded map in ``ceil_mode`` never counts. PyTorch and Caffe do the same.

    Args:
        layer: The pooling.
        before: (C, H, W) of its input.
        after: (C, H', W') of its output.
    """
    counts = []
    for axis in (0, 1):
        kernel, stride, padding = (size[axis] for size in layer.window)
        first = stride * np.arange(after[1 + axis]) - padding
        margin = padding if layer.count_include_pad else 0
        counts.append(np.minimum(first + kernel, before[1 + axis] + margin) - np.maximum(first, -margin))
    return np.outer(*counts)
