"""The canonical weights: float32 arrays by name, in one layout for all frameworks, and the ways to begin.

``block1.conv.weight`` is (out, in, kh, kw), ``.bias`` (out,); a Linear's weight is (out, in) over a C,H,W-ordered
flatten; normalisation has ``.weight .bias .running_mean .running_var``, the last two not being parameters.
"""

from math import prod, sqrt
from typing import Literal

import msgspec
import numpy as np

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats, Weights
from mlpconv.errors import RecipeError, WeightsError, unknown

STATISTICS = ("running_mean", "running_var")
GLUON_NAMES = {"weight": "gamma", "bias": "beta"}
"""What Gluon calls the parts of a normalisation, where it is not what we call them."""


class Initializer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How weights begin.

    weights: "xavier", U(±√(6/(fan_in + fan_out))) (Glorot, Bengio 2010); "he", N(0, 2/fan_in) (He et al. 2015);
    "torch", U(±√(1/fan_in)), what PyTorch starts with. biases: "zeros" or "framework", which is what the framework in
    use starts with: U(±√(1/fan_in)) in PyTorch, zeros in the others. open_last: the last block's convolutions
    that are 1×1 and of equal width, or lead from class maps to class maps, start as the identity plus N(0, 0.01²), and
    all of its biases at 0.1, so that each class begins on the open side of its ReLU.
    """

    weights: Literal["xavier", "he", "torch"]
    biases: Literal["zeros", "framework"] = "zeros"
    open_last: bool = False


INITIALIZERS = {
    "xavier": Initializer("xavier", "framework"),
    "he": Initializer("he"),
    "torch": Initializer("torch", "framework"),
    "open": Initializer("he", open_last=True),
}


def named_initializer(name: str) -> Initializer:
    """An initialiser by name. Raises RecipeError naming the nearest."""
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


def is_statistic(name: str) -> bool:
    """Whether a canonical weight is a running statistic and so no parameter."""
    return name.endswith(STATISTICS)


def decays(name: str, shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies: to kernels and matrices, not to biases and normalisation."""
    return len(shape) > 1


def initialize(
    network: Network,
    initializer: Initializer,
    seed: int,
    *,
    framework_biases: bool = True,
    input_shape: tuple[int, ...] | None = None,
) -> dict[str, Floats]:
    """Fresh canonical weights; the same for the same arguments on every machine.

    framework_biases: whether the framework in use starts biases as PyTorch does (else at zero).
    """
    layers = dict(network.walk())
    shapes = weight_shapes(network, input_shape)
    opened = last_block(network) if initializer.open_last else frozenset()
    classes = next(reversed(shapes.values()), (0,))[0]
    weights: dict[str, Floats] = {}
    for index, (name, shape) in enumerate(shapes.items()):
        layer_name, _, part = name.rpartition(".")
        draw = np.random.Generator(np.random.Philox(key=[seed, index]))
        if isinstance(layers[layer_name], BatchNorm2d):
            value = np.full(shape, float(part in ("weight", "running_var")))
        elif part == "weight":
            value = _kernel(initializer.weights, shape, draw)
            if layer_name in opened and shape[0] == shape[1] and (prod(shape[2:]) == 1 or shape[0] == classes):
                value = draw.normal(0, 0.01, shape)
                value[:, :, *(side // 2 for side in shape[2:])] += np.eye(shape[0])
        elif layer_name in opened:
            value = np.full(shape, 0.1)
        elif initializer.biases == "framework" and framework_biases:
            bound = sqrt(1 / prod(shapes[f"{layer_name}.weight"][1:]))
            value = draw.uniform(-bound, bound, shape)
        else:
            value = np.zeros(shape)
        weights[name] = value.astype(np.float32)
    return weights


def _kernel(kind: str, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    window = prod(shape[2:])
    fan_in, fan_out = shape[1] * window, shape[0] * window
    match kind:
        case "he":
            return draw.normal(0, sqrt(2 / fan_in), shape)
        case "torch":
            return draw.uniform(-sqrt(1 / fan_in), sqrt(1 / fan_in), shape)
        case _:
            bound = sqrt(6 / (fan_in + fan_out))
            return draw.uniform(-bound, bound, shape)


def last_block(network: Network) -> frozenset[str]:
    """The names of the layers in the last block."""
    blocks = [(name, layer) for name, layer in network.layers.items() if isinstance(layer, Block)]
    if not blocks:
        return frozenset()
    name, block = blocks[-1]
    return frozenset(f"{name}.{part}" for part in block.layers)


def check_weights(network: Network, weights: Weights, place: str, input_shape: tuple[int, ...] | None = None) -> None:
    """Raise WeightsError, with the difference, unless names, shapes and type are the network's and all values
    finite."""
    shapes = weight_shapes(network, input_shape)
    missing, extra = [n for n in shapes if n not in weights], [n for n in weights if n not in shapes]
    if missing or extra:
        raise WeightsError(
            f"{place}: these weights belong to another network; "
            f"missing: {_some(missing)}; not in the network: {_some(extra)}"
        )
    for name, shape in shapes.items():
        value = weights[name]
        if tuple(value.shape) != shape:
            raise WeightsError(f"{place}: {name} has the shape {tuple(value.shape)}, the network needs {shape}")
        if value.dtype != np.float32:
            raise WeightsError(f"{place}: {name} is {value.dtype}, expected is float32")
        if not np.isfinite(value).all():
            raise WeightsError(f"{place}: {name} holds NaN or infinite values; the file is of a run that diverged")


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
