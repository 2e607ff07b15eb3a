"""The layers of a network as training carries them out: the same results as one after the other, for less work."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.arch.network import Network
from mlpconv.backends.common.required_outputs import RequiredOutput, required_outputs
from mlpconv.backends.pytorch.convolutions import Convolution, Convolutions, Parameters
from mlpconv.backends.pytorch.pooling import PooledReLU

Operation = Callable[[Tensor], Tensor]


class Pad:
    """Zeros before the first rows and columns."""

    def __init__(self, above: int, left: int) -> None:
        self.sides = (left, 0, above, 0)

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x, self.sides)


class Dropout:
    """Dropout with random numbers of its own, several times as fast as PyTorch's on a CPU, where those are drawn one by
    one. Off in evaluation mode, like the layer itself."""

    def __init__(self, module: nn.Dropout, generator: torch.Generator) -> None:
        self.module, self.generator = module, generator

    def __call__(self, x: Tensor) -> Tensor:
        share = self.module.p
        if not self.module.training or share == 0:
            return x
        # 16 bits for each value, in the order in which the map lies in memory: channels last.
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        drawn = words.random_(-(2**63), None, generator=self.generator).view(torch.int16)[: x.numel()]
        drawn = drawn.view(x.permute(_last(x)).shape).permute(_first(x))
        return x * (drawn >= round(share * 2**16) - 2**15).to(x.dtype) / (1 - share)


def operations(
    network: Network,
    module: nn.Module,
    input_shape: tuple[int, int, int],
    generator: torch.Generator | None = None,
    folded: Parameters | None = None,
) -> list[Operation]:
    """What to carry out, in order, for images of ``input_shape`` (C, H, W); ``module`` is the network's own.

    generator: of the dropout; without it the modules draw themselves. folded: the weight and bias of the first
    convolution where it is folded (mlpconv.backends.common.resize_folding): a 1×1 convolution of patches.

    Convolutions leave out what nobody reads. A ReLU before max pooling comes behind it, where the map is smaller: the
    largest value of a window is the same one before and after, and where none is above 0 no gradient passes either way.
    """
    extents = required_outputs(network, input_shape, folded is not None)
    found: list[Operation | Convolution] = []
    for index, (name, _) in enumerate(network.walk()):
        layer = module.get_submodule(name)
        last = found[-1] if found else None
        if isinstance(layer, nn.Conv2d) and index == 0 and folded is not None:
            found.append(Convolution(folded, (1, 1), (0, 0), False))
        elif isinstance(layer, nn.Conv2d):
            found += _convolution(layer, extents[name])
        elif isinstance(layer, nn.ReLU) and isinstance(last, Convolution):
            found[-1] = last._replace(relu=True)
        elif isinstance(layer, nn.MaxPool2d) and isinstance(last, Convolution) and last.relu:
            found[-1:] = [last._replace(relu=False), PooledReLU(layer)]
        elif isinstance(layer, nn.MaxPool2d) and isinstance(last, nn.ReLU):
            found[-1:] = [PooledReLU(layer)]
        elif isinstance(layer, nn.Dropout) and generator is not None:
            found.append(Dropout(layer, generator))
        else:
            found.append(layer)
    return list(_joined(found))


def _convolution(layer: nn.Conv2d, extent: RequiredOutput) -> Iterator[Operation | Convolution]:
    (above, left), (below, right) = cast(tuple[int, int], layer.padding), extent.padding
    both = min(above, below), min(left, right)
    # oneDNN skips the zeros that it puts on both sides itself, so only the rest is put there before.
    if (above, left) != both:
        yield Pad(above - both[0], left - both[1])
    stride = cast(tuple[int, int], layer.stride)
    yield Convolution(lambda: (layer.weight, layer.bias), stride, both, False)


def _joined(steps: list[Operation | Convolution]) -> Iterator[Operation]:
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


def _last(x: Tensor) -> tuple[int, ...]:
    return (0, 2, 3, 1) if x.ndim == 4 else tuple(range(x.ndim))


def _first(x: Tensor) -> tuple[int, ...]:
    return (0, 3, 1, 2) if x.ndim == 4 else tuple(range(x.ndim))
