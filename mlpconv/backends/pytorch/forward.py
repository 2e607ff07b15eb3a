"""The layers of a network as training computes them: the same results as one layer after the other, with less work."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.arch.network import Network
from mlpconv.backends.common.batch_parts import WHOLE_BATCH, BatchPart
from mlpconv.backends.common.required_outputs import RequiredOutput, required_outputs
from mlpconv.backends.pytorch.activations import OverwritingReLU6
from mlpconv.backends.pytorch.convolutions import Convolution, Convolutions, Parameters
from mlpconv.backends.pytorch.pooling import PooledReLU
from mlpconv.backends.pytorch.private_api import Activation

Operation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[type, Activation] = {nn.ReLU: "relu", nn.ReLU6: "relu6", OverwritingReLU6: "relu6"}


class Pad:
    """Puts zeros before the first rows and columns, and after the last ones."""

    def __init__(self, above: int, left: int, below: int = 0, right: int = 0) -> None:
        self.sides = (left, right, above, below)

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x, self.sides)


class Every:
    """Every n-th row and m-th column, from the first on: what a 1×1 convolution of stride (n, m) reads."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.rows, :: self.columns]


class Dropout:
    """Dropout with a separate random number generator; the identity in evaluation mode.

    On a CPU it is several times as fast as PyTorch's, which draws the numbers one by one.

    Args:
        module: The layer, which states the probability and the mode.
        generator: Draws the random numbers.
        part: Which part of the batch is computed. The masks are those of the whole batch.
    """

    def __init__(self, module: nn.Dropout, generator: torch.Generator, part: BatchPart = WHOLE_BATCH) -> None:
        self.module, self.generator, self.part = module, generator, part

    def __call__(self, x: Tensor) -> Tensor:
        share = self.module.p
        if not self.module.training or share == 0:
            return x
        # 16 bits for each value, in the order of the map in memory: channels last.
        values, part = x.numel() // len(x), self.part
        words = torch.empty(-(-values * (part.total or len(x)) // 4), dtype=torch.int64, device=x.device)
        first = values * part.before
        bits = words.random_(-(2**63), None, generator=self.generator).view(torch.int16)[first : first + x.numel()]
        bits = bits.view(x.permute(_channels_last(x)).shape).permute(_channels_first(x))
        return x * (bits >= round(share * 2**16) - 2**15).to(x.dtype) / (1 - share)


def operations(
    network: Network,
    module: nn.Module,
    input_shape: tuple[int, int, int],
    generator: torch.Generator | None = None,
    folded: Parameters | None = None,
    part: BatchPart = WHOLE_BATCH,
) -> list[Operation]:
    """The operations of a network for images of one size, in order.

    Convolutions leave out what no layer reads. A ReLU or ReLU6 before max pooling is computed after it, where the map
    is smaller: the largest value of a window is the same one before and after, and where none is above 0, or the
    largest is at least the 6 of ReLU6, no gradient passes in either order.

    Args:
        network: The network.
        module: Its module, whose parameters and layers the operations use.
        input_shape: (C, H, W) of the images.
        generator: Draws the random numbers of dropout; without it the modules draw them.
        folded: The weight and bias of the first convolution if it is folded (common/resize_folding.py): a 1×1
            convolution of patches.
        part: Which part of the batch is computed, for dropout.
    """
    required = required_outputs(network, input_shape, folded is not None)
    steps: list[Operation | Convolution] = []
    for index, (name, _) in enumerate(network.walk()):
        layer = module.get_submodule(name)
        last = steps[-1] if steps else None
        if isinstance(layer, nn.Conv2d) and index == 0 and folded is not None:
            steps.append(Convolution(folded, (1, 1), (0, 0)))
        elif isinstance(layer, nn.Conv2d):
            steps += _convolution(layer, required[name])
        elif type(layer) in _ACTIVATIONS and isinstance(last, Convolution) and last.activation == "none":
            steps[-1] = last._replace(activation=_ACTIVATIONS[type(layer)])
        elif isinstance(layer, nn.MaxPool2d) and isinstance(last, Convolution) and last.activation != "none":
            steps[-1:] = [last._replace(activation="none"), PooledReLU(layer, last.activation)]
        elif isinstance(layer, nn.MaxPool2d) and type(last) in _ACTIVATIONS:
            steps[-1:] = [PooledReLU(layer, _ACTIVATIONS[type(last)])]
        elif isinstance(layer, nn.ReLU6) and isinstance(last, nn.BatchNorm2d | nn.Linear):
            steps.append(OverwritingReLU6())  # neither keeps its output
        elif isinstance(layer, nn.Dropout) and generator is not None:
            steps.append(Dropout(layer, generator, part))
        else:
            steps.append(layer)
    return list(_joined(steps))


def _convolution(layer: nn.Conv2d, required: RequiredOutput) -> Iterator[Operation | Convolution]:
    (above, left), (below, right) = cast(tuple[int, int], layer.padding), required.padding
    stride, both = cast(tuple[int, int], layer.stride), (min(above, below), min(left, right))
    if layer.kernel_size == (1, 1) and stride != (1, 1):
        # oneDNN's gradient of the weight writes past its memory where there are few channels: oneDNN issue 6035.
        if any((above, left, below, right)):
            yield Pad(above, left, below, right)
        yield Every(*stride)
        stride, both = (1, 1), (0, 0)
    elif (above, left) != both:
        # oneDNN skips the zeros that it puts on both sides itself, so only the others are put there before.
        yield Pad(above - both[0], left - both[1])
    yield Convolution(lambda: (layer.weight, layer.bias), stride, both, groups=layer.groups)


def _joined(steps: list[Operation | Convolution]) -> Iterator[Operation]:
    """Join convolutions in a row into one operation."""
    run: list[Convolution] = []
    for step in [*steps, None]:
        if isinstance(step, Convolution):
            run.append(step)
            continue
        if run:
            yield Convolutions(run)
            run = []
        if step is not None:
            yield step


def _channels_last(x: Tensor) -> tuple[int, ...]:
    return (0, 2, 3, 1) if x.ndim == 4 else tuple(range(x.ndim))


def _channels_first(x: Tensor) -> tuple[int, ...]:
    return (0, 3, 1, 2) if x.ndim == 4 else tuple(range(x.ndim))
