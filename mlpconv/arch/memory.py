"""Which values are alive when: what prediction holds at once, what training keeps for the backward pass.

A value is what one layer gives for one image. It follows PyTorch with ReLU in place wherever that overwrites nothing
that is still needed; docs/costs.md states each rule. The batch itself is never counted here.
"""

from math import prod
from typing import NamedTuple

from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
)
from mlpconv.arch.shapes import LayerShape

INDEX_BYTES = 8
"""What max pooling writes for each output: the place of the largest value, an int64."""


class TrainingBytes(NamedTuple):
    """Bytes for one image. ``saved``: what the forward pass leaves for the backward pass. ``peak``: the most that is
    alive during the backward pass, saved values and their gradients together; it is never less than ``saved``."""

    saved: int
    peak: int


def prediction_bytes(rows: list[LayerShape], value_bytes: int) -> int:
    """The most that is alive at once for one image: a layer's input, its output and its max pooling's indices."""
    most = 0
    before = 0  # while the value that flows is the batch
    for row in rows:
        after = value_bytes * prod(row.output_shape)
        # These give their input back: as it is, in another shape, or overwritten (which the batch must not be).
        if isinstance(row.layer, Dropout | Flatten) or (isinstance(row.layer, ReLU) and before):
            continue
        most = max(most, before + after + _indices(row))
        before = after
    return most


def training_bytes(rows: list[LayerShape], value_bytes: int) -> TrainingBytes:
    """What one image needs in training: after the forward pass, and at the worst moment of the backward pass."""
    first = next((index for index, row in enumerate(rows) if _learns(row)), len(rows))
    value = 0  # the value that flows: 0 is the batch, index + 1 what layer `index` made anew
    kept: dict[int, int] = {}  # value → the first layer that keeps it, after whose backward step it is free
    size = {0: 0}
    extras = []
    for index, row in enumerate(rows):
        made = index + 1
        size[made] = value_bytes * prod(row.output_shape)
        keeps: int | None = None
        extra = 0
        match row.layer:
            case Conv2d() | Linear() | BatchNorm2d() | MaxPool2d() | AvgPool2d():
                keeps, value, extra = value, made, _indices(row)
            case ReLU():
                # In place, unless that would overwrite the batch or what an earlier layer keeps.
                keeps = value = made if value == 0 or value in kept else value
            case Sigmoid():
                keeps = value = made
            case Dropout():
                value, extra = made, size[made]
            case GlobalAvgPool2d():
                value = made
            case Flatten():
                pass
        # Before the first layer that learns there is no backward pass, so nothing is kept for it.
        if keeps is not None and index >= first:
            kept.setdefault(keeps, index)
        extras.append(extra if index >= first else 0)
    saved = peak = sum(size[key] for key in kept) + sum(extras)
    for index, row in enumerate(rows[first:], first):
        alive = sum(size[key] for key, keeper in kept.items() if keeper <= index) + sum(extras[: index + 1])
        gradients = size[index + 1]
        if index > first and not isinstance(row.layer, Flatten):  # a flatten's input has the gradient of its output
            gradients += value_bytes * prod(row.input_shape)
        peak = max(peak, alive + gradients)
    return TrainingBytes(saved, peak)


def _learns(row: LayerShape) -> bool:
    return isinstance(row.layer, Conv2d | Linear | BatchNorm2d)


def _indices(row: LayerShape) -> int:
    return INDEX_BYTES * prod(row.output_shape) if isinstance(row.layer, MaxPool2d) else 0
