"""The shapes of a network as the code of an edition of the chapter prints them, to compare line by line.

Each edition sends one random image through its network and prints a line for each block or layer. The names follow from
the framework: PyTorch and TensorFlow print the class, Gluon a name with a number, and the edition with
``d2lzh_pytorch`` the position.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from math import prod

from mlpconv.arch.layer_definition import Shape
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import block_shapes

Row = tuple[str, str, Shape]

TORCH_CLASSES = {"Block": "Sequential", "GlobalAvgPool2d": "AdaptiveAvgPool2d"}
"""Names of PyTorch's classes that differ from those of the layers."""
KERAS_CLASSES = {
    "Block": "Sequential",
    "Conv2d": "Conv2D",
    "MaxPool2d": "MaxPooling2D",
    "AvgPool2d": "AveragePooling2D",
    "GlobalAvgPool2d": "GlobalAveragePooling2D",
    "BatchNorm2d": "BatchNormalization",
    "ReLU": "Activation",
    "ReLU6": "ReLU",
    "Sigmoid": "Activation",
    "Linear": "Dense",
}
"""Likewise for Keras."""
GLUON_NAMES = {
    "Block": "sequential",
    "Conv2d": "conv",
    "MaxPool2d": "pool",
    "AvgPool2d": "pool",
    "GlobalAvgPool2d": "pool",
    "BatchNorm2d": "batchnorm",
    "Linear": "dense",
}
"""The start of the names that Gluon gives to layers; for others it is the class in lower case."""


def _pytorch(rows: list[Row]) -> Iterator[str]:
    for _, kind, shape in rows:
        yield f"{TORCH_CLASSES.get(kind, kind)} output shape:\t torch.Size({[1, *shape]})"


def _d2lzh(rows: list[Row]) -> Iterator[str]:
    for index, (_, _, shape) in enumerate(rows):
        yield f"{index} output shape:  torch.Size({[1, *shape]})"


def _gluon(rows: list[Row]) -> Iterator[str]:
    numbers = Counter(sequential=1)  # sequential0 is the network
    for _, kind, shape in rows:
        name = GLUON_NAMES.get(kind, kind.lower())
        yield f"{name}{numbers[name]} output shape:\t {(1, *shape)}"
        numbers[name] += 1


def _tensorflow(rows: list[Row]) -> Iterator[str]:
    for _, kind, shape in rows:
        name = KERAS_CLASSES.get(kind, kind)
        if kind == "GlobalAvgPool2d":
            # The pooling drops both axes, and the edition restores them for the next layer.
            yield f"{name} output shape:\t {(1, prod(shape))}"
            yield f"Reshape output shape:\t {(1, *shape[1:], shape[0])}"
        else:
            yield f"{name} output shape:\t {(1, *shape[1:], shape[0])}"


EDITIONS: dict[str, Callable[[list[Row]], Iterator[str]]] = {
    "pytorch": _pytorch,
    "d2lzh": _d2lzh,
    "gluon": _gluon,
    "mxnet": _gluon,
    "tensorflow": _tensorflow,
}
"""The editions by name: "gluon" is the first one, with ``nd``; "mxnet" the later one, with ``np``."""


def edition_lines(network: Network, edition: str) -> list[str]:
    """The lines that an edition's code prints for a network and one image.

    Args:
        network: The network. The lines are those of the chapter for networks without activations outside of blocks,
            such as ``nin``.
        edition: One of ``EDITIONS``.
    """
    return list(EDITIONS[edition](block_shapes(network)))
