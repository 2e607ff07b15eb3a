"""The cost table of a network: parameters, multiplications, additions, FLOPs, memory, receptive field.

All of it comes from the description alone. One MAC is one multiply-accumulate and counts as two FLOPs. Convolutions and
fully connected layers are counted in full at every position, including windows over padding. Biases, activations,
pooling and normalization have separate columns and are in neither MACs nor FLOPs. docs/costs.md states the model,
including memory.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple, assert_never

import msgspec

from mlpconv.arch.layer_definition import Operations, Shape
from mlpconv.arch.memory import prediction_bytes, training_bytes
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.optimizers import values_per_parameter

Precision = Literal["float32", "bfloat16"]
"""The type of activations in training and prediction."""
WEIGHT_BYTES = 4
"""Weights, gradients and optimizer state are float32 at every precision."""


def value_bytes(precision: Precision) -> int:
    """Bytes of one activation."""
    match precision:
        case "float32":
            return 4
        case "bfloat16":
            return 2
        case _:
            assert_never(precision)


class LayerCost(Operations, frozen=True):
    """The cost of one layer for one image, including its ``Operations``. All counts are exact integers."""

    name: str
    """The full name: "block1.conv"."""
    kind: str
    """The name of the layer's class; empty for a total."""
    input_shape: Shape
    """The shape that the layer receives."""
    output_shape: Shape
    """The shape that the layer returns."""
    weights: int = 0
    """All parameters but biases."""
    biases: int = 0
    """Parameters that are added."""
    backward_macs: int = 0
    """MACs of the backward pass."""
    receptive_field: tuple[int, int] | None = None
    """The input pixels that one output depends on, (height, width), not clipped; None for a total."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.weights + self.biases

    @property
    def macs(self) -> int:
        """MACs of the forward pass."""
        return self.multiplications

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass, 2 × MACs."""
        return 2 * self.macs


COUNTS = tuple(field.name for field in msgspec.structs.fields(LayerCost) if field.type is int)
"""The counts of a ``LayerCost``: what a total sums."""


def add_up(name: str, kind: str, layers: Sequence[LayerCost]) -> LayerCost:
    """The sums over consecutive layers as one row."""
    sums = {field: sum(getattr(layer, field) for layer in layers) for field in COUNTS}
    return LayerCost(name, kind, layers[0].input_shape, layers[-1].output_shape, receptive_field=None, **sums)


class Memory(NamedTuple):
    """Bytes of tensors at the peak, by their use; ``total`` is their sum."""

    weights: int
    """Parameters and running statistics."""
    gradients: int
    """Gradients of the parameters."""
    optimizer: int
    """The state of the optimizer."""
    batch: int
    """The images, as the network receives them."""
    activations: int
    """In training, what the forward pass keeps for the backward pass; in prediction, the largest layer."""
    working: int
    """What the backward pass needs in addition at its peak."""

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(self)


class ReceptiveField(NamedTuple):
    """The receptive field of one output of a layer, in input pixels: (height, width)."""

    name: str
    """The full name of the layer."""
    size: tuple[int, int]
    """The pixels that the output depends on, not clipped at the edge of the image."""
    stride: tuple[int, int]
    """The distance between the receptive fields of neighboring outputs."""


class Costs(NamedTuple):
    """The cost table of a network for one image of ``input_shape``."""

    input_shape: Shape
    """(C, H, W) of the image."""
    layers: list[LayerCost]
    """The cost of each layer, in order."""

    def _sum(self, field: str) -> int:
        return sum(getattr(layer, field) for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self._sum("parameters")

    @property
    def macs(self) -> int:
        """MACs of the forward pass."""
        return self._sum("macs")

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass, 2 × MACs."""
        return self._sum("flops")

    @property
    def training_flops(self) -> int:
        """FLOPs of forward and backward pass.

        A layer with weights costs its MACs again for the gradient of its weights, and once more for that of its input,
        which the first one does not need.
        """
        return self.flops + 2 * self._sum("backward_macs")

    @property
    def fully_connected_parameters(self) -> int:
        """Parameters of the fully connected layers: none in Network in Network, most of them in AlexNet and VGG."""
        return sum(layer.parameters for layer in self.layers if layer.kind == "Linear")

    def total(self) -> LayerCost:
        """The sums over all layers as one row."""
        return add_up("total", "", self.layers)


def count(network: Network, input_shape: Shape | None = None) -> Costs:
    """Count the cost of every layer for one image.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: The shapes do not fit together.

    Example:
        >>> import mlpconv
        >>> costs = mlpconv.count(mlpconv.create_model("nin"))
        >>> f"{costs.parameters:,} parameters, {costs.macs:,} MACs"
        '1,992,166 parameters, 762,297,352 MACs'
        >>> costs.layers[0].macs  # of the first convolution
        33872256
    """
    rows = layer_shapes(network, input_shape)
    costs = []
    weights_before = False
    for row, field in zip(rows, _receptive_fields(rows), strict=True):
        operations = row.layer.operations(row.input_shape, row.output_shape)
        parameters = {part: prod(shape) for part, shape in row.layer.parameter_shapes(row.input_shape).items()}
        biases = parameters.pop("bias", 0)
        cost = LayerCost(
            row.name,
            type(row.layer).__name__,
            row.input_shape,
            row.output_shape,
            weights=sum(parameters.values()),
            biases=biases,
            backward_macs=operations.multiplications * (1 + weights_before),
            receptive_field=field.size,
            **msgspec.structs.asdict(operations),
        )
        weights_before = weights_before or cost.weights > 0
        costs.append(cost)
    return Costs(rows[0].input_shape, costs)


def prediction_memory(
    network: Network, input_shape: Shape | None = None, *, batch: int = 1, value_bytes: int = 4
) -> Memory:
    """Bytes at the peak of prediction: the weights, the batch, and the input and output of the largest layer.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.
        batch: Number of images.
        value_bytes: Bytes of one activation: 4 in float32, 2 in bfloat16.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    rows = layer_shapes(network, input_shape)
    return Memory(
        weights=_stored_weights(rows),
        gradients=0,
        optimizer=0,
        batch=batch * prod(rows[0].input_shape) * value_bytes,
        activations=batch * prediction_bytes(rows, value_bytes),
        working=0,
    )


def training_memory(
    network: Network,
    input_shape: Shape | None = None,
    *,
    batch: int = 1,
    optimizer: str = "sgd",
    value_bytes: int = 4,
) -> Memory:
    """Bytes at the peak of a training step.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.
        batch: Number of images.
        optimizer: A key of ``mlpconv.optimizers.VARIANTS``, such as "momentum" (SGD with momentum) or "adam".
        value_bytes: Bytes of one activation: 4 in float32, 2 in bfloat16.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    rows = layer_shapes(network, input_shape)
    parameters = WEIGHT_BYTES * count(network, input_shape).parameters
    saved, peak = training_bytes(rows, value_bytes)
    return Memory(
        weights=_stored_weights(rows),
        gradients=parameters,
        optimizer=values_per_parameter(optimizer) * parameters,
        batch=batch * prod(rows[0].input_shape) * value_bytes,
        activations=batch * saved + WEIGHT_BYTES * _statistics(rows),
        working=batch * (peak - saved),
    )


def _stored_weights(rows: list[LayerShape]) -> int:
    """Bytes of parameters and running statistics."""
    shapes = (shape for row in rows for shape in row.layer.parameter_shapes(row.input_shape).values())
    return WEIGHT_BYTES * (sum(map(prod, shapes)) + _statistics(rows))


def _statistics(rows: list[LayerShape]) -> int:
    """Values of statistics: stored as running statistics, and computed once more for each batch."""
    return sum(prod(shape) for row in rows for shape in row.layer.statistic_shapes(row.input_shape).values())


def receptive_fields(network: Network, input_shape: Shape | None = None) -> list[ReceptiveField]:
    """The receptive field of every layer, in order.

    The recursion: size ← size + (kernel − 1)·stride, stride ← stride·layer stride. After a layer that mixes all
    positions (global pooling, flatten) the receptive field is the whole image.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    return _receptive_fields(layer_shapes(network, input_shape))


def _receptive_fields(rows: Sequence[LayerShape]) -> list[ReceptiveField]:
    size, stride = (1, 1), (1, 1)
    image = (rows[0].input_shape[1], rows[0].input_shape[2])
    fields = []
    for row in rows:
        if window := row.layer.window:
            (rows_seen, columns_seen), step = window.kernel, window.stride
            size = (size[0] + (rows_seen - 1) * stride[0], size[1] + (columns_seen - 1) * stride[1])
            stride = (stride[0] * step[0], stride[1] * step[1])
        elif row.layer.traits.mixes_positions:
            size = image
        fields.append(ReceptiveField(row.name, size, stride))
    return fields


def last_map(network: Network, input_shape: Shape | None = None) -> ReceptiveField | None:
    """The receptive field of the last map before a layer mixes all positions; None for a network without a map.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    last = None
    for row, field in zip(layer_shapes(network, input_shape), receptive_fields(network, input_shape), strict=True):
        if row.layer.traits.mixes_positions:
            break
        last = field
    return last
