"""A network as a functional Keras model, and canonical weights in and out of it."""

import re
from math import prod
from typing import Any

import numpy as np
from keras import Input, config, layers, models, ops  # pyright: ignore[reportAttributeAccessIssue]

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
    Shape,
    Sigmoid,
    pair,
)
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.base import Weights
from mlpconv.backends.common.layer_plan import PlannedLayer, plan_layers
from mlpconv.backends.reference import margins
from mlpconv.backends.weights import weight_shapes

LAST = "channels_last"
LARGEST_POOL = 16
"""Values in a window, up to which pooling is written out value by value."""
_ATTRIBUTES = {
    Conv2d: {"weight": "kernel", "bias": "bias"},
    Linear: {"weight": "kernel", "bias": "bias"},
    BatchNorm2d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}


def build(
    network: Network,
    shape: Shape,
    *,
    policy: str = "float32",
    like: Any = None,
    lean: bool = False,
    behind: str | None = None,
    output: str | None = None,
) -> Any:
    """A ``keras.Model`` for images of ``shape`` (C, H, W), given as (B, H, W, C), made of Keras' own layers only.

    policy: Keras' dtype policy. like: a model of the same network at another size whose variables are shared. lean:
    leave out what nobody reads (common/required_outputs.py), and put a ReLU behind the max pooling that follows it.
    behind: the first layer, where the model is to take its output instead of images. output: the layer to end with.
    """
    lean = lean and not any(map(_lone_column, layer_shapes(network, shape)))
    placed = plan_layers(network, shape, lean=lean, pooled_first=lean, behind=behind, output=output)
    first = placed[0].before
    kind = "bfloat16" if behind is not None and policy == "mixed_bfloat16" else "float32"
    # A hyphen cannot stand in a layer's name, so what we add never takes the name of a layer.
    image = x = Input((*first[1:], first[0]), name="image-input", dtype=kind)
    for each in placed:
        row = each.row
        if like is not None and (quick := _quick(each, like, policy)):
            x = quick(x)
            continue
        x = _padded(each, x)
        if like is not None and isinstance(row.layer, Conv2d | Linear | BatchNorm2d | Dropout):
            x = like.get_layer(row.name)(x)
        else:
            x = _layer(row.name, row.layer, policy)(x)
        if isinstance(row.layer, AvgPool2d):
            x = _recounted(each, row.layer, x)
        if _lone_column(row):
            x = layers.Cropping2D(((0, 0), (0, 1)), LAST, name=f"{row.name}-column", dtype=x.dtype)(x)
    # TensorFlow opens a scope of this name, which takes few characters and no "_" at the beginning.
    name = re.sub(r"\W", "_", network.name, flags=re.ASCII).strip("_")
    return models.Model(image, x, name=name or "network")


def _quick(each: PlannedLayer, like: Any, policy: str) -> Any:
    """The layer, its padding included, where the engine computes one of ours faster than Keras' own."""
    if config.backend() != "jax":
        return None
    from mlpconv.backends.keras import jax_operations

    match each.row.layer:
        case Conv2d():
            return jax_operations.Convolution(like.get_layer(each.row.name), each.sides, policy)
        case MaxPool2d(kernel_size=kernel, stride=stride) if prod(pair(kernel)) <= LARGEST_POOL:
            return jax_operations.MaxPooling(each.row.name, pair(kernel), pair(stride), each.sides, policy)
    return None


def _layer(name: str, layer: AnyLayer, policy: str) -> Any:
    common = {"name": name, "dtype": policy}
    match layer:
        case Conv2d(kernel_size=kernel, stride=stride):
            return layers.Conv2D(
                layer.out_channels, pair(kernel), pair(stride), "valid", LAST, use_bias=layer.bias, **common
            )
        case BatchNorm2d():
            return layers.BatchNormalization(-1, momentum=1 - layer.momentum, epsilon=layer.eps, **common)
        case ReLU():
            return layers.ReLU(**common)
        case Sigmoid():
            return layers.Activation("sigmoid", **common)
        case MaxPool2d(kernel_size=kernel, stride=stride):
            return layers.MaxPooling2D(pair(kernel), pair(stride), "valid", LAST, **common)
        case AvgPool2d(kernel_size=kernel, stride=stride):
            return layers.AveragePooling2D(pair(kernel), pair(stride), "valid", LAST, **common)
        case Dropout():
            return layers.Dropout(layer.p, **common)
        case GlobalAvgPool2d():
            return layers.GlobalAveragePooling2D(LAST, keepdims=True, **common)
        case Flatten():
            return layers.Flatten(LAST, **common)
        case Linear():
            return layers.Dense(layer.out_features, use_bias=layer.bias, **common)


def _padded(each: PlannedLayer, x: Any) -> Any:
    """What must stand before a layer: its padding, or the order in which we flatten."""
    row, sides = each.row, each.sides
    match row.layer:
        case Conv2d() | MaxPool2d() | AvgPool2d():
            if _lone_column(row):
                sides = (sides[0], margins(row.layer, x.shape[2], 2, 1))
            if sides == ((0, 0), (0, 0)):
                return x
            if isinstance(row.layer, MaxPool2d):
                # Padding must never win: zeros would, over negative values.
                return ops.pad(x, ((0, 0), *sides, (0, 0)), constant_values=float("-inf"))
            return layers.ZeroPadding2D(sides, LAST, name=f"{row.name}-pad", dtype=x.dtype)(x)
        case Flatten() if len(row.input_shape) == 3 and row.input_shape[1:] != (1, 1):
            # Channels first here rather than another layout in the weights: then a Linear's weight is the same matrix
            # everywhere, and what a network without one gives has the same order.
            return layers.Permute((3, 1, 2), name=f"{row.name}-order", dtype=x.dtype)(x)
        case _:
            return x


def _lone_column(row: LayerShape) -> bool:
    """Whether a convolution gives one column at a stride of (1, 2) or wider.

    TensorFlow 2.21 with oneDNN leaves rows of it unwritten on the CPU, so we make one more column and cut it off.
    """
    if not isinstance(row.layer, Conv2d):
        return False
    down, right = pair(row.layer.stride)
    return row.output_shape[2] == 1 and down == 1 < right


def _recounted(each: PlannedLayer, layer: AvgPool2d, x: Any) -> Any:
    """Keras divides by the whole window; multiply by what makes that our count where they differ."""
    rows, columns = pair(layer.kernel_size)
    assert each.counts is not None
    factors = rows * columns / each.counts
    if (factors == 1).all():
        return x
    return layers.Rescaling(factors[..., None].tolist(), name=f"{each.row.name}-count", dtype=x.dtype)(x)


def variables(network: Network, model: Any) -> dict[str, Any]:
    """The ``keras.Variable`` of every canonical weight."""
    described = dict(network.walk())
    found = {}
    for name in weight_shapes(network, image_shape(model)):
        layer_name, _, part = name.rpartition(".")
        found[name] = getattr(model.get_layer(layer_name), _ATTRIBUTES[type(described[layer_name])][part])
    return found


def image_shape(model: Any) -> Shape:
    """(C, H, W) of the images that a model takes."""
    _, height, width, channels = model.input_shape
    return channels, height, width


def load(network: Network, model: Any, weights: Weights) -> None:
    """Put canonical weights, already checked, into the model."""
    for name, variable in variables(network, model).items():
        variable.assign(to_keras(weights[name]))


def to_keras(value: np.ndarray) -> np.ndarray:
    """A canonical weight in Keras' layout: (out, in, kh, kw) → (kh, kw, in, out), (out, in) → (in, out)."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def from_keras(value: np.ndarray) -> np.ndarray:
    """The inverse of ``to_keras``, as an array of its own."""
    return np.array(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T, order="C")
