"""The weights of a Flax file: a tree of arrays as ``flax.serialization.to_bytes`` writes it."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlpconv.convert.keras import in_order
from mlpconv.convert.layers import ForeignLayer
from mlpconv.errors import WeightsError

_ARRAY = 1
_PARTS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_ORDER = ("weight", "bias", "running_mean", "running_var")


def read_flax_file(path: Path) -> list[ForeignLayer]:
    """The layers of ``params`` (and ``batch_stats``), in their order. Raises WeightsError for another file."""
    try:
        tree = msgspec.msgpack.decode(path.read_bytes(), ext_hook=_array)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: damaged, or not what flax.serialization.to_bytes writes ({error}); save it again: "
            'open("weights.msgpack", "wb").write(flax.serialization.to_bytes(variables))'
        ) from None
    found: dict[str, dict[str, Any]] = {}
    tree = tree if isinstance(tree, dict) else {}
    for collection in ("params", "batch_stats") if "params" in tree else ("",):
        for place, value in _leaves(tree.get(collection, {}) if collection else tree, ()):
            if place and place[-1] in _PARTS:
                found.setdefault("/".join(place[:-1]), {})[_PARTS[place[-1]]] = value
    if not found:
        raise WeightsError(f"{path}: holds no tree of kernels and biases")
    return [
        ForeignLayer("", {part: found[place][part] for part in _ORDER if part in found[place]})
        for place in sorted(found, key=in_order)
    ]


def _array(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"an extension of the kind {code}")
    shape, kind, content = msgspec.msgpack.decode(data)
    return np.frombuffer(content, np.dtype(kind)).reshape(shape)


def _leaves(tree: Any, place: tuple[str, ...]) -> Any:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from _leaves(inner, (*place, str(name)))
    elif isinstance(tree, np.ndarray):
        yield place, tree
