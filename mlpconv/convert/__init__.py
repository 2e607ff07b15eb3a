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
from mlpconv.errors import WeightsError

if TYPE_CHECKING:
    from mlpconv.arch.network import Network
    from mlpconv.backends.base import Floats, Weights
    from mlpconv.convert.budget import Budget
    from mlpconv.convert.chapter import Names
    from mlpconv.convert.layers import ForeignLayer
    from mlpconv.convert.pytorch import read_torch_file
    from mlpconv.convert.state_dict import Array, from_state_dict

__all__ = [
    "FORMATS",
    "WRITTEN_SUFFIXES",
    "Format",
    "describe_formats",
    "from_state_dict",
    "input_scale",
    "read_torch_file",
    "read_weights",
    "recognize_format",
    "write_weights",
]


class Format(NamedTuple):
    """A file format for weights.

    Attributes:
        name: The program whose format it is.
        suffixes: The usual suffixes of its files; a file is read under any name.
        recognize: Whether a file has this format, from its path and its first bytes.
        read: Reads a file, within a budget: arrays by name, or the layers in their order.
        ordered: Whether a file has the layers in the order in which they were defined.
        written: The suffixes of the files that ``write`` writes.
        write: Writes weights to a file, or None if the format can only be read.
    """

    name: str
    suffixes: tuple[str, ...]
    recognize: Callable[[Path, bytes], bool]
    read: "Callable[[Path, Budget], dict[str, Array] | list[ForeignLayer]]"
    ordered: bool = True
    written: tuple[str, ...] = ()
    write: "Callable[[Path, Network, Weights, Names], None] | None" = None


def read_weights(network: "Network", path: str | Path, *, by_shape: bool = False) -> "dict[str, Floats]":
    """Read the weights of a network from a file in one of the `FORMATS`, under any name.

    Arrays with the canonical names are matched by name, those of the chapter's code by their order. No code in the file
    is executed.

    Args:
        network: The network that the weights belong to.
        path: The file; a directory for TensorFlow's SavedModel.
        by_shape: Whether to match layers by their types and shapes, for names that are neither of these.

    Returns:
        Canonical weights, float32.

    Raises:
        WeightsError: The file cannot be read, or contains the weights of another network.
        MissingDependency: The package that reads the format is not installed.
    """
    from mlpconv.convert.budget import Budget
    from mlpconv.convert.by_shape import from_shapes
    from mlpconv.convert.layers import from_layers
    from mlpconv.convert.state_dict import from_state_dict

    path = Path(path)
    known, budget = recognize_format(path), Budget.of_network(path, network)
    budget.check_file()
    content = known.read(path, budget)
    if by_shape:
        return from_shapes(network, content, str(path), ordered=known.ordered)
    if isinstance(content, dict):
        return from_state_dict(network, content, str(path))
    return from_layers(network, content, str(path))


def recognize_format(path: Path) -> Format:
    """The format of a file, from its first bytes.

    Raises:
        WeightsError: The file has none of the `FORMATS`; the message names what it is.
    """
    head = recognize.read_head(path)
    for known in FORMATS:
        if known.recognize(path, head):
            return known
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    if other := recognize.describe_other(path, head):
        raise WeightsError(f"{path}: this is {other}")
    program = next((known.name for known in FORMATS if path.suffix in known.suffixes), "PyTorch")
    raise WeightsError(
        f"{path}: damaged, or not a file of weights; save it again in the program that made it: "
        + recognize.SAVE.get(program, recognize.SAVE["PyTorch"])
    )


def input_scale(network: "Network", path: str | Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation that normalize pixel values from 0 to 1 for the weights of a file.

    Args:
        network: The network of the weights.
        path: The file. Caffe's networks take values from 0 to 255; all others are assumed to take values from 0 to 1.
    """
    if recognize_format(Path(path)).name == "Caffe":
        from mlpconv.convert.caffe import caffe_scale

        return caffe_scale(network)
    return (0.0,) * network.input_channels, (1.0,) * network.input_channels


def write_weights(path: str | Path, network: "Network", weights: "Weights", *, names: "Names" = "mlpconv") -> None:
    """Write canonical weights to a file in one of the `FORMATS`, chosen by the suffix of its name.

    Args:
        path: The file, with one of the `WRITTEN_SUFFIXES`: `.pt` for a PyTorch ``state_dict``, `.keras` for a Keras
            model, `.weights.h5` for its weights only, `.params` for the parameters of a Gluon block.
        network: The network that the weights belong to.
        weights: Its canonical weights. They are written in the order of the network.
        names: The names in the file. "mlpconv": those of the network's layers, for the object that ``network.build``
            returns. "chapter": those of the chapter's own network, in which layers are numbered in nested Sequentials
            (``0.0.weight``). "collect-params": those that Gluon's ``collect_params().load`` expects (``conv0_weight``).

    Raises:
        WeightsError: The suffix is none of these, or the format has no such names.
        MissingDependency: The framework that writes the format is not installed.
    """
    from mlpconv.backends.weights import weight_shapes

    path = Path(path)
    for known in FORMATS:
        if known.write is not None and path.name.endswith(known.written):
            known.write(path, network, {name: weights[name] for name in weight_shapes(network)}, names)
            return
    raise WeightsError(f"{path}: expected a name that ends in {', '.join(WRITTEN_SUFFIXES)}")


def _read_torch(path: Path, budget: "Budget") -> "dict[str, Array]":
    from mlpconv.convert.pytorch import read_pickle

    return read_pickle(path, budget)


def _write_torch(path: Path, network: "Network", weights: "Weights", names: "Names") -> None:
    from mlpconv.convert.pytorch import write_torch_file

    write_torch_file(path, network, weights, names)


def _read_safetensors(path: Path, budget: "Budget") -> "dict[str, Array]":
    from mlpconv.convert.safetensors_file import read_safetensors_file

    return read_safetensors_file(path)


def _read_keras(path: Path, budget: "Budget") -> "list[ForeignLayer]":
    from mlpconv.convert.keras import read_keras_file

    return read_keras_file(path, budget)


def _write_keras(path: Path, network: "Network", weights: "Weights", names: "Names") -> None:
    from mlpconv.convert.keras import write_keras_file

    write_keras_file(path, network, weights, names)


def _read_gluon(path: Path, budget: "Budget") -> "dict[str, Array] | list[ForeignLayer]":
    from mlpconv.convert.gluon import read_gluon_file

    return read_gluon_file(path)


def _write_gluon(path: Path, network: "Network", weights: "Weights", names: "Names") -> None:
    from mlpconv.convert.gluon import write_gluon_file

    write_gluon_file(path, network, weights, names)


def _read_flax(path: Path, budget: "Budget") -> "list[ForeignLayer]":
    from mlpconv.convert.flax import read_flax_file

    return read_flax_file(path)


def _read_caffe(path: Path, budget: "Budget") -> "list[ForeignLayer]":
    from mlpconv.convert.caffe import read_caffe_file

    return read_caffe_file(path)


def _read_tensorflow(path: Path, budget: "Budget") -> "list[ForeignLayer]":
    from mlpconv.convert.tensorflow import read_tensorflow_checkpoint

    return read_tensorflow_checkpoint(path, budget)


FORMATS = (
    Format("PyTorch", (".pt", ".pth", ".ckpt"), recognize.is_pytorch, _read_torch, True, (".pt",), _write_torch),
    Format("Keras", (".keras", ".h5"), recognize.is_keras, _read_keras, True, (".keras", ".weights.h5"), _write_keras),
    Format("Gluon", (".params",), recognize.is_gluon, _read_gluon, True, (".params",), _write_gluon),
    Format("safetensors", (".safetensors",), recognize.is_safetensors, _read_safetensors, ordered=False),
    Format("Flax", (".msgpack",), recognize.is_flax, _read_flax, ordered=False),
    Format("Caffe", (".caffemodel",), recognize.is_caffe, _read_caffe),
    Format("TensorFlow", (".index",), recognize.is_tensorflow, _read_tensorflow),
)
WRITTEN_SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.written)
"""The suffixes that `write_weights` accepts."""


def describe_formats(*, written: bool = False) -> str:
    """The formats with their suffixes, for help and messages: ".pt (PyTorch), .keras (Keras)".

    Args:
        written: Whether to list the formats that can be written, rather than those that can be read.
    """
    each = ((known.written if written else known.suffixes, known.name) for known in FORMATS)
    return ", ".join(f"{' '.join(suffixes)} ({name})" for suffixes, name in each if suffixes)


def __getattr__(name: str) -> Any:
    if name == "from_state_dict":
        from mlpconv.convert.state_dict import from_state_dict

        return from_state_dict
    if name == "read_torch_file":
        from mlpconv.convert.pytorch import read_torch_file

        return read_torch_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
