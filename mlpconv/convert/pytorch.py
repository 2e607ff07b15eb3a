"""Read and write PyTorch's files of tensors, without executing what a file contains."""

import io
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.backends.base import Weights
from mlpconv.convert.budget import Budget
from mlpconv.convert.chapter import Names, sequential_names
from mlpconv.convert.recognize import SAVE, describe_other, is_pytorch, is_safetensors, read_head, zip_names
from mlpconv.convert.safetensors_file import read_safetensors_file
from mlpconv.convert.state_dict import LAZY, Array
from mlpconv.errors import MissingDependency, WeightsError
from mlpconv.files import write_atomic

SAFE_TORCH = (2, 10)
"""The first version of PyTorch whose weights_only=True has no known vulnerability."""

_SAVE = f"in the program that made it: {SAVE['PyTorch']}"
_MAX_DEPTH = 4
"""How deep in dictionaries a state_dict is looked for."""


def read_torch_file(path: str | Path) -> dict[str, Array]:
    """Read the arrays of a file saved by PyTorch, or of a safetensors file, whatever its name is.

    A PyTorch file is a pickle, which can contain programs. It is read only with PyTorch's restricted reader, which
    executes nothing. If it is a checkpoint (a dictionary that contains a ``state_dict`` next to other values, as of
    PyTorch Lightning), the ``state_dict`` is returned.

    Args:
        path: The file.

    Returns:
        The arrays by name, in the order of the file; bfloat16 and float8 are converted to float32.

    Raises:
        WeightsError: The file is missing, damaged or something else, contains no ``state_dict`` or several of them, or
            would run a program.
        MissingDependency: PyTorch is not installed, or is older than 2.10.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    head = read_head(path)
    if is_safetensors(path, head):
        return read_safetensors_file(path)
    if not is_pytorch(path, head) and (other := describe_other(path, head)):
        raise WeightsError(f"{path}: this is {other}")
    budget = Budget.of_file(path)
    budget.check_file()
    return read_pickle(path, budget)


def read_pickle(path: Path, budget: Budget) -> dict[str, Array]:
    """Read the tensors of a file written by ``torch.save``, within a budget; see `read_torch_file`."""
    if any(name.endswith("constants.pkl") for name in zip_names(path, read_head(path))):
        raise WeightsError(
            f"{path}: a TorchScript program; save its weights: "
            f'torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pt")'
        )
    torch = _safe_torch(path)
    try:
        with warnings.catch_warnings():
            # The warnings repeat what the errors below say.
            warnings.simplefilter("ignore")
            # An open file, because for a path PyTorch decides by its suffix.
            with path.open("rb") as file:
                loaded = torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused, nothing in it was executed: {_reason(str(error))}") from None
    # For a damaged file, PyTorch raises KeyError, EOFError, RuntimeError, UnicodeDecodeError and others.
    except Exception as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of weights ({type(error).__name__}); save it again: {_SAVE}"
        ) from None
    tensors = {str(name): value for name, value in _state_dict(loaded, path, torch).items()}
    # PyTorch does not check whether the indices of a sparse tensor are inside of it.
    if sparse := [name for name, tensor in tensors.items() if tensor.layout != torch.strided]:
        raise WeightsError(f"{path}: {sparse[0]} is a sparse tensor; save it as tensor.to_dense()")
    # The values of a tensor may be the same ones many times, which take less in the file than in an array.
    budget.take((tensor.numel(), tensor.element_size()) for tensor in tensors.values())
    try:
        return {name: _numpy(value, torch) for name, value in tensors.items()}
    except (RuntimeError, TypeError, NotImplementedError) as error:  # a kind of tensor that has no array
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path}: expected tensors of numbers, received another kind ({reason}); {_SAVE}") from None


def write_torch_file(path: Path, network: Network, weights: Weights, names: Names) -> None:
    """Write a ``state_dict`` for ``load_state_dict`` with ``strict=True``, in the order of the network.

    Args:
        path: The file.
        network: The network.
        weights: Its canonical weights, in its order.
        names: "mlpconv" or "chapter".
    """
    if names == "collect-params":
        raise WeightsError(f"{path}: collect-params are names of Gluon; choose a file that ends in .params")
    layer_names = sequential_names(network) if names == "chapter" else {name: name for name, _ in network.walk()}
    torch = _safe_torch(path)
    state = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        state[f"{layer_names[layer]}.{part}"] = torch.from_numpy(np.array(value))
        if part == "running_var":  # the last part of a normalization
            state[f"{layer_names[layer]}.num_batches_tracked"] = torch.tensor(0)
    # In memory first: of a disk that is full, PyTorch raises RuntimeError, and leaves a part of the file.
    content = io.BytesIO()
    torch.save(state, content)
    write_atomic(path, content.getbuffer())


def _state_dict(loaded: Any, path: Path, torch: Any) -> Mapping[Any, Any]:
    """The tensors by name: what was loaded, or the one ``state_dict`` in a checkpoint."""
    if isinstance(loaded, Mapping) and all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return loaded
    found = dict(_state_dicts(loaded, "", torch, _MAX_DEPTH))
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        first = re.sub(r"(\w+)\.?", r'["\1"]', next(iter(found)))
        raise WeightsError(
            f"{path}: contains several sets of weights ({', '.join(found)}); save the one to use: "
            f'torch.save(torch.load("{path.name}"){first}, "weights.pt")'
        )
    content = f"a dictionary of {', '.join(map(str, loaded))}" if isinstance(loaded, Mapping) else type(loaded).__name__
    raise WeightsError(f"{path}: expected a state_dict with nothing but tensors, received {content}; {_SAVE}")


def _state_dicts(value: Any, where: str, torch: Any, depth: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The dictionaries of named weights in a checkpoint, with their places; not those of an optimizer."""
    if not isinstance(value, Mapping) or not depth:
        return
    if value and all(isinstance(inner, torch.Tensor) for inner in value.values()):
        if any(isinstance(name, str) and name.endswith(("weight", "bias")) for name in value):
            yield where, value
        return
    for name, inner in value.items():
        if isinstance(name, str) and not name.lower().startswith(("optim", "scheduler", "lr_sched", "callbacks")):
            yield from _state_dicts(inner, f"{where}.{name}" if where else name, torch, depth - 1)


def _reason(message: str) -> str:
    """Why the restricted reader stopped, from its message, without its unsafe advice to read without restrictions."""
    named = re.search(r"GLOBAL (\S+)", message)
    what = named[1] if named else "something other than tensors"
    if "Uninitialized" in what:
        return f"it contains lazy layers that have no weights yet ({what}); {LAZY}"
    if re.match(r"torch\.nn\.modules|__main__\.", what):
        return f"it contains a whole module ({what}), which is code; save only its weights, {_SAVE}"
    return f"it contains {what}, which is not a tensor; {_SAVE}"


def _numpy(tensor: Any, torch: Any) -> Array:
    tensor = tensor.detach()
    # NumPy has no bfloat16 and no float8.
    narrow = tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)
    return (tensor.float() if narrow else tensor).numpy()


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
