"""A network as a functional Keras model, with canonical weights loaded into it and read from it."""

import re
from collections.abc import Iterator
from math import gcd, prod
from typing import Any, assert_never

from keras import Input, config, dtype_policies, layers, models, ops  # pyright: ignore[reportAttributeAccessIssue]

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
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.base import Weights
from mlpconv.backends.common.channels_last import array_to_channels_last, to_channels_last
from mlpconv.backends.common.layer_plan import PlannedLayer, plan_layers
from mlpconv.backends.reference import margins
from mlpconv.backends.weights import depthwise_kernels, weight_shapes

LAST = "channels_last"
MAX_UNROLLED_POOL = 16
"""Values in a window up to which max pooling is written out value by value."""
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
"""The attributes of a Keras layer that hold its canonical weights."""


def build(
    network: Network,
    shape: Shape,
    *,
    policy: str = "float32",
    like: Any = None,
    lean: bool = False,
    start_after: str | None = None,
    output: str | None = None,
) -> Any:
    """A ``keras.Model`` for images of one size, given as (B, H, W, C), made of Keras layers only.

    Args:
        network: The network.
        shape: (C, H, W) of the images.
        policy: The dtype policy of Keras.
        like: A model of the same network at another size; the new model shares its variables.
        lean: Whether to leave out what no layer reads (common/required_outputs.py), and to compute a ReLU after the max
            pooling that follows it.
        start_after: The first layer, if the model takes its output instead of images.
        output: The last layer to compute; by default the last one of the network.
    """
    lean = lean and not any(map(_has_single_column, layer_shapes(network, shape)))
    plan = plan_layers(network, shape, lean=lean, pooled_first=lean, start_after=start_after, output=output)
    first = plan[0].before
    dtype = "bfloat16" if start_after is not None and policy == "mixed_bfloat16" else "float32"
    # A hyphen cannot occur in a layer's name, so what we add never takes the name of a layer.
    image = x = Input((*first[1:], first[0]), name="image-input", dtype=dtype)
    for planned in plan:
        row = planned.row
        if like is not None and (fast := _fast_layer(planned, like, policy)):
            x = fast(x)
            continue
        shared = None
        if like is not None and (row.layer.parameter_shapes(row.input_shape) or isinstance(row.layer, Dropout)):
            shared = like.get_layer(row.name)  # which has variables: weights, or the state of its random numbers
        for layer in _with_helpers(planned, policy, x.dtype, shared):
            x = layer(x)
    return models.Model(image, x, name=_model_name(network))


def build_nested(network: Network) -> Any:
    """A ``keras.Sequential`` of the network for images of its input size, with one more for each block.

    Its layers are those of ``build``, in the order in which the chapter's loop goes through them. As in other Keras
    models, a linear layer takes the values of a flattened map in the order (H, W, C).

    Args:
        network: The network.
    """
    helped: dict[str, list[Any]] = {}
    plan = plan_layers(network, network.input_shape)
    for index, planned in enumerate(plan):
        name = planned.row.name
        if isinstance(planned.row.layer, Flatten) and any(
            isinstance(later.row.layer, Linear) for later in plan[index:]
        ):
            helped[name] = [_layer(name, planned.row.layer, "float32")]
        else:
            helped[name] = _with_helpers(planned, "float32", "float32")
    whole = models.Sequential(name=_model_name(network))
    whole.add(Input((*network.input_size, network.input_channels)))
    for name, part in network.layers.items():
        if isinstance(part, Block):
            inner = (layer for inner in part.layers for layer in helped[f"{name}.{inner}"])
            whole.add(models.Sequential(list(inner), name=name))
        else:
            for layer in helped[name]:
                whole.add(layer)
    return whole


def _model_name(network: Network) -> str:
    # TensorFlow opens a scope of this name, which allows few characters and no "_" at the start.
    return re.sub(r"\W", "_", network.name, flags=re.ASCII).strip("_") or "network"


def _fast_layer(planned: PlannedLayer, like: Any, policy: str) -> Any:
    """The layer with its padding, where the engine computes one of ours faster than that of Keras; else None."""
    if config.backend() != "jax":
        return None
    from mlpconv.backends.keras import jax_operations

    layer, name = planned.row.layer, planned.row.name
    if isinstance(layer, Conv2d):
        return jax_operations.Convolution(like.get_layer(name), layer.window.stride, planned.sides, policy)
    if isinstance(layer, MaxPool2d) and prod(layer.window.kernel) <= MAX_UNROLLED_POOL:
        return jax_operations.MaxPooling(name, layer.window.kernel, layer.window.stride, planned.sides, policy)
    return None


def _layer(name: str, layer: AnyLayer, policy: str) -> Any:
    common = {"name": name, "dtype": policy}
    match layer:
        case Conv2d(window=window, bias=bias, depthwise=True):
            # TensorFlow has only equal strides; a pooling after the layer does the rest (_rest_of_stride).
            return layers.DepthwiseConv2D(
                window.kernel, gcd(*window.stride), "valid", data_format=LAST, use_bias=bias, **common
            )
        case Conv2d(window=window, bias=bias):
            return layers.Conv2D(
                layer.out_channels, window.kernel, window.stride, "valid", LAST, use_bias=bias, **common
            )
        case BatchNorm2d():
            return layers.BatchNormalization(-1, momentum=1 - layer.momentum, epsilon=layer.eps, **common)
        case ReLU():
            return layers.ReLU(**common)
        case ReLU6():
            return layers.ReLU(6.0, **common)
        case Sigmoid():
            return layers.Activation("sigmoid", **common)
        case MaxPool2d(window=window):
            return layers.MaxPooling2D(window.kernel, window.stride, "valid", LAST, **common)
        case AvgPool2d(window=window):
            return layers.AveragePooling2D(window.kernel, window.stride, "valid", LAST, **common)
        case Dropout():
            return layers.Dropout(layer.p, **common)
        case GlobalAvgPool2d():
            return layers.GlobalAveragePooling2D(LAST, keepdims=True, **common)
        case Flatten():
            return layers.Flatten(LAST, **common)
        case Linear():
            return layers.Dense(layer.out_features, use_bias=layer.bias, **common)
        case _:
            assert_never(layer)


def _with_helpers(planned: PlannedLayer, policy: str, dtype: str, shared: Any = None) -> list[Any]:
    """The layer after those that only Keras needs before it, such as padding, and before those it needs after it.

    Args:
        planned: The layer.
        policy: Its dtype policy.
        dtype: The dtype of its input.
        shared: The same layer of another model, to share its variables.
    """
    row = planned.row
    found = _helpers_before(planned, dtype)
    found.append(shared or _layer(row.name, row.layer, policy))
    after = dtype_policies.get(policy).compute_dtype
    if isinstance(row.layer, AvgPool2d):
        found += _recount(planned, row.layer, after)
    if isinstance(row.layer, Conv2d) and (rest := _rest_of_stride(row.layer)) != (1, 1):
        # Every n-th value of what a smaller stride gives.
        found.append(layers.MaxPooling2D(1, rest, "valid", LAST, name=f"{row.name}-stride", dtype=after))
    if _has_single_column(row):
        found.append(layers.Cropping2D(((0, 0), (0, 1)), LAST, name=f"{row.name}-column", dtype=after))
    return found


def _helpers_before(planned: PlannedLayer, dtype: str) -> list[Any]:
    """What must be done before a layer: padding, or the order of values before flattening."""
    row, sides = planned.row, planned.sides
    if window := row.layer.window:
        channels, *size = planned.before
        if _has_single_column(row):
            sides = (sides[0], margins(window, size[1], 2, 1))
        if sides == ((0, 0), (0, 0)):
            return []
        if isinstance(row.layer, MaxPool2d):
            # Padding must never win: zeros would, over negative values.
            x = Input((*size, channels), name=f"{row.name}-pad-input", dtype=dtype)
            padded = ops.pad(x, ((0, 0), *sides, (0, 0)), constant_values=float("-inf"))
            return [models.Model(x, padded, name=f"{row.name}-pad")]
        return [layers.ZeroPadding2D(sides, LAST, name=f"{row.name}-pad", dtype=dtype)]
    if isinstance(row.layer, Flatten) and len(row.input_shape) == 3 and row.input_shape[1:] != (1, 1):
        # Channels first here rather than another layout in the weights: then the weight of a Linear is the same matrix
        # everywhere, and the output of a network without one has the same order.
        return [layers.Permute((3, 1, 2), name=f"{row.name}-order", dtype=dtype)]
    return []


def _rest_of_stride(layer: Conv2d) -> tuple[int, int]:
    """The stride that must follow the layer in Keras: a depthwise one has the same stride in both directions."""
    vertical, horizontal = layer.window.stride
    common = gcd(vertical, horizontal)
    return (vertical // common, horizontal // common) if layer.depthwise else (1, 1)


def _has_single_column(row: LayerShape) -> bool:
    """Whether a convolution has one column of output at a stride of (1, 2) or wider.

    TensorFlow 2.21 with oneDNN leaves rows of it unwritten on the CPU, so we compute one more column and cut it off.
    """
    if not isinstance(row.layer, Conv2d) or row.layer.depthwise:
        return False
    vertical, horizontal = row.layer.window.stride
    return row.output_shape[2] == 1 and vertical == 1 < horizontal


def _recount(planned: PlannedLayer, layer: AvgPool2d, dtype: str) -> list[Any]:
    """What corrects the divisor of an average pooling where ours differs: Keras divides by the whole window."""
    assert planned.counts is not None
    factors = prod(layer.window.kernel) / planned.counts
    if (factors == 1).all():
        return []
    return [layers.Rescaling(factors[..., None].tolist(), name=f"{planned.row.name}-count", dtype=dtype)]


def variables(network: Network, model: Any) -> dict[str, Any]:
    """The ``keras.Variable`` of every canonical weight.

    Args:
        network: The network.
        model: Its ``keras.Model``.
    """
    layer_types = {name: type(layer) for name, layer in network.walk()}
    keras_layers = {layer.name: layer for layer in _all_layers(model)}
    variables = {}
    for name in weight_shapes(network, image_shape(model)):
        layer_name, _, part = name.rpartition(".")
        variables[name] = getattr(keras_layers[layer_name], _ATTRIBUTES[layer_types[layer_name]][part])
    return variables


def _all_layers(model: Any) -> Iterator[Any]:
    """The layers of a model and of those nested in it."""
    for layer in model.layers:
        if isinstance(layer, models.Model):
            yield from _all_layers(layer)
        else:
            yield layer


def image_shape(model: Any) -> Shape:
    """(C, H, W) of the images that a model takes."""
    _, height, width, channels = model.input_shape
    return channels, height, width


def load(network: Network, model: Any, weights: Weights) -> None:
    """Load canonical weights, already checked, into a model.

    Args:
        network: The network.
        model: Its ``keras.Model``.
        weights: The canonical weights.
    """
    depthwise = depthwise_kernels(network)
    for name, variable in variables(network, model).items():
        variable.assign(array_to_channels_last(weights[name], name in depthwise))


def load_nested(network: Network, model: Any, weights: Weights) -> None:
    """Load canonical weights, already checked, into a model of ``build_nested``.

    Args:
        network: The network.
        model: Its ``keras.Sequential``.
        weights: The canonical weights.
    """
    values = to_channels_last(network, weights)
    for name, variable in variables(network, model).items():
        layer, _, part = name.rpartition(".")
        variable.assign(values[layer][part])
