"""How many bytes of tensors the PyTorch back end has alive at its peak, from the description alone.

The ledger of mlpconv.arch.cost is nominal: what the network's definition asks for. This is what TorchModel really does:
the folded first convolution instead of an enlarged batch, weights cast to bfloat16, gradients that appear layer by
layer while saved values go. docs/costs.md states the rules. The data set that lies where the model lives is not in it.
"""

from itertools import pairwise
from math import prod
from typing import NamedTuple

from mlpconv.arch.cost import OPTIMIZER_VALUES, WEIGHT_BYTES, Memory, count
from mlpconv.arch.layers import Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sigmoid, pair
from mlpconv.arch.liveness import backward_moments, prediction_moments
from mlpconv.arch.network import Network, Preprocess
from mlpconv.arch.shapes import LayerShape, layer_shapes
from mlpconv.backends.base import Precision
from mlpconv.backends.fold import AxisFold, can_fold, fold_axis

EVALUATION_BATCH = 256
"""Images that prediction and evaluation take at once."""


class _Work(NamedTuple):
    """What is carried out for one image: the layers with the copies between them, the parameters of each, and the bytes
    of the image as float32 and as the first layer takes it."""

    rows: list[LayerShape]
    parameters: list[int]
    cast: list[bool]
    wide: int
    taken: int


def training_memory(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    *,
    batch: int,
    optimizer: str,
    precision: Precision,
    size: int | None = None,
) -> Memory:
    """Bytes at the worst moment of a training step of TorchModel, by what they are for.

    source: (height, width) of the images. optimizer: as mlpconv.arch.cost.training_memory takes it. size: side in
    pixels to which they are resized, the preprocess's by default. Raises NetworkError where the shapes do not fit.
    """
    work = _work(network, preprocess, source, size or preprocess.size, precision)
    value_bytes = _value_bytes(precision)
    saved, moments = backward_moments(work.rows, value_bytes)
    weights, kept_by_optimizer = _weights(network), WEIGHT_BYTES * OPTIMIZER_VALUES[optimizer] * sum(work.parameters)
    copies = [value_bytes * each if cast else 0 for each, cast in zip(work.parameters, work.cast, strict=True)]
    taken = work.taken or work.wide

    def memory(gradients: int, images: int, activations: int, working: int) -> Memory:
        return Memory(weights, gradients, kept_by_optimizer, images, activations, working)

    at = [
        memory(0, batch * (work.wide + work.taken), batch * saved, sum(copies)),
        memory(WEIGHT_BYTES * sum(work.parameters), 0, 0, 0),
    ]
    for index, kept, passing in moments:
        done = WEIGHT_BYTES * sum(work.parameters[index + 1 :])
        own, still = work.parameters[index], sum(copies[:index])
        if not copies[index]:
            at.append(memory(done + WEIGHT_BYTES * own, batch * taken, batch * kept, batch * passing + still))
            continue
        # A gradient appears in bfloat16, and is cast when the layer's values are free.
        at.append(memory(done, batch * taken, batch * kept, batch * passing + still + 2 * copies[index]))
        before = next((moment.kept for moment in moments if moment.at == index - 1), 0)
        gradient = batch * value_bytes * prod(work.rows[index].input_shape) if before else 0
        at.append(memory(done + WEIGHT_BYTES * own, batch * taken, batch * before, gradient + still + copies[index]))
    return max(at, key=lambda each: each.total)


def prediction_memory(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    *,
    batch: int,
    precision: Precision,
    optimizer: str = "sgd",
) -> Memory:
    """Bytes at the worst moment of TorchModel.logits, which takes at most EVALUATION_BATCH of the images at once.

    optimizer: whose state is alive meanwhile, as in the evaluations of a training run.
    """
    work = _work(network, preprocess, source, preprocess.size, precision)
    batch, value_bytes = min(batch, EVALUATION_BATCH), _value_bytes(precision)
    state = WEIGHT_BYTES * OPTIMIZER_VALUES[optimizer] * sum(work.parameters)
    weights = _weights(network)
    at = [Memory(weights, 0, state, batch * (work.wide + work.taken), 0, 0)]
    first = True
    for index, _, passing in prediction_moments(work.rows, value_bytes):
        copy = value_bytes * work.parameters[index] if work.cast[index] else 0
        images = batch * (work.wide + (work.taken if first else 0))
        at.append(Memory(weights, 0, state, images, batch * passing, copy))
        first = False
    return max(at, key=lambda each: each.total)


def _value_bytes(precision: Precision) -> int:
    return 2 if precision == "bfloat16" else 4


def _weights(network: Network) -> int:
    statistics = sum(2 * layer.output_shape[0] for layer in count(network).layers if layer.kind == "BatchNorm2d")
    return WEIGHT_BYTES * (count(network).parameters + statistics)


def _work(network: Network, preprocess: Preprocess, source: tuple[int, int], size: int, precision: Precision) -> _Work:
    shape = (network.input_channels, size, size)
    rows, costs = layer_shapes(network, shape), count(network, shape).layers
    # Max pooling comes before the ReLU that the network has in front of it (mlpconv.backends.torch_forward).
    for index, (row, after) in enumerate(pairwise(rows)):
        if isinstance(row.layer, ReLU) and isinstance(after.layer, MaxPool2d):
            rows[index : index + 2] = [
                after,
                row._replace(input_shape=after.output_shape, output_shape=after.output_shape),
            ]
    cast = [precision == "bfloat16" and isinstance(row.layer, Conv2d | Linear) for row in rows]
    parameters = [cost.parameters for cost in costs]
    value_bytes = _value_bytes(precision)
    side = {"crop": min(source), "pad": max(source)}.get(preprocess.fit)
    height, width = (side, side) if side and source[0] != source[1] else source
    if not can_fold(network, (height, width), size):
        return _Work(rows, parameters, cast, 4 * prod(shape), value_bytes * prod(shape) * cast[0])
    layer = rows[0].layer
    assert isinstance(layer, Conv2d)
    axes = [
        fold_axis(side, size, kernel, stride)
        for side, kernel, stride in zip((height, width), pair(layer.kernel_size), pair(layer.stride), strict=True)
    ]
    padded = [side + axis.before + axis.after for side, axis in zip((height, width), axes, strict=True)]
    folded = _folded(rows, axes)
    copied = len(folded) - len(rows)
    place = next((index for index, row in enumerate(folded) if row.name == ""), 0)
    parameters[place:place] = [0] * copied
    cast[place:place] = [False] * copied
    # The small images, and the same with their edges replicated outwards.
    return _Work(folded, parameters, cast, value_bytes * network.input_channels * height * width,
                 value_bytes * network.input_channels * prod(padded))  # fmt: skip


def _folded(rows: list[LayerShape], axes: list[AxisFold]) -> list[LayerShape]:
    """The layers as they are carried out behind a folded convolution: its phases side by side, put in their places by a
    copy behind the layers that need not know where a value is."""
    phases = prod(axis.phases for axis in axes)
    sides = tuple(axis.phases * -(-axis.outputs // axis.phases) for axis in axes)
    whole = all(axis.outputs == side for axis, side in zip(axes, sides, strict=True))

    def pointwise(row: LayerShape) -> bool:
        layer = row.layer
        if isinstance(layer, Conv2d):
            return whole and pair(layer.kernel_size) == pair(layer.stride) == (1, 1) and pair(layer.padding) == (0, 0)
        return isinstance(layer, ReLU | Sigmoid)

    end = next((index for index, row in enumerate(rows) if index and not pointwise(row)), len(rows))
    early = [
        row._replace(
            input_shape=(row.input_shape[0], *sides) if index else row.input_shape,
            output_shape=(row.output_shape[0], *sides),
        )
        for index, row in enumerate(rows[:end])
    ]
    last, after = early[-1].output_shape, rows[end - 1].output_shape
    # To memory, a copy is what global average pooling is: a new value, with nothing kept for the backward pass.
    copies = [LayerShape("", GlobalAvgPool2d(), last, last)] * (phases > 1)
    copies += [LayerShape("", GlobalAvgPool2d(), last, after)] * (not whole)
    return [*early, *copies, *rows[end:]]
