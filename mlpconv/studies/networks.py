"""The networks of the chapter and of the paper with one thing changed, each a ``module:function`` for a recipe."""

from mlpconv.arch.layers import AnyLayer, Conv2d, Dropout, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.models.nin import nin_block, nin_cifar10

Shape = tuple[int, int, int, int]
STEM: tuple[Shape, ...] = ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1))
"""Channels, kernel, stride and padding of the chapter's first three blocks."""


def _stem(mlp: int = 2, kernel: int = 1) -> list[Block | AnyLayer]:
    layers: list[Block | AnyLayer] = []
    for shape in STEM:
        layers += [_block(*shape, mlp, kernel), MaxPool2d(3, stride=2)]
    return layers


def _block(channels: int, size: int, stride: int, padding: int, mlp: int, kernel: int) -> Block:
    layers: dict[str, AnyLayer] = dict(nin_block(channels, size, stride, padding, mlp).layers)
    for index in range(1, mlp + 1):
        layers[f"mlp{index}"] = Conv2d(channels, kernel, padding=kernel // 2)
    return Block(**layers)


def _network(layers: list[Block | AnyLayer], input_channels: int) -> Network:
    return Network(*layers, input_channels=input_channels, input_size=224)


def _pooled(num_classes: int, input_channels: int, mlp: int, kernel: int = 1) -> Network:
    last = _block(num_classes, 3, 1, 1, mlp, kernel)
    layers = [*_stem(mlp, kernel), Dropout(0.5), last, GlobalAvgPool2d(), Flatten()]
    return _network(layers, input_channels)


def mlp0(num_classes: int = 10, input_channels: int = 1) -> Network:
    """No 1×1 convolutions."""
    return _pooled(num_classes, input_channels, 0)


def mlp1(num_classes: int = 10, input_channels: int = 1) -> Network:
    """One 1×1 convolution."""
    return _pooled(num_classes, input_channels, 1)


def mlp2(num_classes: int = 10, input_channels: int = 1) -> Network:
    """Two 1×1 convolutions, as in the chapter."""
    return _pooled(num_classes, input_channels, 2)


def mlp3(num_classes: int = 10, input_channels: int = 1) -> Network:
    """Three 1×1 convolutions."""
    return _pooled(num_classes, input_channels, 3)


def three_by_three(num_classes: int = 10, input_channels: int = 1) -> Network:
    """A 3×3 convolution instead of every 1×1 convolution."""
    return _pooled(num_classes, input_channels, 2, 3)


def one_three_by_three(num_classes: int = 10, input_channels: int = 1) -> Network:
    """One 3×3 convolution instead of two 1×1 convolutions."""
    return _pooled(num_classes, input_channels, 1, 3)


def connected(num_classes: int = 10, input_channels: int = 1) -> Network:
    """AlexNet's three fully connected layers instead of the last block and the average pooling."""
    head = [
        Flatten(),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(num_classes),
    ]
    return _network([*_stem(), *head], input_channels)


def one_connected(num_classes: int = 10, input_channels: int = 1) -> Network:
    """One fully connected layer instead of the last block and the average pooling."""
    return _network([*_stem(), Flatten(), Dropout(0.5), Linear(num_classes)], input_channels)


def _narrowing(num_classes: int, input_channels: int, widths: tuple[int, ...]) -> Network:
    last = nin_block((*widths, num_classes), kernel_size=3, padding=1, mlp=len(widths))
    return _network([*_stem(), Dropout(0.5), last, GlobalAvgPool2d(), Flatten()], input_channels)


def one_step(num_classes: int = 10, input_channels: int = 1) -> Network:
    """From 384 channels to the classes in one step, as the chapter does."""
    return _narrowing(num_classes, input_channels, (num_classes, num_classes))


def two_steps(num_classes: int = 10, input_channels: int = 1) -> Network:
    """384 → 62 → classes: two steps of the same factor, and one convolution more, as in the others."""
    return _narrowing(num_classes, input_channels, (62, num_classes))


def three_steps(num_classes: int = 10, input_channels: int = 1) -> Network:
    """384 → 114 → 34 → classes: three steps of the same factor."""
    return _narrowing(num_classes, input_channels, (114, 34))


def _paper(num_classes: int, input_channels: int, *head: AnyLayer) -> Network:
    """The paper's network with another head, or, without one, without dropout."""
    network = nin_cifar10(num_classes, input_channels)
    layers = list(network.layers.values())
    changed = [*layers[:-2], *head] if head else [layer for layer in layers if not isinstance(layer, Dropout)]
    return Network(*changed, input_channels=input_channels, input_size=network.input_size)


def paper_without_dropout(num_classes: int = 10, input_channels: int = 3) -> Network:
    """The paper's network without its two dropout layers."""
    return _paper(num_classes, input_channels)


def paper_connected(num_classes: int = 10, input_channels: int = 3) -> Network:
    """A fully connected layer in place of the paper's global average pooling."""
    return _paper(num_classes, input_channels, Flatten(), Linear(num_classes))


def paper_connected_dropout(num_classes: int = 10, input_channels: int = 3) -> Network:
    """The same, with dropout before the fully connected layer."""
    return _paper(num_classes, input_channels, Flatten(), Dropout(0.5), Linear(num_classes))
