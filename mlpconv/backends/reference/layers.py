"""The forward pass in NumPy, layer by layer, in evaluation mode."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.class_maps import until_class_maps
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
    pair,
)
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes

Array = npt.NDArray[Any]


def forward(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """The network's output, (B, classes) for a classifier, in evaluation mode.

    weights: canonical. x: float32 or float64 (B, C, H, W); everything is computed in its type. Raises NetworkError
    where the network does not fit the images.
    """
    return list(activations(network, weights, x).values())[-1]


def class_maps(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """(B, classes, h, w): see ``until_class_maps``, whose errors these are, and ``forward``."""
    return forward(until_class_maps(network)[0], weights, x)


def activations(network: Network, weights: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """The output of every layer by its full name, (B, C, H, W) or (B, features), in evaluation mode."""
    found: dict[str, Array] = {}
    for name, layer, _, after in layer_shapes(network, x.shape[1:]):
        own = {key.rpartition(".")[2]: weights[key] for key in weights if key.rpartition(".")[0] == name}
        x = _apply(layer, {part: value.astype(x.dtype) for part, value in own.items()}, x, after)
        assert x.shape[1:] == after, f"{name}: {x.shape[1:]} is not the inferred {after}"
        found[name] = x
    return found


def _apply(layer: AnyLayer, own: dict[str, Array], x: Array, after: Shape) -> Array:
    match layer:
        case Conv2d():
            windows = _windows(layer, x, after, 0)
            y = np.tensordot(windows, own["weight"], axes=((1, 4, 5), (1, 2, 3)))  # (B, H', W', out)
            return np.moveaxis(y + own.get("bias", 0), -1, 1)
        case BatchNorm2d():
            scale = own["weight"] / np.sqrt(own["running_var"] + layer.eps)
            return _channels(scale) * (x - _channels(own["running_mean"])) + _channels(own["bias"])
        case ReLU():
            return np.maximum(x, 0)
        case Sigmoid():
            return np.exp(-np.logaddexp(0, -x))
        case MaxPool2d():
            return _windows(layer, x, after, -np.inf).max(axis=(4, 5))
        case AvgPool2d():
            return _windows(layer, x, after, 0).sum(axis=(4, 5)) / pool_counts(layer, x.shape[1:], after).astype(
                x.dtype
            )
        case Dropout():
            return x
        case GlobalAvgPool2d():
            return x.mean(axis=(2, 3), keepdims=True)
        case Flatten():
            return x.reshape(len(x), -1)
        case Linear():
            return x @ own["weight"].T + own.get("bias", 0)


def _channels(values: Array) -> Array:
    return values[:, None, None]


def margins(layer: Conv2d | Pool2d, side: int, count: int, axis: int) -> tuple[int, int]:
    """How many values to add before and after an axis of ``side`` values so that ``count`` windows fit.

    The last window of a ``ceil_mode`` pooling may need more than ``padding`` after the axis.
    """
    kernel, stride, padding = (pair(size)[axis] for size in (layer.kernel_size, layer.stride, layer.padding))
    return padding, max(0, (count - 1) * stride + kernel - side - padding)


def _windows(layer: Conv2d | Pool2d, x: Array, after: Shape, fill: float) -> Array:
    """(B, C, H', W', kh, kw): a view of every window of x, padded with ``fill``."""
    around = [margins(layer, x.shape[2 + axis], after[1 + axis], axis) for axis in (0, 1)]
    x = np.pad(x, [(0, 0), (0, 0), *around], constant_values=fill)
    rows, columns = pair(layer.stride)
    views = np.lib.stride_tricks.sliding_window_view(x, pair(layer.kernel_size), axis=(2, 3))
    return views[:, :, ::rows, ::columns][:, :, : after[1], : after[2]]


def pool_counts(layer: AvgPool2d, before: Shape, after: Shape) -> npt.NDArray[np.int64]:
    """What an average pooling from (C, H, W) to (C, H', W') divides by at every position, (H', W').

    A window counts what it holds of the map, and of the map's padding if ``count_include_pad``; what hangs over the
    padded map in ``ceil_mode`` never counts. So do PyTorch and Caffe.
    """
    counts = []
    for axis in (0, 1):
        kernel, stride, padding = (pair(size)[axis] for size in (layer.kernel_size, layer.stride, layer.padding))
        first = stride * np.arange(after[1 + axis]) - padding
        margin = padding if layer.count_include_pad else 0
        counts.append(np.minimum(first + kernel, before[1 + axis] + margin) - np.maximum(first, -margin))
    return np.outer(*counts)
