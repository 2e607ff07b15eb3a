"""The cost ledger, from the description alone: parameters, multiplications, additions, FLOPs, memory, receptive field.

One MAC is one multiply-accumulate and counts as two FLOPs. Convolutions and fully connected layers are counted in
full at every position, those over padding included. Biases, activations, pooling and normalisation stand in columns of
their own and are in neither MACs nor FLOPs. docs/costs.md states the model, memory included.
"""

from math import prod
from typing import Literal, NamedTuple, assert_never

from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Shape,
    Sigmoid,
    pair,
)
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


class LayerCost(NamedTuple):
    """What one layer costs for one image. All counts are exact integers; ``weights`` + ``biases`` = ``parameters``."""

    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    weights: int = 0
    biases: int = 0
    multiplications: int = 0
    additions: int = 0
    bias_additions: int = 0
    activation_ops: int = 0
    pooling_ops: int = 0
    normalization_ops: int = 0
    backward_macs: int = 0

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def macs(self) -> int:
        return self.multiplications

    @property
    def flops(self) -> int:
        return 2 * self.macs


class Memory(NamedTuple):
    """Bytes of tensors at the peak, by what they are for; ``total`` is their sum."""

    weights: int
    gradients: int
    optimizer: int
    batch: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        return sum(self)


class ReceptiveField(NamedTuple):
    """How many input pixels (a side, before clipping at the edge) one output of a layer sees, and how far apart two
    neighbouring outputs see."""

    name: str
    size: tuple[int, int]
    stride: tuple[int, int]


class Costs(NamedTuple):
    """A network's ledger for one image of ``input_shape``."""

    input_shape: Shape
    layers: list[LayerCost]

    def _sum(self, field: str) -> int:
        return sum(getattr(layer, field) for layer in self.layers)

    @property
    def parameters(self) -> int:
        return self._sum("parameters")

    @property
    def macs(self) -> int:
        return self._sum("macs")

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass, 2 × MACs."""
        return self._sum("flops")

    @property
    def training_flops(self) -> int:
        """FLOPs of forward and backward: each weighted layer costs its MACs again for the gradient of its weights and
        again for that of its input; the first one needs no gradient of its input."""
        return self.flops + 2 * self._sum("backward_macs")

    @property
    def fully_connected_parameters(self) -> int:
        """Parameters of the fully connected layers: none in Network in Network, most of AlexNet's and VGG's."""
        return sum(layer.parameters for layer in self.layers if layer.kind == "Linear")

    def total(self) -> LayerCost:
        """All layers' counts in one row."""
        first, last = self.layers[0], self.layers[-1]
        sums = {field: self._sum(field) for field in LayerCost._fields[4:]}
        return LayerCost("total", "", first.input_shape, last.output_shape, **sums)


def count(network: Network, input_shape: Shape | None = None) -> Costs:
    """The cost of every layer for one image of ``input_shape`` (C, H, W), the network's own by default.

    Raises NetworkError where the shapes do not fit.
    """
    rows = layer_shapes(network, input_shape)
    costs = []
    weighted_before = False
    for row in rows:
        cost = _layer_cost(row, weighted_before)
        weighted_before = weighted_before or cost.weights > 0
        costs.append(cost)
    return Costs(rows[0].input_shape, costs)


def _layer_cost(row: LayerShape, weighted_before: bool) -> LayerCost:
    layer, before, after = row.layer, row.input_shape, row.output_shape
    base = LayerCost(row.name, type(layer).__name__, before, after)
    outputs = prod(after)
    match layer:
        case Conv2d() | Linear():
            fan_in = before[0] * (prod(pair(layer.kernel_size)) if isinstance(layer, Conv2d) else 1)
            macs = outputs * fan_in
            return base._replace(
                weights=after[0] * fan_in,
                biases=after[0] * layer.bias,
                multiplications=macs,
                additions=macs - outputs,
                bias_additions=outputs * layer.bias,
                backward_macs=macs * (1 + weighted_before),
            )
        case BatchNorm2d():
            return base._replace(weights=after[0], biases=after[0], normalization_ops=2 * outputs)
        case ReLU() | Sigmoid():
            return base._replace(activation_ops=outputs)
        case MaxPool2d():
            return base._replace(pooling_ops=outputs * (prod(pair(layer.kernel_size)) - 1))
        case AvgPool2d():
            return base._replace(pooling_ops=outputs * prod(pair(layer.kernel_size)))
        case GlobalAvgPool2d():
            return base._replace(pooling_ops=prod(before))
        case _:
            return base


def prediction_memory(
    network: Network, input_shape: Shape | None = None, *, batch: int = 1, value_bytes: int = 4
) -> Memory:
    """Bytes at the peak of prediction: the weights, the batch, and the largest layer's input and output at once.

    value_bytes: of one activation, 4 for float32 and 2 for bfloat16.
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
    """Bytes at the peak of a training step: weights, gradients, optimiser state, the batch, what the forward pass saves
    for the backward pass, and what the backward pass needs beside that at its worst moment.

    optimizer: "sgd", "momentum" (SGD with momentum), "adam", …: a key of mlpconv.optimizers.VARIANTS. value_bytes: of
    one activation.
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
    """Bytes of parameters and of the running statistics, which are not parameters."""
    return WEIGHT_BYTES * (sum(_layer_cost(row, False).parameters for row in rows) + _statistics(rows))


def _statistics(rows: list[LayerShape]) -> int:
    """A mean and a variance for each channel that is normalised: kept as running statistics, and of each batch."""
    return sum(2 * row.output_shape[0] for row in rows if isinstance(row.layer, BatchNorm2d))


def receptive_fields(network: Network, input_shape: Shape | None = None) -> list[ReceptiveField]:
    """The receptive field of one output of every layer, in input pixels a side (height, width).

    After a layer that mixes all positions (global pooling, flatten) it is the whole image. Recursion: size ←
    size + (kernel − 1)·stride, stride ← stride·layer stride.
    """
    rows = layer_shapes(network, input_shape)
    size, stride = (1, 1), (1, 1)
    image = (rows[0].input_shape[1], rows[0].input_shape[2])
    fields = []
    for row in rows:
        layer = row.layer
        if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            kernel, step = pair(layer.kernel_size), pair(layer.stride)
            size = (size[0] + (kernel[0] - 1) * stride[0], size[1] + (kernel[1] - 1) * stride[1])
            stride = (stride[0] * step[0], stride[1] * step[1])
        elif len(row.output_shape) == 1 or isinstance(layer, GlobalAvgPool2d):
            size = image
        fields.append(ReceptiveField(row.name, size, stride))
    return fields


def last_map(network: Network, input_shape: Shape | None = None) -> ReceptiveField | None:
    """The receptive field of the last map, before all positions are mixed; None where the network has no map."""
    last = None
    for row, field in zip(layer_shapes(network, input_shape), receptive_fields(network, input_shape), strict=True):
        if len(row.output_shape) == 1 or isinstance(row.layer, GlobalAvgPool2d):
            break
        last = field
    return last
