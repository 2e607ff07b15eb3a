"""Weights that came about elsewhere, made canonical, and canonical weights for use elsewhere, by a file's ending."""

from pathlib import Path
from typing import Any

from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.registry import get_backend
from mlpconv.convert.gluon import read_gluon_file, write_gluon_file
from mlpconv.convert.layers import from_layers
from mlpconv.convert.state_dict import from_state_dict, read_torch_file, write_torch_file
from mlpconv.errors import MlpconvError, WeightsError

READ = (".pt", ".pth", ".safetensors", ".keras", ".h5", ".params", ".msgpack")
WRITTEN = (".pt", ".keras", ".params")

__all__ = ["READ", "WRITTEN", "from_state_dict", "read_torch_file", "read_weights", "write_weights"]


def read_weights(network: Network, path: str | Path) -> dict[str, Floats]:
    """The canonical weights of ``network`` from a file: PyTorch's (``.pt``, ``.pth``, ``.safetensors``), Keras'
    (``.keras``, ``.weights.h5``), Gluon's (``.params``), or Flax's (``.msgpack``, from ``flax.serialization``).

    Weights that have our names are taken by name, those of the chapter's code in order. Nothing in the file is
    executed. Raises WeightsError for a file that cannot be read or is of another network, MissingDependency where the
    package that reads it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    match path.suffix:
        case ".keras" | ".h5":
            from mlpconv.convert.keras import read_keras_file

            return from_layers(network, read_keras_file(path), str(path))
        case ".msgpack":
            from mlpconv.convert.flax import read_flax_file

            return from_layers(network, read_flax_file(path), str(path))
        case ".params":
            return from_state_dict(network, read_gluon_file(path), str(path))
        case _:
            return from_state_dict(network, read_torch_file(path), str(path))


def write_weights(path: str | Path, network: Network, weights: Weights) -> None:
    """Canonical weights in another program's own file: a PyTorch ``state_dict`` (``.pt``), a Keras model (``.keras``),
    or Gluon's parameters (``.params``). Raises MissingDependency where the framework that writes it is missing."""
    path = Path(path)
    match path.suffix:
        case ".pt":
            write_torch_file(path, weights)
        case ".keras":
            _keras(network, weights).save(path)
        case ".params":
            write_gluon_file(path, network, weights)
        case _:
            raise WeightsError(f"{path}: give a name that ends in {', '.join(WRITTEN)}")


def _keras(network: Network, weights: Weights) -> Any:
    """The network as a Keras model, on the engine that runs already, or whichever is here."""
    errors = []
    for engine in ("tensorflow", "jax"):
        try:
            return get_backend(engine).native(network, weights)
        except MlpconvError as error:  # not installed, or Keras runs on the other
            errors.append(error)
    raise errors[0]
