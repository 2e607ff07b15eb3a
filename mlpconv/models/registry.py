"""The registered networks by name; creates a network from a name, a JSON file or a function."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mlpconv.arch.network import Network
from mlpconv.arch.shapes import num_classes as classes_of
from mlpconv.errors import NetworkError, unknown

Builder = Callable[..., Network]


class Entry(NamedTuple):
    """A registered network."""

    name: str
    build: Builder
    """Called as ``build(num_classes=…, input_channels=…)``."""
    source: str
    """A reference to cite for the network."""


_ENTRIES: dict[str, Entry] = {}


def register_model(*, source: str, name: str | None = None) -> Callable[[Builder], Builder]:
    """Register a function ``(num_classes, input_channels) -> Network``, as a decorator.

    Args:
        source: A reference to cite for the network.
        name: The name of the network; by default the name of the function.

    Raises:
        NetworkError: Another network has this name.

    Example:
        >>> import mlpconv
        >>> from mlpconv.arch.layers import Flatten, GlobalAvgPool2d
        >>> @mlpconv.register_model(source="my course, exercise 3")
        ... def two_blocks(num_classes=10, input_channels=1):
        ...     first, last = (mlpconv.nin_block(channels, 3, padding=1) for channels in (32, num_classes))
        ...     layers = (first, last, GlobalAvgPool2d(), Flatten())
        ...     return mlpconv.Network(*layers, input_channels=input_channels, input_size=28)
        >>> mlpconv.count(mlpconv.create_model("two_blocks", num_classes=5)).parameters
        3937
    """

    def register(build: Builder) -> Builder:
        key = name or build.__name__
        if key in _ENTRIES:
            raise NetworkError(f"register_model: {key!r} is taken; give another name")
        _ENTRIES[key] = Entry(key, build, source)
        return build

    return register


def list_models() -> list[str]:
    """The names of all registered networks.

    Example:
        >>> import mlpconv
        >>> mlpconv.list_models()[:3]
        ['nin', 'nin_imagenet', 'nin_cifar10']
    """
    return list(_ENTRIES)


def model_entry(name: str) -> Entry:
    """The entry of a registered network.

    Raises:
        NetworkError: There is no network of this name; the message names the most similar one.
    """
    if name not in _ENTRIES:
        raise NetworkError(
            f"{unknown('model', name, _ENTRIES)}; for your own network, give a JSON file (net.json) or module:function"
        )
    return _ENTRIES[name]


def create_model(name: str, num_classes: int | None = None, input_channels: int | None = None) -> Network:
    """Create a network by name, from a JSON file, or from your own function.

    Args:
        name: A registered name, a path that ends in ``.json``, or ``module:function``; modules in the working directory
            are found, too.
        num_classes: Number of classes; by default the number that the network was designed for.
        input_channels: Channels of the images; by default the number that the network was designed for.

    Raises:
        NetworkError: The network cannot be found, its shapes do not fit together, or it has another number of classes
            or channels than requested.

    Example:
        >>> import mlpconv
        >>> net = mlpconv.create_model("nin", num_classes=100, input_channels=3)
        >>> net.input_shape
        (3, 224, 224)
        >>> module = net.build("torch")  # an nn.Module for your own training loop
    """
    requested = {"num_classes": num_classes, "input_channels": input_channels}
    options = {key: value for key, value in requested.items() if value is not None}
    for key, value in options.items():
        if type(value) is not int or value < 1:
            raise NetworkError(f"{name}: {key} must be a whole number of at least 1, not {value!r}")
    if name.endswith(".json"):
        network = _from_file(Path(name))
    elif ":" in name:
        network = _from_function(name, options)
    else:
        network = model_entry(name).build(**options).replace(name=name)
    if input_channels is not None and network.input_channels != input_channels:
        network = network.replace(input_channels=input_channels)
    classes = classes_of(network)
    if num_classes is not None and classes != num_classes:
        raise NetworkError(f"{name}: it has {classes} classes, requested are {num_classes}; change its last block")
    return network


def _from_file(path: Path) -> Network:
    try:
        # Some editors start a UTF-8 file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NetworkError(f"{path}: not text in UTF-8: {error}; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: cannot be read: {error}; give the path of a network written as JSON") from None
    network = Network.from_json(text, str(path))
    return network if network.name else network.replace(name=path.stem)


def _from_function(name: str, options: dict[str, int]) -> Network:
    module_name, _, function_name = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), function_name]):
        raise NetworkError(f"{name}: not a module:function; write it as in my_networks:tiny_nin")
    # As `python -m` does: a user's module is in the directory in which the command is called.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with _users_code(f"{name}: the module {module_name!r} cannot be imported"):
        module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(f"{name}: {unknown('function', function_name, names)}")
    with _users_code(f"{name}: the call failed"):
        parameters = inspect.signature(function).parameters
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        network = function(**{key: value for key, value in options.items() if takes_any or key in parameters})
    if not isinstance(network, Network):
        raise NetworkError(f"{name}: must return an mlpconv Network, not {type(network).__name__}")
    return network if network.name else network.replace(name=function_name)


@contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Turn any error of a user's module into a NetworkError that states its position in the module."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{what}: {error}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        user_frames = [
            frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")
        ]
        where = f" ({user_frames[-1].filename}, line {user_frames[-1].lineno})" if user_frames else ""
        raise NetworkError(f"{what}: {type(error).__name__}: {error}{where}; fix it or give another name") from error
