"""Weights in the file formats of other programs: read as canonical weights, or written from them.

``FORMATS`` lists the formats; the help and the errors of ``mlpconv convert`` are derived from it. To add one, write a
module that reads or writes it, say in `recognize` how its files start, and add an entry here. `layers` and `state_dict`
turn the arrays of a file into canonical weights, layer by layer or by name.

Importing this package imports no framework and not even NumPy: a format imports what it needs when it is used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpconv.convert import recognize
from mlpconv.errors import MlpconvError, WeightsError

if TYPE_CHECKING:
    from mlpconv.arch.network import Network
    from mlpconv.backends.base import Floats, Weights
    from mlpconv.convert.layers import ForeignLayer
    from mlpconv.convert.pytorch import read_torch_file
    from mlpconv.convert.state_dict import Array, from_state_dict

__all__ = [
    "FORMATS",
    "WRITTEN_SUFFIXES",
    "Format",
    "describe_formats",
    "from_state_dict",
    "read_torch_file",
    "read_weights",
    "recognize_format",
    "write_weights",
]


class Format(NamedTuple):
    """A file format for weights.

    Attributes:
        name: The program whose format it is.
        suffixes: The usual suffixes of its files. Only the first one is written; any name is read.
        recognize: Whether a file has this format, from its path and its first bytes.
        read: Reads a file: arrays by name, or the layers in their order.
        write: Writes weights to a file, or None if the format can only be read.
    """

    name: str
    suffixes: tuple[str, ...]
    recognize: Callable[[Path, bytes], bool]
    read: "Callable[[Path], dict[str, Array] | list[ForeignLayer]]"
    write: "Callable[[Path, Network, Weights], None] | None" = None


def read_weights(network: "Network", path: str | Path) -> "dict[str, Floats]":
    """Read the weights of a network from a file in one of the `FORMATS`, under any name.

    Arrays with the canonical names are matched by name, those of the chapter's code by their order. No code in the file
    is executed.

    Args:
        network: The network that the weights belong to.
        path: The file.

    Returns:
        Canonical weights, float32.

    Raises:
        WeightsError: The file cannot be read, or contains the weights of another network.
        MissingDependency: The package that reads the format is not installed.
    """
    from mlpconv.convert.layers import from_layers
    from mlpconv.convert.state_dict import from_state_dict

    path = Path(path)
    content = recognize_format(path).read(path)
    if isinstance(content, dict):
        return from_state_dict(network, content, str(path))
    return from_layers(network, content, str(path))


def recognize_format(path: Path) -> Format:
    """The format of a file, from its first bytes.

    Raises:
        WeightsError: The file has none of the `FORMATS`; the message names what it is.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    head = recognize.read_head(path)
    for known in FORMATS:
        if known.recognize(path, head):
            return known
    if other := recognize.describe_other(path, head):
        raise WeightsError(f"{path}: this is {other}")
    program = next((known.name for known in FORMATS if path.suffix in known.suffixes), "PyTorch")
    raise WeightsError(
        f"{path}: damaged, or not a file of weights; save it again in the program that made it: "
        + recognize.SAVE.get(program, recognize.SAVE["PyTorch"])
    )


def write_weights(path: str | Path, network: "Network", weights: "Weights") -> None:
    """Write canonical weights to a file in one of the `FORMATS`, chosen by the suffix of its name.

    Args:
        path: The file, with one of the `WRITTEN_SUFFIXES`: `.pt` for a PyTorch ``state_dict``, `.keras` for a Keras
            model, `.params` for the parameters of a Gluon block.
        network: The network that the weights belong to.
        weights: Its canonical weights. They are written in the order of the network.

    Raises:
        WeightsError: The suffix is none of these.
        MissingDependency: The framework that writes the format is not installed.
    """
    from mlpconv.backends.weights import weight_shapes

    path = Path(path)
    for known in FORMATS:
        if known.write is not None and path.suffix == known.suffixes[0]:
            known.write(path, network, {name: weights[name] for name in weight_shapes(network)})
            return
    raise WeightsError(f"{path}: expected a name that ends in {', '.join(WRITTEN_SUFFIXES)}")


def _read_torch(path: Path) -> "dict[str, Array]":
    from mlpconv.convert.pytorch import read_pickle

    return read_pickle(path)


def _write_torch(path: Path, network: "Network", weights: "Weights") -> None:
    from mlpconv.convert.pytorch import write_torch_file

    write_torch_file(path, network, weights, {name: name for name, _ in network.walk()})


def _read_safetensors(path: Path) -> "dict[str, Array]":
    from mlpconv.convert.safetensors_file import read_safetensors_file

    return read_safetensors_file(path)


def _read_keras(path: Path) -> "list[ForeignLayer]":
    from mlpconv.convert.keras import read_keras_file

    return read_keras_file(path)


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


def _read_gluon(path: Path) -> "dict[str, Array]":
    from mlpconv.convert.gluon import read_gluon_file

    return read_gluon_file(path)


def _write_gluon(path: Path, network: "Network", weights: "Weights") -> None:
    from mlpconv.convert.gluon import write_gluon_file

    write_gluon_file(path, network, weights)


def _read_flax(path: Path) -> "list[ForeignLayer]":
    from mlpconv.convert.flax import read_flax_file

    return read_flax_file(path)


FORMATS = (
    Format("PyTorch", (".pt", ".pth", ".ckpt"), recognize.is_pytorch, _read_torch, _write_torch),
    Format("Keras", (".keras", ".h5"), recognize.is_keras, _read_keras, _write_keras),
    Format("Gluon", (".params",), recognize.is_gluon, _read_gluon, _write_gluon),
    Format("safetensors", (".safetensors",), recognize.is_safetensors, _read_safetensors),
    Format("Flax", (".msgpack",), recognize.is_flax, _read_flax),
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
    if name == "from_state_dict":
        from mlpconv.convert.state_dict import from_state_dict

        return from_state_dict
    if name == "read_torch_file":
        from mlpconv.convert.pytorch import read_torch_file

        return read_torch_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
