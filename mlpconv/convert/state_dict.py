"""Canonical weights from named arrays, such as PyTorch's ``state_dict``."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.errors import WeightsError

Array = npt.NDArray[Any]

PARTS = ("weight", "bias", "running_mean", "running_var")
"""The parts of a layer, in the order of canonical weights."""
LAZY = "pass one batch through the network before saving it"
_SEQUENTIAL = re.compile(rf"(\d+\.)+({'|'.join(PARTS)})")
_PYTORCHCV = re.compile(r"(.*\.)?(features\.stage(\d+)\.unit(\d+)|output\.final_conv)\.conv\.(weight|bias)")
"""The names of pytorchcv's ``nin_cifar10``, ``nin_cifar100`` and ``nin_svhn``."""


def from_state_dict(network: Network, state_dict: Mapping[str, Any], where: str = "state_dict") -> dict[str, Floats]:
    """Convert a PyTorch ``state_dict`` to canonical weights.

    Canonical names are used unchanged. Names of an ``nn.Sequential`` (``0.0.weight``, ``0.2.bias``, ``2.0.weight``),
    and those of pytorchcv's NiN (``features.stage1.unit1.conv.weight``), are matched in the order of their numbers, and
    must agree in part and shape. A prefix that all names have (``net.``, as in ``d2l.Classifier``) is removed first;
    ``num_batches_tracked`` is ignored. Other names are refused, because layers of the same shape could not be
    distinguished.

    Args:
        network: The network that the weights belong to.
        state_dict: Arrays, or tensors on the CPU, by name.
        where: The name of the file, for errors.

    Returns:
        Canonical weights, float32, in the order of the network.

    Raises:
        WeightsError: The weights belong to another network (the message has the first difference), or are not finite
            floats.
    """
    values = without_counters(state_dict)
    if lazy := [name for name, value in values.items() if type(value).__name__.startswith("Uninitialized")]:
        raise WeightsError(f"{where}: {lazy[0]} belongs to a lazy layer that has no weights yet; {LAZY}")
    shapes = weight_shapes(network)
    if values and all(_PYTORCHCV.fullmatch(name) for name in values):
        values = _by_order(sorted(values, key=_pytorchcv_position), values, shapes, where)
    else:
        bare = _without_prefix(values, shapes)
        # A name without the prefix of the others, or one of no layer among those of a Sequential.
        odd = [name for name in values if name not in bare.values()]
        positions = [name for name in bare if _SEQUENTIAL.fullmatch(name)]
        if len(positions) < len(bare) and not set(bare) & set(shapes):
            odd += [name for key, name in bare.items() if key not in positions]
            raise WeightsError(
                f"{where}: expected names of this network (such as {next(iter(shapes), 'none')!r}) or of an "
                f"nn.Sequential ('0.0.weight'), received {odd[0]!r}; "
                + ("remove it from the file" if positions else "rename the weights, or match them with --by-shape")
            )
        if odd:
            raise WeightsError(f"{where}: the network has no weight {odd[0]!r}; remove it from the file")
        values = {key: values[name] for key, name in bare.items()}
        if len(positions) == len(values):
            values = _by_order(sorted(positions, key=_position), values, shapes, where)
    converted = {name: as_float32(value, f"{where}: {name}") for name, value in values.items()}
    check_weights(network, converted, where)
    return {name: converted[name] for name in shapes}


def without_counters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without the counters of batches that PyTorch's normalizations have."""
    return {name: value for name, value in values.items() if name.rpartition(".")[2] != "num_batches_tracked"}


def _without_prefix(values: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, str]:
    """The names without the modules that most of them start with → the full names. Names without it are left out."""
    bare = {name: name for name in values}
    while not set(bare) & set(shapes):
        modules = Counter(name.partition(".")[0] for name in bare if "." in name)
        module, count = modules.most_common(1)[0] if modules else ("", 0)
        # A number is a position in a Sequential.
        if 2 * count <= len(values) or module.isdecimal():
            break
        start = f"{module}."
        bare = {name.removeprefix(start): full for name, full in bare.items() if name.startswith(start)}
    return bare


def _by_order(
    ordered: Sequence[str], values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, Any]:
    """The values, whose names are given in the order of the layers, under canonical names."""
    for name, canonical in zip(ordered, shapes, strict=False):
        shape = tuple(values[name].shape)
        if shape != shapes[canonical] or name.rpartition(".")[2] != canonical.rpartition(".")[2]:
            raise WeightsError(
                f"{where}: these weights belong to another network: expected {canonical} of shape {shapes[canonical]}, "
                f"received {name} of shape {shape}"
            )
    if len(ordered) != len(shapes):
        rest = ordered[len(shapes) :] or list(shapes)[len(ordered) :]
        raise WeightsError(
            f"{where}: these weights belong to another network: expected {len(shapes)} arrays, received "
            f"{len(ordered)}; the first without a match is {rest[0]}"
        )
    return {canonical: values[name] for name, canonical in zip(ordered, shapes, strict=True)}


def _position(name: str) -> tuple[tuple[int, ...], int]:
    """The position of a weight in a Sequential: (2, 0), 1 for ``2.0.bias``."""
    *numbers, part = name.split(".")
    return tuple(map(int, numbers)), PARTS.index(part)


def _pytorchcv_position(name: str) -> tuple[bool, int, int, int]:
    """The position of a weight in pytorchcv's NiN, whose last layer has no number."""
    match = _PYTORCHCV.fullmatch(name)
    assert match
    _, _, stage, unit, part = match.groups()
    return stage is None, int(stage or 0), int(unit or 0), PARTS.index(part)


def as_float32(value: Any, where: str) -> Floats:
    """An array of another program as float32.

    Raises:
        WeightsError: The values are not floats.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise WeightsError(f"{where}: expected floats, received {array.dtype}; convert the weights")
    # Values that overflow become infinite, and infinite weights are refused later.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)
