"""Weights by names: PyTorch's ``state_dict``, the chapter's own above all."""

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
"""The first PyTorch whose weights_only=True has no known way around it."""

_SAVE = 'in the program that made it: torch.save(net.state_dict(), "weights.pt")'
_LAZY = "pass one batch through the network before saving it"
_PARTS = ("weight", "bias", "running_mean", "running_var")


def from_state_dict(network: Network, state_dict: Mapping[str, Any], place: str = "state_dict") -> dict[str, Floats]:
    """A PyTorch ``state_dict`` as canonical weights of ``network``, in the network's order and float32.

    Canonical names are taken as they are. Names of an ``nn.Sequential`` (``0.0.weight``, ``0.2.bias``, ``2.0.weight``)
    are matched in the order of their numbers, kind and shape agreeing. In both, what all names begin with (``net.``, as
    in ``d2l.Classifier``) is left out first. ``num_batches_tracked`` is not ours and is left out too. Other names are
    refused, since layers of one shape could not be told apart.

    state_dict: name → array, or tensor on the CPU. Raises WeightsError with the first difference, or for values that
    are no finite floats.
    """
    values = {name: value for name, value in state_dict.items() if name.rpartition(".")[2] != "num_batches_tracked"}
    if lazy := [name for name, value in values.items() if type(value).__name__.startswith("Uninitialized")]:
        raise WeightsError(f"{place}: {lazy[0]} belongs to a lazy layer without weights yet; {_LAZY}")
    shapes = weight_shapes(network)
    bare = _without_prefix(values)
    if _is_sequential(bare):
        values = _by_order(bare, shapes, place)
    elif not set(values) & set(shapes):
        if not set(bare) & set(shapes):
            raise WeightsError(
                f"{place}: {next(iter(values))!r} is neither a name of this network (such as "
                f"{next(iter(shapes), 'none')!r}) nor of an nn.Sequential ('0.0.weight'); give the weights such names"
            )
        values = bare
    converted = {name: as_float32(value, f"{place}: {name}") for name, value in values.items()}
    check_weights(network, converted, place)
    return {name: converted[name] for name in shapes}


def _is_sequential(values: Mapping[str, Any]) -> bool:
    return all(re.fullmatch(rf"(\d+\.)+({'|'.join(_PARTS)})", name) for name in values)


def _without_prefix(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under their names without the modules' names that all of them begin with."""
    paths = {name: name.split(".") for name in values}
    shared = 0
    for parts in zip(*(path[:-1] for path in paths.values()), strict=False):
        # A number is a place in a Sequential.
        if len(set(parts)) > 1 or parts[0].isdecimal():
            break
        shared += 1
    return {".".join(path[shared:]): values[name] for name, path in paths.items()}


def _by_order(values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], place: str) -> dict[str, Any]:
    """An ``nn.Sequential``'s values under canonical names."""
    # A safetensors file is sorted as text, so the order comes from the numbers.
    ordered = sorted(values, key=_position)
    for theirs, ours in zip(ordered, shapes, strict=False):
        found = tuple(values[theirs].shape)
        if found != shapes[ours] or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise WeightsError(
                f"{place}: these weights belong to another network: {theirs} has the shape {found} where the network "
                f"has {ours} of the shape {shapes[ours]}"
            )
    if len(ordered) != len(shapes):
        rest = ordered[len(shapes) :] or list(shapes)[len(ordered) :]
        raise WeightsError(
            f"{place}: these weights belong to another network: it has {len(shapes)} arrays, here are {len(ordered)}; "
            f"the first without a partner is {rest[0]}"
        )
    return {ours: values[theirs] for theirs, ours in zip(ordered, shapes, strict=True)}


def _position(name: str) -> tuple[tuple[int, ...], int]:
    """Where a Sequential's weight stands: (2, 0), 1 for ``2.0.bias``."""
    *numbers, part = name.split(".")
    return tuple(map(int, numbers)), _PARTS.index(part)


def as_float32(value: Any, place: str) -> Floats:
    """A foreign array as float32. Raises WeightsError where it holds no floats."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise WeightsError(f"{place} holds {array.dtype} values; weights are floats")
    # What overflows is infinite, and infinite weights are refused.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def read_torch_file(path: str | Path) -> dict[str, Array]:
    """The arrays of a file that PyTorch saved (``.pt``, ``.pth``), or of a ``.safetensors`` file, by name.

    A PyTorch file is a pickle, which can hold programs: it is read by PyTorch's restricted reader, which runs nothing,
    and by no other. bfloat16 becomes float32. Raises WeightsError for a file that is missing, damaged, holds more than
    tensors or would run a program; MissingDependency without PyTorch, or with one older than 2.10.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def write_torch_file(path: Path, weights: Mapping[str, Array]) -> None:
    """Canonical weights as a ``state_dict`` that the network's ``nn.Module`` takes."""
    torch = _safe_torch(path)
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, path)


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged, or not a safetensors file of float arrays: {error}") from None


def _read_pickle(path: Path) -> dict[str, Array]:
    torch = _safe_torch(path)
    try:
        with warnings.catch_warnings():
            # It warns of what the file then turns out to hold or not to hold, which the error says.
            warnings.simplefilter("ignore")
            found = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused, and nothing in it was run: {_reason(str(error))}") from None
    # Of a damaged file it may raise nearly anything: KeyError, EOFError, RuntimeError, UnicodeDecodeError.
    except Exception as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of weights ({type(error).__name__}); save it again: {_SAVE}"
        ) from None
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        what = f"a dictionary of {', '.join(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
        raise WeightsError(f"{path}: holds {what}, not a state_dict of tensors alone; {_SAVE}")
    return {str(name): _numpy(value, torch) for name, value in found.items()}


def _reason(message: str) -> str:
    """Why the restricted reader stopped, from its message (whose own advice, to read without restriction, is bad)."""
    named = re.search(r"GLOBAL (\S+)", message)
    what = named[1] if named else "something other than tensors"
    if "Uninitialized" in what:
        return f"it holds lazy layers without weights yet ({what}); {_LAZY}"
    return f"it holds {what}, which is no tensor; {_SAVE}"


def _numpy(tensor: Any, torch: Any) -> Array:
    tensor = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _safe_torch(path: Path) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{path}: a PyTorch file is read by PyTorch, which is not installed; pip install "mlpconv[torch]"'
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise MissingDependency(
            f"{path}: PyTorch {torch.__version__} can be made to run programs by a file of weights; "
            'pip install "mlpconv[torch]" brings 2.10 or later'
        )
    return torch
