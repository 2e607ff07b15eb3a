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
    value = 0  # the value that flows: 0 is the batch, index + 1 what layer `index` made anew
    kept: dict[int, int] = {}  # value → the first layer that keeps it, after whose backward step it is free
    size = {0: 0}
    masks = []
    for index, row in enumerate(rows):
        made = index + 1
        size[made] = value_bytes * prod(row.output_shape)
        masks.append(_indices(row))
        match row.layer:
            case Conv2d() | Linear() | BatchNorm2d() | MaxPool2d() | AvgPool2d():
                kept.setdefault(value, index)
                value = made
            case ReLU():
                # In place, unless that would overwrite the batch or what an earlier layer keeps.
                value = made if value == 0 or value in kept else value
                kept.setdefault(value, index)
            case Sigmoid():
                value = made
                kept.setdefault(value, index)
            case Dropout():
                masks[-1] = value_bytes * prod(row.output_shape)
                value = made
            case GlobalAvgPool2d():
                value = made
            case Flatten():
                pass
    saved = peak = sum(size[key] for key in kept) + sum(masks)
    for index, row in enumerate(rows):
        alive = sum(size[key] for key, first in kept.items() if first <= index) + sum(masks[: index + 1])
        gradients = prod(row.output_shape) + (prod(row.input_shape) if _has_input_gradient(rows, index) else 0)
        peak = max(peak, alive + value_bytes * gradients)
    return TrainingBytes(saved, peak)


def _indices(row: LayerShape) -> int:
    return INDEX_BYTES * prod(row.output_shape) if isinstance(row.layer, MaxPool2d) else 0


def _has_input_gradient(rows: list[LayerShape], index: int) -> bool:
    """Whether the backward step makes a new gradient: not where nothing before learns; a flatten's is its output's."""
    learns = any(isinstance(row.layer, Conv2d | Linear | BatchNorm2d) for row in rows[:index])
    return learns and not isinstance(rows[index].layer, Flatten)
