"""Weights in the file formats of other programs: read as canonical weights, or written from them.

``FORMATS`` lists the formats; the help and the errors of ``mlpconv convert`` are derived from it. To add one, write a
module that reads or writes it, and add an entry here. `layers` and `state_dict` turn the arrays of a file into
canonical weights, layer by layer or by name.

Importing this package imports no framework and not even NumPy: a format imports what it needs when it is used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpconv.errors import MlpconvError, WeightsError

if TYPE_CHECKING:
    from mlpconv.arch.network import Network
    from mlpconv.backends.base import Floats, Weights
    from mlpconv.convert.state_dict import from_state_dict, read_torch_file

__all__ = [
    "FORMATS",
    "WRITTEN_SUFFIXES",
    "Format",
    "describe_formats",
    "from_state_dict",
    "read_torch_file",
    "read_weights",
    "write_weights",
]


class Format(NamedTuple):
    """A file format for weights.

    Attributes:
        name: The program whose format it is.
        suffixes: The suffixes of its files. Only the first one is written.
        read: Reads the weights of a network from a file.
        write: Writes weights to a file, or None if the format can only be read.
    """

    name: str
    suffixes: tuple[str, ...]
    read: "Callable[[Network, Path], dict[str, Floats]]"
    write: "Callable[[Path, Network, Weights], None] | None" = None


def read_weights(network: "Network", path: str | Path) -> "dict[str, Floats]":
    """Read the weights of a network from a file in one of the `FORMATS`, chosen by the suffix of its name.

    Arrays with the canonical names are matched by name, those of the chapter's code by their order. A file with another
    suffix is read as PyTorch's. No code in the file is executed.

    Args:
        network: The network that the weights belong to.
        path: The file.

    Returns:
        Canonical weights, float32.

    Raises:
        WeightsError: The file cannot be read, or contains the weights of another network.
        MissingDependency: The package that reads the format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    read = next((known.read for known in FORMATS if path.suffix in known.suffixes), _read_torch)
    return read(network, path)


def write_weights(path: str | Path, network: "Network", weights: "Weights") -> None:
    """Write canonical weights to a file in one of the `FORMATS`, chosen by the suffix of its name.

    Args:
        path: The file, with one of the `WRITTEN_SUFFIXES`.
        network: The network that the weights belong to.
        weights: Its canonical weights.

    Raises:
        WeightsError: The suffix is none of these.
        MissingDependency: The framework that writes the format is not installed.
    """
    path = Path(path)
    for known in FORMATS:
        if known.write is not None and path.suffix == known.suffixes[0]:
            known.write(path, network, weights)
            return
    raise WeightsError(f"{path}: expected a name that ends in {', '.join(WRITTEN_SUFFIXES)}")


def _read_torch(network: "Network", path: Path) -> "dict[str, Floats]":
    from mlpconv.convert.state_dict import from_state_dict, read_torch_file

    return from_state_dict(network, read_torch_file(path), str(path))


def _write_torch(path: Path, network: "Network", weights: "Weights") -> None:
    from mlpconv.convert.state_dict import write_torch_file

    write_torch_file(path, weights)


def _read_keras(network: "Network", path: Path) -> "dict[str, Floats]":
    from mlpconv.convert.keras import read_keras_file
    from mlpconv.convert.layers import from_layers

    return from_layers(network, read_keras_file(path), str(path))


def _write_keras(path: Path, network: "Network", weights: "Weights") -> None:
    """Write a Keras model with the engine that is already running, or else with the first one that is installed."""
    from mlpconv.backends.registry import get_backend

    errors = []
    for engine in ("tensorflow", "jax"):
        try:
            model: Any = get_backend(engine).native(network, weights)
        except MlpconvError as error:  # not installed, or Keras is running on the other engine
            errors.append(error)
        else:
            model.save(path)
            return
    raise errors[0]


def _read_gluon(network: "Network", path: Path) -> "dict[str, Floats]":
    from mlpconv.convert.gluon import read_gluon_file
    from mlpconv.convert.state_dict import from_state_dict

    return from_state_dict(network, read_gluon_file(path), str(path))


def _write_gluon(path: Path, network: "Network", weights: "Weights") -> None:
    from mlpconv.convert.gluon import write_gluon_file

    write_gluon_file(path, network, weights)


def _read_flax(network: "Network", path: Path) -> "dict[str, Floats]":
    from mlpconv.convert.flax import read_flax_file
    from mlpconv.convert.layers import from_layers

    return from_layers(network, read_flax_file(path), str(path))


FORMATS = (
    Format("PyTorch", (".pt", ".pth", ".safetensors"), _read_torch, _write_torch),
    Format("Keras", (".keras", ".h5"), _read_keras, _write_keras),
    Format("Gluon", (".params",), _read_gluon, _write_gluon),
    Format("Flax", (".msgpack",), _read_flax),
)
WRITTEN_SUFFIXES = tuple(known.suffixes[0] for known in FORMATS if known.write)
"""The suffixes that `write_weights` accepts."""


def describe_formats(*, written: bool = False) -> str:
    """The formats with their suffixes, for help and messages: ".pt (PyTorch), .keras (Keras)".

    Args:
        written: Whether to list the formats that can be written, rather than those that can be read.
    """
    if written:
        return ", ".join(f"{known.suffixes[0]} ({known.name})" for known in FORMATS if known.write)
    return ", ".join(f"{' '.join(known.suffixes)} ({known.name})" for known in FORMATS)


def __getattr__(name: str) -> Any:
    if name in ("from_state_dict", "read_torch_file"):
        from mlpconv.convert import state_dict

        return getattr(state_dict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
