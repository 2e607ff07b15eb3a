"""A network as one frozen value: layers and named blocks in order. Everything else is derived from it."""

import hashlib
import importlib
import json
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import msgspec

from mlpconv.arch.layers import (
    LIMIT,
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Size,
    fields,
    to_plain,
)
from mlpconv.errors import NetworkError, unknown

FORMAT = 1

_NUMBERED: dict[type[Layer], str] = {
    Conv2d: "conv",
    BatchNorm2d: "norm",
    ReLU: "relu",
    Sigmoid: "sigmoid",
    MaxPool2d: "pool",
    AvgPool2d: "pool",
    Dropout: "dropout",
    Linear: "fc",
}
_KINDS: dict[str, Any] = {kind.__struct_config__.tag: kind for kind in get_args(AnyLayer)}
_SINGLE: dict[type[Layer], str] = {GlobalAvgPool2d: "gap", Flatten: "flatten"}


class Preprocess(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an image becomes the network's input. It belongs to the model and travels in its file.

    mode: "L" (grey) or "RGB". fit: how an image of another shape meets the square of ``size`` pixels: "squash" ignores
    its proportions, "crop" takes the middle, "pad" adds borders. antialias: low-pass before making smaller. mean, std:
    per channel, of values in 0..1; the chapter's own are 0 and 1. source_size: (height, width) of the training images;
    images of other sizes are brought to it first, in 8 bits, so that the network sees no detail that it never learnt.
    """

    size: int
    mode: Literal["L", "RGB"] = "L"
    fit: Literal["squash", "crop", "pad"] = "squash"
    antialias: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    source_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise NetworkError(f"preprocess: size must be at least 1, not {self.size}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise NetworkError(
                f"preprocess: mode {self.mode} has {self.channels} channels, "
                f"but mean has {len(self.mean)} and std has {len(self.std)}"
            )
        if not all(s > 0 for s in self.std):
            raise NetworkError(f"preprocess: std must be above 0, not {self.std}")

    @property
    def channels(self) -> int:
        return len(self.mode)


class Block:
    """A run of layers with given names: ``Block(conv=Conv2d(96, 11, stride=4), relu=ReLU())``."""

    __slots__ = ("layers",)
    layers: Mapping[str, AnyLayer]

    # Positional only, so that a layer may be called "self".
    def __init__(self, /, **layers: AnyLayer) -> None:
        for name, layer in layers.items():
            _check_name(name)
            if not isinstance(layer, Layer):
                raise NetworkError(f"Block: {name} must be a layer, not {layer!r}; blocks do not nest")
        if not layers:
            raise NetworkError("Block: a block needs at least one layer")
        object.__setattr__(self, "layers", MappingProxyType(layers))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Block is frozen; make a new one to change {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and list(self.layers.items()) == list(other.layers.items())

    def __hash__(self) -> int:
        return hash(tuple(self.layers.items()))

    def __repr__(self) -> str:
        return f"Block({', '.join(f'{name}={_show(layer)}' for name, layer in self.layers.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_block, (dict(self.layers),)


def _make_block(layers: dict[str, AnyLayer]) -> Block:
    return Block(**layers)


class Network:
    """A network: layers and blocks in order.

    Blocks are named ``block1``, ``block2`` …; loose layers are numbered by kind (``pool1``, ``dropout1``, ``fc1``), but
    ``gap`` and ``flatten`` stand alone. ``Network.named`` takes other names. ``input_channels`` and ``input_size``
    (height and width) are those of the images that it was designed for; shapes and costs use them where no others are
    given.

    Raises NetworkError for an empty network, a bad name or a name given twice.
    """

    __slots__ = ("input_channels", "input_size", "layers", "name")
    layers: Mapping[str, AnyLayer | Block]
    input_channels: int
    input_size: tuple[int, int]
    name: str

    def __init__(
        self, *layers: AnyLayer | Block, input_channels: int = 1, input_size: Size = 224, name: str = ""
    ) -> None:
        self._set(_with_names(layers), input_channels, input_size, name)

    @classmethod
    def named(
        cls,
        layers: Mapping[str, AnyLayer | Block],
        *,
        input_channels: int = 1,
        input_size: Size = 224,
        name: str = "",
    ) -> Self:
        """A network whose layers carry the given names instead of the usual ones."""
        network = cls.__new__(cls)
        network._set(dict(layers), input_channels, input_size, name)
        return network

    def _set(self, layers: dict[str, AnyLayer | Block], channels: int, size: Size, name: str) -> None:
        for key, layer in layers.items():
            _check_name(key)
            if not isinstance(layer, Layer | Block):
                raise NetworkError(f"{key}: a network is made of layers and blocks, not {layer!r}")
        if not layers:
            raise NetworkError("a network needs at least one layer")
        if not _is_size(channels):
            raise NetworkError(f"input_channels must be whole, at least 1 and below 2³¹, not {reprlib.repr(channels)}")
        sides = (size, size) if isinstance(size, int) else size
        if not isinstance(sides, tuple) or len(sides) != 2 or not all(map(_is_size, sides)):
            raise NetworkError(
                f"input_size must be one number or (height, width), whole, at least 1 and below 2³¹, "
                f"not {reprlib.repr(size)}"
            )
        if not isinstance(name, str) or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise NetworkError(f"name must be one line of text, not {reprlib.repr(name)}")
        object.__setattr__(self, "layers", MappingProxyType(layers))
        object.__setattr__(self, "input_channels", channels)
        object.__setattr__(self, "input_size", sides)
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Network is frozen; use replace({name}=…)")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the network was designed for."""
        return (self.input_channels, *self.input_size)

    def walk(self) -> Iterator[tuple[str, AnyLayer]]:
        """Every layer in order with its full name: ("block1.conv", Conv2d(…)), …"""
        for name, layer in self.layers.items():
            if isinstance(layer, Block):
                yield from ((f"{name}.{part}", inner) for part, inner in layer.layers.items())
            else:
                yield name, layer

    def replace(self, layers: Mapping[str, AnyLayer | Block] | None = None, **changes: Any) -> Self:
        """A copy with other ``input_channels``, ``input_size`` or ``name``, or with some layers exchanged by name."""
        for name in layers or {}:
            if name not in self.layers:
                raise NetworkError(f"replace: there is no layer {name!r}; known: {', '.join(self.layers)}")
        settings = {"input_channels": self.input_channels, "input_size": self.input_size, "name": self.name}
        return type(self).named({**self.layers, **(layers or {})}, **{**settings, **changes})

    def build(self, backend: str = "torch", **options: Any) -> Any:
        """The network in a framework: an ``nn.Module`` ("torch"), a ``keras.Model`` ("tensorflow", "jax") or a
        ``gluon.HybridBlock`` ("mxnet").

        Raises MissingDependency where the framework is not installed.
        """
        # The one door from a description to a framework; by name, so that `arch` depends on nothing above it.
        return importlib.import_module("mlpconv.backends.registry").get_backend(backend).native(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """The network as plain values, defaults left out."""
        layers = {
            name: {part: to_plain(inner) for part, inner in layer.layers.items()}
            if isinstance(layer, Block)
            else to_plain(layer)
            for name, layer in self.layers.items()
        }
        size = list(self.input_size)
        return {
            "format": FORMAT,
            "name": self.name,
            "input_channels": self.input_channels,
            "input_size": size,
            "layers": layers,
        }

    def to_json(self) -> str:
        """The network as JSON text; ``from_json`` gives an equal network back."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, data: Any, place: str = "network") -> Self:
        """A network from ``to_dict``'s values. Raises NetworkError that names the place of what is wrong."""
        if not isinstance(data, dict) or not isinstance(data.get("layers"), dict):
            raise NetworkError(
                f"{place}: expected an object with 'format' and 'layers' (an object of named layers), "
                f"not {reprlib.repr(data)}"
            )
        if type(data.get("format")) is not int or data["format"] != FORMAT:
            newer = type(data.get("format")) is int and data["format"] > FORMAT
            raise NetworkError(
                f"{place}: format is {reprlib.repr(data.get('format'))}, this version reads {FORMAT}"
                + ("; it was written by a newer mlpconv: update mlpconv" if newer else '; write "format": 1')
            )
        if extra := sorted(set(data) - {"format", "name", "input_channels", "input_size", "layers"}):
            field = reprlib.repr(extra[0])
            raise NetworkError(f"{place}: unknown field {field}; a misspelling, or written by a newer mlpconv")
        layers: dict[str, AnyLayer | Block] = {}
        for name, value in data["layers"].items():
            with _at(place):
                _check_name(name)
            where = f"{place}: layers.{name}"
            # A block's values are layers; a layer's are numbers, truth values and its kind.
            if isinstance(value, dict) and value and all(isinstance(inner, dict) for inner in value.values()):
                with _at(where):
                    for part in value:
                        _check_name(part)
                layers[name] = Block(**{part: _layer(inner, f"{where}.{part}") for part, inner in value.items()})
            else:
                layers[name] = _layer(value, where)
        size = data.get("input_size", 224)
        with _at(place):
            return cls.named(
                layers,
                input_channels=data.get("input_channels", 1),
                input_size=tuple(size) if isinstance(size, list) else size,
                name=data.get("name", ""),
            )

    @classmethod
    def from_json(cls, text: str | bytes, place: str = "network") -> Self:
        """A network from its JSON text. Raises NetworkError that names the place of what is wrong."""
        try:
            data = json.loads(text, object_pairs_hook=lambda pairs: _no_repeats(pairs, place))
        except (ValueError, RecursionError) as error:
            if isinstance(error, NetworkError):
                raise
            raise NetworkError(f"{place}: not JSON: {error}") from None
        return cls.from_dict(data, place)

    @property
    def digest(self) -> str:
        """SHA-256 of what the network computes: its layers with their names and input channels, without its own name
        and without the image size that it was designed for."""
        value = {key: part for key, part in self.to_dict().items() if key not in ("name", "input_size")}
        # Order is meaning here, so keys are not sorted.
        return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return tuple(self.layers.items()), self.input_channels, self.input_size, self.name

    def __repr__(self) -> str:
        lines = [
            f"  {name}: {layer!r}" if isinstance(layer, Block) else f"  {name}: {_show(layer)}"
            for name, layer in self.layers.items()
        ]
        title = f"Network {self.name}".rstrip()
        return "\n".join([f"{title} (input {self.input_channels}×{self.input_size[0]}×{self.input_size[1]})", *lines])

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_network, (dict(self.layers), self.input_channels, self.input_size, self.name)


def _make_network(layers: dict[str, AnyLayer | Block], channels: int, size: tuple[int, int], name: str) -> Network:
    return Network.named(layers, input_channels=channels, input_size=size, name=name)


def _with_names(layers: tuple[AnyLayer | Block, ...]) -> dict[str, AnyLayer | Block]:
    counts: dict[str, int] = {}
    named: dict[str, AnyLayer | Block] = {}
    for layer in layers:
        single = _SINGLE.get(type(layer))  # pyright: ignore[reportArgumentType]
        stem = single or ("block" if isinstance(layer, Block) else _NUMBERED.get(type(layer), "layer"))
        counts[stem] = counts.get(stem, 0) + 1
        named[stem if single and counts[stem] == 1 else f"{stem}{counts[stem]}"] = layer
    return named


def _layer(value: Any, where: str) -> AnyLayer:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise NetworkError(f'{where}: expected a layer, such as {{"kind": "relu"}}, not {reprlib.repr(value)}')
    if kind not in _KINDS:
        raise NetworkError(f"{where}: {unknown('kind', kind, _KINDS)}")
    try:
        return msgspec.convert(value, _KINDS[kind])
    # The other one is of half a surrogate pair, which JSON can write and UTF-8 cannot.
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        known = ", ".join(_KINDS[kind].__struct_fields__) or "none"
        raise NetworkError(f"{where}: {error}; got {reprlib.repr(value)}; the fields of {kind} are: {known}") from None


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Put the place before the message of a NetworkError that does not know it."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{place}: {error}") from None


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < LIMIT


def _no_repeats(pairs: list[tuple[str, Any]], place: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NetworkError(f"{place}: {reprlib.repr(twice)} is given twice; each name stands once")
    return found


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise NetworkError(f"a layer's name is a letter, then letters, digits or _, not {reprlib.repr(name)}")


def _show(layer: AnyLayer) -> str:
    return f"{type(layer).__name__}({', '.join(f'{key}={value!r}' for key, value in fields(layer).items())})"
