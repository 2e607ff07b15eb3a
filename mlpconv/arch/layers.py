"""The layers as frozen values: what a network is made of, without any framework.

A layer describes what it computes, not what it receives: channels and sizes of its input come from shape inference.
Windows are given as one integer or as (height, width); padding is explicit and the same on both sides of an axis,
never "same". Everything that is known about a layer without a framework is defined in its class here.
"""

import math
import reprlib
from math import prod
from typing import Literal

from mlpconv.arch.layer_definition import (
    Layer,
    LayerDefinition,
    Operations,
    Saves,
    Shape,
    Size,
    Traits,
    Window,
    by,
    pair,
    show,
)
from mlpconv.errors import NetworkError

SIZE_LIMIT = 2**31
"""Sizes are below this limit: no framework accepts larger ones."""


class _WithoutWeights(Layer, frozen=True):
    def parameter_shapes(self, before: Shape) -> dict[str, Shape]:
        return {}

    def statistic_shapes(self, before: Shape) -> dict[str, Shape]:
        return {}


def _activation(
    stem: str, *, output: Literal["new", "in place"], saves: Saves, can_die: bool, pools_first: bool
) -> Traits:
    """The traits of an activation."""
    return Traits(
        stem, "note", output, saves, elementwise=True, mixes_positions=False, can_die=can_die, pools_first=pools_first
    )


class _Activation(_WithoutWeights, frozen=True):
    """Computes each value from the value at its position; the traits are made by ``_activation``."""

    window = None

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        return before

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations(activation_ops=prod(after))


class _Pool(_WithoutWeights, frozen=True):
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        for field, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            _check(self, field, minimum)
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel_size), strict=True)):
            raise NetworkError(
                f"{type(self).__name__}: padding {by(self.padding)} is more than half of the window "
                f"{by(self.kernel_size)}; some windows would hold nothing but padding"
            )

    @property
    def window(self) -> Window:
        return Window(pair(self.kernel_size), pair(self.stride), pair(self.padding))

    @property
    def _settings(self) -> str:
        return self.window.settings + (", rounding up" if self.ceil_mode else "")

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        _check_map(self, before)
        return (before[0], *self.window.positions(before, image, "window", self.ceil_mode))


class Conv2d(Layer, tag="conv2d", frozen=True):
    """A convolution (cross-correlation) over (C, H, W), with one bias for each output channel.

    Args:
        out_channels: Number of output channels; if ``depthwise``, that of the input.
        kernel_size: Height and width of the window; one integer for squares.
        stride: Distance between two windows.
        padding: Zeros on both sides of each axis.
        bias: Whether a bias is added.
        depthwise: Whether each output channel reads only the input channel of the same number.
    """

    out_channels: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    bias: bool = True
    depthwise: bool = False

    traits = Traits(stem="conv", box="conv", output="new", saves="input", elementwise=False, mixes_positions=False)

    def __post_init__(self) -> None:
        for field, minimum in (("out_channels", 1), ("kernel_size", 1), ("stride", 1), ("padding", 0)):
            _check(self, field, minimum)

    @property
    def label(self) -> str:
        word = "depthwise conv" if self.depthwise else "conv"
        return f"{by(self.kernel_size)} {word}, {self.out_channels}{self.window.settings}"

    @property
    def window(self) -> Window:
        return Window(pair(self.kernel_size), pair(self.stride), pair(self.padding))

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        _check_map(self, before)
        if self.depthwise and self.out_channels != before[0]:
            raise NetworkError(
                f"Conv2d: a depthwise convolution has as many output channels as input channels, but out_channels is "
                f"{self.out_channels} and the input {show(before)} has {before[0]}; use out_channels={before[0]}, or a "
                "1×1 convolution before or after it to change the number"
            )
        return (self.out_channels, *self.window.positions(before, image, "kernel"))

    def channels_read(self, before: Shape) -> int:
        """The number of input channels that one output channel reads, for an input of shape ``before``."""
        return 1 if self.depthwise else before[0]

    def parameter_shapes(self, before: Shape) -> dict[str, Shape]:
        weight = (self.out_channels, self.channels_read(before), *self.window.kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def statistic_shapes(self, before: Shape) -> dict[str, Shape]:
        return {}

    def operations(self, before: Shape, after: Shape) -> Operations:
        return _products(prod(after), self.channels_read(before) * prod(self.window.kernel), self.bias)


class BatchNorm2d(Layer, tag="batch_norm2d", frozen=True):
    """Batch normalization of each channel: scale and shift are learned, mean and variance are running statistics.

    Args:
        eps: Added to the variance, above 0.
        momentum: The weight of the newest batch: running ← (1 − momentum)·running + momentum·batch.
    """

    eps: float = 1e-5
    momentum: float = 0.1

    # The statistics are taken over the whole map, so a part of the output needs all of the input.
    traits = Traits(stem="norm", box="note", output="new", saves="input", elementwise=False, mixes_positions=False)
    label = "batch norm"
    window = None

    def __post_init__(self) -> None:
        if not (self.eps > 0 and math.isfinite(self.eps)):
            raise NetworkError(f"BatchNorm2d: eps must be above 0 and finite, not {self.eps!r}")
        if not 0 <= self.momentum <= 1:
            raise NetworkError(f"BatchNorm2d: momentum must be from 0 to 1, not {self.momentum!r}")

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        _check_map(self, before)
        return before

    def parameter_shapes(self, before: Shape) -> dict[str, Shape]:
        return {"weight": (before[0],), "bias": (before[0],)}

    def statistic_shapes(self, before: Shape) -> dict[str, Shape]:
        return {"running_mean": (before[0],), "running_var": (before[0],)}

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations(normalization_ops=2 * prod(after))


class ReLU(_Activation, tag="relu", frozen=True):
    """max(x, 0)."""

    traits = _activation("relu", output="in place", saves="output", can_die=True, pools_first=True)
    label = "ReLU"


class ReLU6(_Activation, tag="relu6", frozen=True):
    """min(max(x, 0), 6)."""

    # PyTorch's keeps a copy of the input where it works in place, so nothing would be saved.
    # No gradient passes at 6 and above, so max pooling before it may choose another one of such values.
    traits = _activation("relu", output="new", saves="input", can_die=True, pools_first=True)
    label = "ReLU6"


class Sigmoid(_Activation, tag="sigmoid", frozen=True):
    """1 / (1 + exp(−x))."""

    # Rounding makes values near 1 equal, so max pooling would choose another one of them before it.
    traits = _activation("sigmoid", output="new", saves="output", can_die=False, pools_first=False)
    label = "sigmoid"


class MaxPool2d(_Pool, tag="max_pool2d", frozen=True):
    """The largest value of each window; padding is never the largest.

    Args:
        kernel_size: Height and width of the window; one integer for squares.
        stride: Distance between two windows.
        padding: Padding on both sides of each axis, at most half of the window.
        ceil_mode: Whether to keep a last window that is cut by the edge.
    """

    # An int64 for each output: the position of the largest value.
    traits = Traits(
        stem="pool", box="pool", output="new", saves="input", elementwise=False, mixes_positions=False, index_bytes=8
    )

    @property
    def label(self) -> str:
        return f"{by(self.kernel_size)} max pool{self._settings}"

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations(pooling_ops=prod(after) * (prod(self.window.kernel) - 1))


class AvgPool2d(_Pool, tag="avg_pool2d", frozen=True):
    """The mean of each window.

    Args:
        kernel_size: Height and width of the window; one integer for squares.
        stride: Distance between two windows.
        padding: Padding on both sides of each axis, at most half of the window.
        ceil_mode: Whether to keep a last window that is cut by the edge.
        count_include_pad: Whether padding counts as zeros in the mean.
    """

    count_include_pad: bool = True

    traits = Traits(stem="pool", box="pool", output="new", saves="input", elementwise=False, mixes_positions=False)

    @property
    def label(self) -> str:
        return f"{by(self.kernel_size)} average pool{self._settings}"

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations(pooling_ops=prod(after) * prod(self.window.kernel))


class Dropout(_WithoutWeights, tag="dropout", frozen=True):
    """In training, zero each value with probability ``p`` and scale the others by 1 / (1 − p); else the identity.

    Args:
        p: The probability, at least 0 and below 1.
    """

    p: float = 0.5

    # The random numbers are drawn for the whole map, so a part of the output needs all of them.
    traits = Traits(
        stem="dropout",
        box="other",
        output="new",
        saves="nothing",
        elementwise=False,
        mixes_positions=False,
        identity_in_evaluation=True,
        saves_mask=True,
    )
    window = None

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise NetworkError(f"Dropout: p must be at least 0 and below 1, not {self.p!r}")

    @property
    def label(self) -> str:
        return f"dropout {self.p:g}"

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        return before

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations()


class GlobalAvgPool2d(_WithoutWeights, tag="global_avg_pool2d", frozen=True):
    """The mean of each channel's map: (C, H, W) → (C, 1, 1)."""

    traits = Traits(
        stem="gap", box="pool", output="new", saves="nothing", elementwise=False, mixes_positions=True, numbered=False
    )
    label = "global average pool"
    window = None

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        _check_map(self, before)
        return (before[0], 1, 1)

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations(pooling_ops=prod(before))


class Flatten(_WithoutWeights, tag="flatten", frozen=True):
    """(C, H, W) → (C·H·W), in that order."""

    traits = Traits(
        stem="flatten",
        box="other",
        output="view",
        saves="nothing",
        elementwise=False,
        mixes_positions=True,
        numbered=False,
    )
    label = "flatten"
    window = None

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        return (prod(before),)

    def operations(self, before: Shape, after: Shape) -> Operations:
        return Operations()


class Linear(Layer, tag="linear", frozen=True):
    """A fully connected layer.

    Args:
        out_features: Number of outputs.
        bias: Whether a bias is added.
    """

    out_features: int
    bias: bool = True

    traits = Traits(stem="fc", box="dense", output="new", saves="input", elementwise=False, mixes_positions=True)
    window = None

    def __post_init__(self) -> None:
        _check(self, "out_features", 1)

    @property
    def label(self) -> str:
        return f"fully connected, {self.out_features}"

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        if len(before) != 1:
            raise NetworkError(f"Linear needs a flat input, but gets a map of {show(before)}; put Flatten before")
        return (self.out_features,)

    def parameter_shapes(self, before: Shape) -> dict[str, Shape]:
        weight = (self.out_features, before[0])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def statistic_shapes(self, before: Shape) -> dict[str, Shape]:
        return {}

    def operations(self, before: Shape, after: Shape) -> Operations:
        return _products(prod(after), before[0], self.bias)


AnyLayer = (
    Conv2d | BatchNorm2d | ReLU | ReLU6 | Sigmoid | MaxPool2d | AvgPool2d | Dropout | GlobalAvgPool2d | Flatten | Linear
)
"""Every layer. The back ends match over it; the type checker reports a match that leaves one out."""


def definition(layer: AnyLayer) -> LayerDefinition:
    """The same layer; here the type checker reports a layer that does not define all of ``LayerDefinition``."""
    return layer


def _check(layer: Layer, field: str, minimum: int) -> None:
    value = getattr(layer, field)
    parts = value if isinstance(value, tuple) else (value,)
    if not all(type(part) is int and minimum <= part < SIZE_LIMIT for part in parts):
        raise NetworkError(
            f"{type(layer).__name__}: {field} must be whole, at least {minimum} and below 2³¹, "
            f"not {reprlib.repr(value)}"
        )


def _check_map(layer: Layer, before: Shape) -> None:
    if len(before) != 3:
        raise NetworkError(f"{type(layer).__name__} needs a map (C×H×W), but gets {show(before)} flat values")


def _products(outputs: int, inputs: int, bias: bool) -> Operations:
    """The operations of ``outputs`` values, each a sum of ``inputs`` products."""
    products = outputs * inputs
    return Operations(multiplications=products, additions=products - outputs, bias_additions=outputs * bias)
