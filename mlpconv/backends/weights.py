"""The canonical weights: float32 arrays by name, in one layout for all frameworks, and their initialization.

``block1.conv.weight`` is (out, in, kh, kw), or (out, 1, kh, kw) if it is depthwise, ``.bias`` (out,); a Linear's weight
is (out, in) over a C,H,W-ordered flatten; normalization has ``.weight .bias .running_mean .running_var``, the last two
of which are not parameters.
"""

from collections.abc import Mapping
from math import prod, sqrt
from typing import Literal, NamedTuple, assert_never

import msgspec
import numpy as np

from mlpconv.arch.layers import BatchNorm2d, Conv2d
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats, Weights
from mlpconv.errors import RecipeError, WeightsError, shortened, unknown

STATISTICS = ("running_mean", "running_var")
GLUON_NAMES = {"weight": "gamma", "bias": "beta"}
"""Gluon's names of the parts of a normalization, where they differ from the canonical ones."""


class TensorInfo(NamedTuple):
    """The type and shape of a tensor, which need not have been read."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of its values."""
        return prod(self.shape) * self.dtype.itemsize


Distribution = Literal["xavier", "he", "torch", "normal"]


class Initializer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The initialization of the weights."""

    weights: Distribution
    """"xavier": U(±√(6/(fan_in + fan_out))) (Glorot, Bengio 2010). "he": N(0, 2/fan_in) (He et al. 2015). "torch":
    U(±√(1/fan_in)), PyTorch's own. "normal": N(0, 0.05²), with which the logits of a NiN without normalization
    are small at first."""
    biases: Literal["zeros", "framework"] = "zeros"
    """"framework": the framework's own, which is U(±√(1/fan_in)) in PyTorch and zeros in the others."""
    open_last: bool = False
    """Start the last block so that the input of each class's last ReLU is above 0.

    Its convolutions that are 1×1 and of equal width, or lead from class maps to class maps, start as the identity plus
    N(0, 0.01²), and all its biases at 0.1.
    """
    identity: bool = False
    """Start all convolutions that are 1×1 and of equal width as the identity plus N(0, 0.01²).

    A deep network then starts like a shallow one, which learns faster (Zagoruyko, Komodakis 2017, arXiv:1706.00388).
    """


INITIALIZERS = {
    "xavier": Initializer("xavier", "framework"),
    "he": Initializer("he"),
    "torch": Initializer("torch", "framework"),
    "normal": Initializer("normal"),
    "open": Initializer("he", open_last=True),
    "identity": Initializer("he", open_last=True, identity=True),
}


def named_initializer(name: str) -> Initializer:
    """An initializer by name. Raises RecipeError with the nearest name where there is none."""
    if name not in INITIALIZERS:
        raise RecipeError(unknown("initializer", name, INITIALIZERS))
    return INITIALIZERS[name]


def weight_shapes(network: Network, input_shape: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
    """Name → shape of every canonical weight, statistics included, in the network's order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer, before, _ in layer_shapes(network, input_shape):
        parts = layer.parameter_shapes(before) | layer.statistic_shapes(before)
        shapes |= {f"{name}.{part}": shape for part, shape in parts.items()}
    return shapes


def depthwise_kernels(network: Network) -> frozenset[str]:
    """The names of the weights that are kernels of depthwise convolutions."""
    layers = network.walk()
    return frozenset(f"{name}.weight" for name, layer in layers if isinstance(layer, Conv2d) and layer.depthwise)


def is_statistic(name: str) -> bool:
    """Whether a canonical weight is a running statistic, and so not a parameter."""
    return name.endswith(STATISTICS)


def initialize(
    network: Network,
    initializer: Initializer,
    seed: int,
    *,
    framework_biases: bool = True,
    input_shape: tuple[int, ...] | None = None,
) -> dict[str, Floats]:
    """New canonical weights; the same for the same arguments on every machine.

    Args:
        network: The network.
        initializer: The initializer.
        seed: The seed.
        framework_biases: Whether the framework initializes biases as PyTorch does, and not to zero.
        input_shape: (C, H, W) of the images; by default the network's own.
    """
    layers = dict(network.walk())
    shapes = weight_shapes(network, input_shape)
    last = last_block(network) if initializer.open_last else None
    opened = {f"{last[0]}.{part}" for part in last[1].layers} if last else set()
    classes = next(reversed(shapes.values()), (0,))[0]
    weights: dict[str, Floats] = {}
    depthwise = depthwise_kernels(network)
    for index, (name, shape) in enumerate(shapes.items()):
        layer_name, _, part = name.rpartition(".")
        draw = np.random.Generator(np.random.Philox(key=[seed, index]))
        if isinstance(layers[layer_name], BatchNorm2d):
            value = np.full(shape, float(part in ("weight", "running_var")))
        elif part == "weight":
            # Each output of a depthwise convolution reads one input, which no other output reads.
            outputs = 1 if name in depthwise else shape[0]
            value = _kernel(initializer.weights, outputs, shape, draw)
            to_classes = layer_name in opened and shape[0] == classes
            of_block = layer_name in opened or (initializer.identity and len(shape) == 4)
            if outputs == shape[1] and (to_classes or (of_block and prod(shape[2:]) == 1)):
                value = draw.normal(0, 0.01, shape)
                value[:, :, *(side // 2 for side in shape[2:])] += np.eye(outputs)
        elif layer_name in opened:
            value = np.full(shape, 0.1)
        elif initializer.biases == "framework" and framework_biases:
            bound = sqrt(1 / prod(shapes[f"{layer_name}.weight"][1:]))
            value = draw.uniform(-bound, bound, shape)
        else:
            value = np.zeros(shape)
        weights[name] = value.astype(np.float32)
    return weights


def _kernel(name: Distribution, outputs: int, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """outputs: the number of outputs that one input is read by."""
    window = prod(shape[2:])
    fan_in, fan_out = shape[1] * window, outputs * window
    match name:
        case "he":
            return draw.normal(0, sqrt(2 / fan_in), shape)
        case "torch":
            return draw.uniform(-sqrt(1 / fan_in), sqrt(1 / fan_in), shape)
        case "normal":
            return draw.normal(0, 0.05, shape)
        case "xavier":
            bound = sqrt(6 / (fan_in + fan_out))
            return draw.uniform(-bound, bound, shape)
        case _:
            assert_never(name)


def last_block(network: Network) -> tuple[str, Block] | None:
    """The last block with its name; None where the network has no block."""
    blocks = [(name, layer) for name, layer in network.layers.items() if isinstance(layer, Block)]
    return blocks[-1] if blocks else None


def head(network: Network) -> str:
    """The name of the last block, or layer outside a block, that has weights: what depends on the classes."""
    return list(weight_shapes(network))[-1].partition(".")[0]


def check_weights(network: Network, weights: Weights, place: str, input_shape: tuple[int, ...] | None = None) -> None:
    """Check that weights belong to a network.

    Args:
        network: The network.
        weights: The weights.
        place: The beginning of the message: a file, or a function.
        input_shape: (C, H, W) of the images; by default the network's own.

    Raises:
        WeightsError: Names, shapes or types differ, or a value is not finite.
    """
    found = {name: TensorInfo(value.dtype, tuple(value.shape)) for name, value in weights.items()}
    check_weight_shapes(network, found, place, input_shape)
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise WeightsError(f"{place}: {name} holds NaN or infinite values; the file is of a run that diverged")


def check_weight_shapes(
    network: Network, found: Mapping[str, TensorInfo], place: str, input_shape: tuple[int, ...] | None = None
) -> None:
    """Check the names, shapes and types of weights, which need not have been read. Arguments as for `check_weights`.

    Raises:
        WeightsError: They are not those of the network.
    """
    shapes = weight_shapes(network, input_shape)
    missing, extra = [n for n in shapes if n not in found], [n for n in found if n not in shapes]
    if missing or extra:
        raise WeightsError(
            f"{place}: these weights belong to another network; "
            f"missing: {_some(missing)}; not in the network: {_some(extra)}"
        )
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise WeightsError(f"{place}: {name} has the shape {found[name].shape}, the network needs {shape}")
        if found[name].dtype != np.float32:
            raise WeightsError(f"{place}: {name} is {found[name].dtype}, expected is float32")


def _some(names: list[str]) -> str:
    shown = ", ".join(shortened(name, 80) for name in names[:3])
    return (shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
