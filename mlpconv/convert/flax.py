"""Read the weights of a Flax file: a tree of arrays, as written by ``flax.serialization.to_bytes``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlpconv.convert.keras import natural_order
from mlpconv.convert.layers import ForeignLayer
from mlpconv.convert.recognize import SAVE
from mlpconv.errors import WeightsError

_ARRAY_EXTENSION = 1  # MessagePack extension type
_PARTS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_ORDER = ("weight", "bias", "running_mean", "running_var")


def read_flax_file(path: Path) -> list[ForeignLayer]:
    """Read the layers of ``params`` and ``batch_stats``, in their order.

    Raises:
        WeightsError: The file is damaged, or not a Flax file.
    """
    try:
        tree = msgspec.msgpack.decode(path.read_bytes(), ext_hook=_array)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise WeightsError(
            f"{path}: damaged, or not written by flax.serialization.to_bytes ({error}); save it again: {SAVE['Flax']}"
        ) from None
    layers: dict[str, dict[str, Any]] = {}
    tree = tree if isinstance(tree, dict) else {}
    for collection in ("params", "batch_stats") if "params" in tree else ("",):
        for path_in_tree, value in _leaves(tree.get(collection, {}) if collection else tree, ()):
            if path_in_tree and path_in_tree[-1] in _PARTS:
                *layer, part = path_in_tree
                layers.setdefault("/".join(layer), {})[_PARTS[part]] = value
    if not layers:
        raise WeightsError(f"{path}: expected a tree of kernels and biases, received none; save the model's variables")
    return [
        ForeignLayer(name, {part: layers[name][part] for part in _ORDER if part in layers[name]})
        for name in sorted(layers, key=natural_order)
    ]


def _array(code: int, data: memoryview) -> Any:
    if code != _ARRAY_EXTENSION:
        raise ValueError(f"unknown extension type {code}")
    shape, dtype, content = msgspec.msgpack.decode(data)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape)


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(tree, np.ndarray):
        yield path, tree
