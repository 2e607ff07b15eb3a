"""A network as the chapter's TensorFlow edition builds it: blocks as nested Sequential models."""

from collections.abc import Mapping
from typing import Any, assert_never

from keras import layers, models  # pyright: ignore[reportAttributeAccessIssue]

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
    Sigmoid,
)
from mlpconv.arch.network import Block, Network
from mlpconv.backends.base import Weights
from mlpconv.backends.common.channels_last import to_channels_last
from mlpconv.convert.chapter import without_activations
from mlpconv.errors import WeightsError


def build_chapter_model(network: Network, weights: Weights, where: str) -> Any:
    """The network as nested ``keras.Sequential`` models for images given as (B, H, W, C).

    Args:
        network: The network.
        weights: Its canonical weights.
        where: The name of the file, for errors.

    Raises:
        WeightsError: A padding has no counterpart in the chapter's layers.
    """
    made: dict[str, Any] = {}
    model = models.Sequential(_layers(network.layers, "", where, made))
    model.build((None, *network.input_size, network.input_channels))
    for name, value in to_channels_last(network, weights).items():
        made[name].set_weights(list(value.values()))
    return model


def _layers(parts: Mapping[str, AnyLayer | Block], prefix: str, where: str, made: dict[str, Any]) -> list[Any]:
    """Keras' layers for those of a network or a block; ``made`` receives them by canonical name."""
    found = []
    order = list(parts)
    kept = without_activations(parts)
    for name, part in kept.items():
        if isinstance(part, Block):
            found.append(models.Sequential(_layers(part.layers, f"{name}.", where, made)))
            continue
        following = parts[order[order.index(name) + 1]] if name != order[-1] else None
        layer = _layer(part, _activation(following), f"{where}: {prefix}{name}")
        made[f"{prefix}{name}"] = layer[0]
        found += layer
    return found


def _activation(following: AnyLayer | Block | None) -> str | None:
    """Keras' name of the activation that a convolution or linear layer has, from the layer after it."""
    match following:
        case ReLU():
            return "relu"
        case Sigmoid():
            return "sigmoid"
        case _:
            return None


def _layer(layer: AnyLayer, activation: str | None, where: str) -> list[Any]:
    match layer:
        case Conv2d(window=window, depthwise=True):
            if window.stride[0] != window.stride[1]:
                raise WeightsError(
                    f"{where}: a stride of {window.stride} is not the same in both directions, as Keras' depthwise "
                    "convolutions need; use --names mlpconv"
                )
            return [
                layers.DepthwiseConv2D(
                    window.kernel,
                    window.stride,
                    _padding(window, where),
                    activation=activation,
                    use_bias=layer.bias,
                )
            ]
        case Conv2d(window=window):
            return [
                layers.Conv2D(
                    layer.out_channels,
                    window.kernel,
                    window.stride,
                    _padding(window, where),
                    activation=activation,
                    use_bias=layer.bias,
                )
            ]
        case Linear():
            return [layers.Dense(layer.out_features, activation=activation, use_bias=layer.bias)]
        case BatchNorm2d():
            return [layers.BatchNormalization(momentum=1 - layer.momentum, epsilon=layer.eps)]
        case ReLU():
            return [layers.Activation("relu")]
        case ReLU6():
            return [layers.ReLU(6.0)]
        case Sigmoid():
            return [layers.Activation("sigmoid")]
        case MaxPool2d(window=window):
            _check_pool(layer, where)
            return [layers.MaxPool2D(window.kernel, window.stride)]
        case AvgPool2d(window=window):
            _check_pool(layer, where)
            return [layers.AvgPool2D(window.kernel, window.stride)]
        case Dropout():
            return [layers.Dropout(layer.p)]
        case GlobalAvgPool2d():
            return [layers.GlobalAveragePooling2D(), layers.Reshape((1, 1, -1))]
        case Flatten():
            return [layers.Flatten()]
        case _:
            assert_never(layer)


def _padding(window: Window, where: str) -> str:
    """The chapter's name of a convolution's padding: "valid" is none, "same" keeps the size of the map."""
    if window.padding == (0, 0):
        return "valid"
    if window.stride == (1, 1) and window.kernel == tuple(2 * side + 1 for side in window.padding):
        return "same"
    raise WeightsError(
        f"{where}: a padding of {window.padding} at a stride of {window.stride} is neither 'valid' nor 'same', the "
        "paddings of the chapter's Keras layers; use --names mlpconv"
    )


def _check_pool(layer: MaxPool2d | AvgPool2d, where: str) -> None:
    if layer.window.padding != (0, 0) or layer.ceil_mode:
        raise WeightsError(
            f"{where}: the chapter's Keras layers have no pooling with padding or rounding up; use --names mlpconv"
        )
