"""A network as one frozen value: layers and named blocks in order. Everything else is derived from it."""

import hashlib
import json
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self

from mlpconv.arch import building
from mlpconv.arch.layer_definition import Layer, Size
from mlpconv.arch.layer_json import fields, from_plain, to_plain
from mlpconv.arch.layers import SIZE_LIMIT, AnyLayer
from mlpconv.errors import NetworkError

FORMAT = 1
"""The version of the JSON format."""
MAX_LAYERS = 1000
"""The most layers of a network."""


class Block:
    """A run of layers with given names: ``Block(conv=Conv2d(96, 11, stride=4), relu=ReLU())``.

    Example:
        >>> from mlpconv import Block, Network
        >>> from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, ReLU
        >>> block = Block(conv=Conv2d(96, 11, stride=4), relu=ReLU())
        >>> [name for name, _ in Network(block, GlobalAvgPool2d(), Flatten()).walk()]
        ['block1.conv', 'block1.relu', 'gap', 'flatten']
    """

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

    Blocks are named ``block1``, ``block2`` …; layers outside blocks are numbered by type (``pool1``, ``dropout1``,
    ``fc1``), but ``gap`` and ``flatten`` have no number. ``Network.named`` accepts other names.

    Args:
        layers: The layers and blocks.
        input_channels: Channels of the images that the network was designed for.
        input_size: Height and width of these images; one integer for squares. Shapes and costs use both by default.
        name: The name of the network: one line of text.

    Raises:
        NetworkError: There are no layers, or a name or size is not valid.

    Example:
        >>> from mlpconv import Network, nin_block
        >>> from mlpconv.arch.layers import Flatten, GlobalAvgPool2d, MaxPool2d
        >>> net = Network(
        ...     nin_block(32, kernel_size=5, padding=2),
        ...     MaxPool2d(2, stride=2),
        ...     nin_block(10, kernel_size=3, padding=1),
        ...     GlobalAvgPool2d(),
        ...     Flatten(),
        ...     input_size=28,
        ... )
        >>> list(net.layers)
        ['block1', 'pool1', 'block2', 'gap', 'flatten']
        >>> net.input_shape
        (1, 28, 28)
        >>> Network.from_json(net.to_json()) == net
        True
    """

    __slots__ = ("input_channels", "input_size", "layers", "name")
    layers: Mapping[str, AnyLayer | Block]
    """The layers and blocks by name, in order."""
    input_channels: int
    """Channels of the images."""
    input_size: tuple[int, int]
    """(height, width) of the images."""
    name: str
    """The name of the network; may be empty."""

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
        """A network whose layers have the given names instead of the automatic ones.

        Args:
            layers: The layers and blocks by name, in order.
            input_channels: As for ``Network``.
            input_size: As for ``Network``.
            name: As for ``Network``.

        Raises:
            NetworkError: There are no layers, or a name or size is not valid.
        """
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
        count = sum(len(layer.layers) if isinstance(layer, Block) else 1 for layer in layers.values())
        if count > MAX_LAYERS:
            raise NetworkError(f"a network has at most {MAX_LAYERS:,} layers, not {count:,}")
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
        """A copy with some layers or settings replaced.

        Args:
            layers: New layers or blocks by the name of the one to replace.
            changes: ``input_channels``, ``input_size`` or ``name``.

        Raises:
            NetworkError: There is no layer of that name, or a setting is not valid.
        """
        for name in layers or {}:
            if name not in self.layers:
                raise NetworkError(f"replace: there is no layer {name!r}; known: {', '.join(self.layers)}")
        settings = {"input_channels": self.input_channels, "input_size": self.input_size, "name": self.name}
        return type(self).named({**self.layers, **(layers or {})}, **{**settings, **changes})

    def build(self, backend: str = "torch", **options: Any) -> Any:
        """The network in a framework.

        Args:
            backend: The name of a back end. "torch" returns an ``nn.Module``, "tensorflow" and "jax" a ``keras.Model``,
                "mxnet" a ``gluon.HybridBlock``; others return the network in their framework.
            options: ``weights``: canonical weights to load; or ``initializer``: "xavier", "he", "torch", "normal",
                "open" or "identity", with ``seed`` (0): the weights from which ``mlpconv.train`` starts. By default the
                framework draws its own.

        Raises:
            MissingDependency: The framework is not installed.
            RecipeError: There is no such initializer.
        """
        return building.build(self, backend, **options)

    def to_dict(self) -> dict[str, Any]:
        """The network as plain values, without defaults."""
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
        """The network as JSON text, from which ``from_json`` makes an equal network."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, data: Any, where: str = "network") -> Self:
        """A network from the values that ``to_dict`` returns.

        Args:
            data: The values.
            where: The start of error messages, such as the path of a file.

        Raises:
            NetworkError: The values are not a network; the message names the layer and field.
        """
        if not isinstance(data, dict) or not isinstance(data.get("layers"), dict):
            raise NetworkError(
                f"{where}: expected an object with 'format' and 'layers' (an object of named layers), "
                f"not {reprlib.repr(data)}"
            )
        if type(data.get("format")) is not int or data["format"] != FORMAT:
            newer = type(data.get("format")) is int and data["format"] > FORMAT
            raise NetworkError(
                f"{where}: format is {reprlib.repr(data.get('format'))}, this version reads {FORMAT}"
                + ("; it was written by a newer mlpconv: update mlpconv" if newer else '; write "format": 1')
            )
        if extra := sorted(set(data) - {"format", "name", "input_channels", "input_size", "layers"}):
            field = reprlib.repr(extra[0])
            raise NetworkError(f"{where}: unknown field {field}; a misspelling, or written by a newer mlpconv")
        layers: dict[str, AnyLayer | Block] = {}
        for name, value in data["layers"].items():
            with _at(where):
                _check_name(name)
            field = f"{where}: layers.{name}"
            # The values of a block are layers; those of a layer are numbers, booleans and its kind.
            if isinstance(value, dict) and value and all(isinstance(inner, dict) for inner in value.values()):
                with _at(field):
                    for part in value:
                        _check_name(part)
                layers[name] = Block(**{part: from_plain(inner, f"{field}.{part}") for part, inner in value.items()})
            else:
                layers[name] = from_plain(value, field)
        size = data.get("input_size", 224)
        with _at(where):
            return cls.named(
                layers,
                input_channels=data.get("input_channels", 1),
                input_size=tuple(size) if isinstance(size, list) else size,
                name=data.get("name", ""),
            )

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "network") -> Self:
        """A network from its JSON text.

        Args:
            text: The JSON text.
            where: The start of error messages, such as the path of a file.

        Raises:
            NetworkError: The text is not the JSON of a network; the message names the layer and field.
        """
        try:
            data = json.loads(text, object_pairs_hook=lambda pairs: _no_repeats(pairs, where))
        except (ValueError, RecursionError) as error:
            if isinstance(error, NetworkError):
                raise
            raise NetworkError(f"{where}: not JSON: {error}") from None
        return cls.from_dict(data, where)

    @property
    def digest(self) -> str:
        """SHA-256 of what the network computes: its layers with their names, and its input channels.

        The name of the network and the image size that it was designed for are not part of it.
        """
        value = {key: part for key, part in self.to_dict().items() if key not in ("name", "input_size")}
        # The order of the layers matters, so keys are not sorted.
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
        if isinstance(layer, Layer):
            stem, numbered = layer.traits.stem, layer.traits.numbered
        else:  # what is neither is refused under the name of a layer
            stem, numbered = "block" if isinstance(layer, Block) else "layer", True
        counts[stem] = counts.get(stem, 0) + 1
        named[f"{stem}{counts[stem]}" if numbered or counts[stem] > 1 else stem] = layer
    return named


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Put the path of the field before the message of a NetworkError."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{where}: {error}") from None


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < SIZE_LIMIT


def _no_repeats(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NetworkError(f"{where}: {reprlib.repr(twice)} is given twice; use each name once")
    return values


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise NetworkError(f"a layer's name is a letter, then letters, digits or _, not {reprlib.repr(name)}")


def _show(layer: AnyLayer) -> str:
    return f"{type(layer).__name__}({', '.join(f'{key}={value!r}' for key, value in fields(layer).items())})"
