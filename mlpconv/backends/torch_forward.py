"""The layers of a network as training carries them out: the same results as one after the other, for less work."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.arch.network import Network
from mlpconv.backends.extents import Extent, computed_extents

Operation = Callable[[Tensor], Tensor]


class PartialConv2d:
    """A convolution that computes only what is read of its output (mlpconv.backends.extents)."""

    def __init__(self, module: nn.Conv2d, extent: Extent) -> None:
        self.module = module
        (above, left), (below, right) = module.padding, extent.padding  # pyright: ignore[reportAssignmentType]
        self.padding = (left, right, above, below)

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, self.padding), self.module.weight, self.module.bias, self.module.stride)


def operations(network: Network, module: nn.Module, input_shape: tuple[int, int, int]) -> list[Operation]:
    """What to carry out, in order, for images of ``input_shape`` (C, H, W); ``module`` is the network's own.

    Convolutions leave out what nobody reads. A ReLU before max pooling comes behind it, where the map is smaller: the
    largest value of a window is the same one before and after, and where none is above 0 no gradient passes either way.
    """
    extents = computed_extents(network, input_shape)
    found: list[Operation] = []
    for name, _ in network.walk():
        layer = module.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and extents[name].padding != layer.padding:
            found.append(PartialConv2d(layer, extents[name]))
        elif isinstance(layer, nn.MaxPool2d) and found and isinstance(found[-1], nn.ReLU):
            found.insert(-1, layer)
        else:
            found.append(layer)
    return found


def is_pointwise(operation: Operation) -> bool:
    """Whether it treats every position of a map alike and by itself."""
    if isinstance(operation, nn.Conv2d):
        return operation.kernel_size == operation.stride == (1, 1) and operation.padding == (0, 0)
    return isinstance(operation, nn.ReLU | nn.Sigmoid)
