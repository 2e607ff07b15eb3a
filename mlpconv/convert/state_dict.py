"""Canonical weights from named arrays, such as PyTorch's ``state_dict``, and files of these."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.errors import MissingDependency, WeightsError

Array = npt.NDArray[Any]

SAFE_TORCH = (2, 10)
"""The first version of PyTorch whose weights_only=True has no known vulnerability."""

_SAVE = 'in the program that made it: torch.save(net.state_dict(), "weights.pt")'
_LAZY = "pass one batch through the network before saving it"
_PARTS = ("weight", "bias", "running_mean", "running_var")


def from_state_dict(network: Network, state_dict: Mapping[str, Any], where: str = "state_dict") -> dict[str, Floats]:
    """Convert a PyTorch ``state_dict`` to canonical weights.

    Canonical names are used unchanged. Names of an ``nn.Sequential`` (``0.0.weight``, ``0.2.bias``, ``2.0.weight``) are
    matched in the order of their numbers, and must agree in part and shape. A prefix that all names have (``net.``, as
    in ``d2l.Classifier``) is removed first; ``num_batches_tracked`` is ignored. Other names are refused, because layers
    of the same shape could not be distinguished.

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
    values = {name: value for name, value in state_dict.items() if name.rpartition(".")[2] != "num_batches_tracked"}
    if lazy := [name for name, value in values.items() if type(value).__name__.startswith("Uninitialized")]:
        raise WeightsError(f"{where}: {lazy[0]} belongs to a lazy layer that has no weights yet; {_LAZY}")
    shapes = weight_shapes(network)
    bare = _without_prefix(values)
    if _is_sequential(bare):
        values = _by_order(bare, shapes, where)
    elif not set(values) & set(shapes):
        if not set(bare) & set(shapes):
            raise WeightsError(
                f"{where}: expected names of this network (such as {next(iter(shapes), 'none')!r}) or of an "
                f"nn.Sequential ('0.0.weight'), received {next(iter(values))!r}; rename the weights"
            )
        values = bare
    converted = {name: as_float32(value, f"{where}: {name}") for name, value in values.items()}
    check_weights(network, converted, where)
    return {name: converted[name] for name in shapes}


def _is_sequential(values: Mapping[str, Any]) -> bool:
    return all(re.fullmatch(rf"(\d+\.)+({'|'.join(_PARTS)})", name) for name in values)


def _without_prefix(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, without the names of modules that all their names start with."""
    paths = {name: name.split(".") for name in values}
    shared = 0
    for parts in zip(*(path[:-1] for path in paths.values()), strict=False):
        # A number is a position in a Sequential.
        if len(set(parts)) > 1 or parts[0].isdecimal():
            break
        shared += 1
    return {".".join(path[shared:]): values[name] for name, path in paths.items()}


def _by_order(values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Any]:
    """The values of an ``nn.Sequential`` under canonical names."""
    # By number, because a safetensors file is sorted as text.
    ordered = sorted(values, key=_position)
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
    return tuple(map(int, numbers)), _PARTS.index(part)


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


def read_torch_file(path: str | Path) -> dict[str, Array]:
    """Read the arrays of a file saved by PyTorch (``.pt``, ``.pth``), or of a ``.safetensors`` file.

    A PyTorch file is a pickle, which can contain programs. It is read only with PyTorch's restricted reader, which
    executes nothing.

    Args:
        path: The file.

    Returns:
        The arrays by name; bfloat16 is converted to float32.

    Raises:
        WeightsError: The file is missing or damaged, contains more than tensors, or would run a program.
        MissingDependency: PyTorch is not installed, or is older than 2.10.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def write_torch_file(path: Path, weights: Mapping[str, Array]) -> None:
    """Write canonical weights as a ``state_dict`` for the network's ``nn.Module``."""
    torch = _safe_torch(path)
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, path)


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged, or not a safetensors file of float arrays: {error}") from None


def _read_pickle(path: Path) -> dict[str, Array]:
    torch = _safe_torch(path)
    try:
        with warnings.catch_warnings():
            # The warnings repeat what the errors below say.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused, nothing in it was executed: {_reason(str(error))}") from None
    # For a damaged file, PyTorch raises KeyError, EOFError, RuntimeError, UnicodeDecodeError and others.
    except Exception as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of weights ({type(error).__name__}); save it again: {_SAVE}"
        ) from None
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        content = (
            f"a dictionary of {', '.join(map(str, loaded))}" if isinstance(loaded, Mapping) else type(loaded).__name__
        )
        raise WeightsError(f"{path}: expected a state_dict with nothing but tensors, received {content}; {_SAVE}")
    return {str(name): _numpy(value, torch) for name, value in loaded.items()}


def _reason(message: str) -> str:
    """Why the restricted reader stopped, from its message, without its unsafe advice to read without restrictions."""
    named = re.search(r"GLOBAL (\S+)", message)
    what = named[1] if named else "something other than tensors"
    if "Uninitialized" in what:
        return f"it contains lazy layers that have no weights yet ({what}); {_LAZY}"
    return f"it contains {what}, which is not a tensor; {_SAVE}"


def _numpy(tensor: Any, torch: Any) -> Array:
    tensor = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _safe_torch(path: Path) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{path}: a PyTorch file needs PyTorch, which is not installed; pip install "mlpconv[torch]"'
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise MissingDependency(
            f"{path}: a file of weights can make PyTorch {torch.__version__} run programs; version 2.10 or later is "
            'needed: pip install --upgrade "mlpconv[torch]"'
        )
    return torch
