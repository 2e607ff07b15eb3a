"""Layers as plain values for JSON, and back."""

import reprlib
from typing import Any, get_args

import msgspec

from mlpconv.arch.layer_definition import Layer
from mlpconv.arch.layers import AnyLayer
from mlpconv.errors import NetworkError, unknown

_LAYER_TYPES: dict[str, Any] = {layer.__struct_config__.tag: layer for layer in get_args(AnyLayer)}


def fields(layer: Layer) -> dict[str, Any]:
    """The fields of a layer that differ from their defaults, in order, as plain values."""
    # msgspec's omit_defaults compares by identity: it keeps a 0.5 that is not the same object as the default.
    defaults = {field.name: field.default for field in msgspec.structs.fields(layer)}
    values = msgspec.to_builtins(layer)
    return {key: values[key] for key, default in defaults.items() if getattr(layer, key) != default}


def to_plain(layer: Layer) -> dict[str, Any]:
    """A layer as plain values, its kind first, without defaults: equal layers give equal values."""
    return {"kind": type(layer).__struct_config__.tag, **fields(layer)}


def from_plain(value: Any, where: str) -> AnyLayer:
    """A layer from the values that ``to_plain`` returns.

    Args:
        value: The values.
        where: The start of error messages.

    Raises:
        NetworkError: The values are not those of a layer.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise NetworkError(f'{where}: expected a layer, such as {{"kind": "relu"}}, not {reprlib.repr(value)}')
    if kind not in _LAYER_TYPES:
        raise NetworkError(f"{where}: {unknown('kind', kind, _LAYER_TYPES)}")
    try:
        return msgspec.convert(value, _LAYER_TYPES[kind])
    # UnicodeEncodeError: half a surrogate pair, which JSON can contain and UTF-8 cannot.
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        known = ", ".join(_LAYER_TYPES[kind].__struct_fields__) or "none"
        raise NetworkError(f"{where}: {error}; got {reprlib.repr(value)}; the fields of {kind} are: {known}") from None
