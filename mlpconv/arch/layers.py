"""The layers as frozen values: what a network is made of, with no framework in it.

A layer says what it does, not what it receives: channels and sizes of its input come from shape inference. Windows
are given as one integer or as (height, width); padding is explicit and the same on both sides of an axis, never "same".
"""

import math
import reprlib
from typing import Any

import msgspec

from mlpconv.errors import NetworkError

Size = int | tuple[int, int]
LIMIT = 2**31
"""Sizes stay below it: no framework takes larger ones."""


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a window, stride or padding given as one integer or as both."""
    return (size, size) if isinstance(size, int) else size


def by(size: Size) -> str:
    """A window as one reads it: 3 and (3, 3) are 3×3."""
    return "{}×{}".format(*pair(size))


def _check(layer: "Layer", field: str, least: int) -> None:
    value = getattr(layer, field)
    parts = value if isinstance(value, tuple) else (value,)
    if not all(type(part) is int and least <= part < LIMIT for part in parts):
        raise NetworkError(
            f"{type(layer).__name__}: {field} must be whole, at least {least} and below 2³¹, not {reprlib.repr(value)}"
        )


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The base of all layers."""


class Conv2d(Layer, tag="conv2d", frozen=True):
    """A convolution (cross-correlation) over (C, H, W), with one bias an output channel."""

    out_channels: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    bias: bool = True

    def __post_init__(self) -> None:
        for field, least in (("out_channels", 1), ("kernel_size", 1), ("stride", 1), ("padding", 0)):
            _check(self, field, least)


class BatchNorm2d(Layer, tag="batch_norm2d", frozen=True):
    """Batch normalisation over each channel: scale and shift are learnt, mean and variance are running statistics.

    ``momentum`` is the weight of the newest batch: running ← (1 − momentum)·running + momentum·batch.
    """

    eps: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        if not (self.eps > 0 and math.isfinite(self.eps)):
            raise NetworkError(f"BatchNorm2d: eps must be above 0 and finite, not {self.eps!r}")
        if not 0 <= self.momentum <= 1:
            raise NetworkError(f"BatchNorm2d: momentum must be from 0 to 1, not {self.momentum!r}")


class ReLU(Layer, tag="relu", frozen=True):
    """max(x, 0)."""


class Sigmoid(Layer, tag="sigmoid", frozen=True):
    """1 / (1 + exp(−x))."""


class _Pool(Layer, frozen=True):
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        for field, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            _check(self, field, least)
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel_size), strict=True)):
            raise NetworkError(
                f"{type(self).__name__}: padding {by(self.padding)} is more than half of the window "
                f"{by(self.kernel_size)}; some windows would hold nothing but padding"
            )


class MaxPool2d(_Pool, tag="max_pool2d", frozen=True):
    """The largest value of each window; padding never wins. ``ceil_mode`` keeps a last window cut by the edge."""


class AvgPool2d(_Pool, tag="avg_pool2d", frozen=True):
    """The mean of each window. ``count_include_pad`` says whether padding counts as zeros in the mean."""

    count_include_pad: bool = True


class Dropout(Layer, tag="dropout", frozen=True):
    """In training, zero each value with probability ``p`` and scale the others by 1 / (1 − p); else the identity."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise NetworkError(f"Dropout: p must be at least 0 and below 1, not {self.p!r}")


class GlobalAvgPool2d(Layer, tag="global_avg_pool2d", frozen=True):
    """The mean of each channel's map: (C, H, W) → (C, 1, 1)."""


class Flatten(Layer, tag="flatten", frozen=True):
    """(C, H, W) → (C·H·W), in that order."""


class Linear(Layer, tag="linear", frozen=True):
    """A fully connected layer."""

    out_features: int
    bias: bool = True

    def __post_init__(self) -> None:
        _check(self, "out_features", 1)


AnyLayer = Conv2d | BatchNorm2d | ReLU | Sigmoid | MaxPool2d | AvgPool2d | Dropout | GlobalAvgPool2d | Flatten | Linear
Pool2d = MaxPool2d | AvgPool2d
Shape = tuple[int, ...]


def fields(layer: Layer) -> dict[str, Any]:
    """The layer's fields that differ from their defaults, in order, as plain values."""
    # msgspec's own omit_defaults goes by identity: it keeps a 0.5 that is not the default's very object.
    defaults = {field.name: field.default for field in msgspec.structs.fields(layer)}
    values = msgspec.to_builtins(layer)
    return {key: values[key] for key, default in defaults.items() if getattr(layer, key) != default}


def to_plain(layer: Layer) -> dict[str, Any]:
    """The layer as plain values, its kind first, defaults left out: equal layers give equal values."""
    return {"kind": type(layer).__struct_config__.tag, **fields(layer)}
