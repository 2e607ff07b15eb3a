"""Which values are alive when: what prediction holds at once, what training keeps for the backward pass.

A value is the output of one layer for one image. The model is PyTorch with ReLU in place wherever that overwrites
nothing that is still needed; docs/costs.md states each rule, and a layer's traits state which of them it follows. The
batch itself is never counted here.
"""

from math import prod
from typing import NamedTuple, assert_never

from mlpconv.arch.shapes import LayerShape


class TrainingBytes(NamedTuple):
    """Bytes for one image."""

    saved: int
    """What the forward pass keeps for the backward pass."""
    peak: int
    """The most that is alive during the backward pass, saved values and gradients together; never below ``saved``."""


def prediction_bytes(rows: list[LayerShape], value_bytes: int) -> int:
    """The most that is alive at once for one image: a layer's input, its output and the indices of max pooling.

    Args:
        rows: The layers with their shapes.
        value_bytes: Bytes of one value.
    """
    peak = 0
    before = 0  # 0 until a layer has written a new value: the batch is not counted
    for row in rows:
        traits = row.layer.traits
        # The batch must not be overwritten, so a layer in place writes a new value there.
        returns_input = traits.identity_in_evaluation or traits.output == "view"
        if returns_input or (traits.output == "in place" and before):
            continue
        after = value_bytes * prod(row.output_shape)
        peak = max(peak, before + after + traits.index_bytes * prod(row.output_shape))
        before = after
    return peak


def training_bytes(rows: list[LayerShape], value_bytes: int) -> TrainingBytes:
    """The bytes that training needs for one image: after the forward pass, and at the peak of the backward pass.

    Args:
        rows: The layers with their shapes.
        value_bytes: Bytes of one value.
    """
    first = next((index for index, row in enumerate(rows) if _has_parameters(row)), len(rows))
    value = 0  # the current value: 0 is the batch, index + 1 the new output of layer ``index``
    kept: dict[int, int] = {}  # value → the first layer that keeps it, after whose backward step it is free
    size = {0: 0}
    extras = []  # for each layer, the bytes that it keeps besides values
    for index, row in enumerate(rows):
        new = index + 1
        size[new] = value_bytes * prod(row.output_shape)
        output = _output_value(row, value, new, kept)
        saved = _saved_value(row, value, output)
        # Before the first layer with parameters there is no backward pass, so nothing is kept.
        if saved is not None and index >= first:
            kept.setdefault(saved, index)
        extra = row.layer.traits.index_bytes * prod(row.output_shape) + row.layer.traits.saves_mask * size[new]
        extras.append(extra if index >= first else 0)
        value = output
    saved = peak = sum(size[key] for key in kept) + sum(extras)
    for index, row in enumerate(rows[first:], first):
        alive = sum(size[key] for key, keeper in kept.items() if keeper <= index) + sum(extras[: index + 1])
        gradients = size[index + 1]
        if index > first and row.layer.traits.output != "view":  # the gradient of a view's input is a view
            gradients += value_bytes * prod(row.input_shape)
        peak = max(peak, alive + gradients)
    return TrainingBytes(saved, peak)


def _output_value(row: LayerShape, value: int, new: int, kept: dict[int, int]) -> int:
    """The value that a layer outputs: its input, overwritten or as a view, or a new one."""
    match row.layer.traits.output:
        case "new":
            return new
        case "in place":
            # Unless that would overwrite the batch or what an earlier layer keeps.
            return new if value == 0 or value in kept else value
        case "view":
            return value
        case output:
            assert_never(output)


def _saved_value(row: LayerShape, value: int, output: int) -> int | None:
    """The value that a layer keeps for the backward pass."""
    match row.layer.traits.saves:
        case "input":
            return value
        case "output":
            return output
        case "nothing":
            return None
        case saves:
            assert_never(saves)


def _has_parameters(row: LayerShape) -> bool:
    return bool(row.layer.parameter_shapes(row.input_shape))
