"""Names for networks, and the one place where a name, a file or a function becomes a Network."""

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
    """A registered network: the function ``build(num_classes=…, input_channels=…)`` and where it is defined."""

    name: str
    build: Builder
    source: str


_ENTRIES: dict[str, Entry] = {}


def register_model(*, source: str, name: str | None = None) -> Callable[[Builder], Builder]:
    """Register a function ``(num_classes, input_channels) -> Network`` under its own name or ``name``.

    source: what one can cite for the network. Raises NetworkError for a name that is taken.
    """

    def register(build: Builder) -> Builder:
        key = name or build.__name__
        if key in _ENTRIES:
            raise NetworkError(f"register_model: {key!r} is taken; give another name")
        _ENTRIES[key] = Entry(key, build, source)
        return build

    return register


def list_models() -> list[str]:
    """The names of all registered networks."""
    return list(_ENTRIES)


def model_entry(name: str) -> Entry:
    """The entry of a registered network. Raises NetworkError naming the nearest one."""
    if name not in _ENTRIES:
        raise NetworkError(f"{unknown('model', name, _ENTRIES)}; one's own: a JSON file (net.json), or module:function")
    return _ENTRIES[name]


def create_model(name: str, num_classes: int | None = None, input_channels: int | None = None) -> Network:
    """A network by name, from a JSON file, or from a function of one's own.

    name: a registered name, a path that ends in ``.json``, or ``module:function`` (the working directory is searched
    too). num_classes, input_channels: None keeps the network's own. Raises NetworkError for what cannot be found, does
    not fit together, or has another number of classes or channels than asked for.
    """
    wanted = {"num_classes": num_classes, "input_channels": input_channels}
    options = {key: value for key, value in wanted.items() if value is not None}
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
    found = classes_of(network)
    if num_classes is not None and found != num_classes:
        raise NetworkError(
            f"{name}: it tells {found} classes apart, asked for are {num_classes}; change its last block"
        )
    return network


def _from_file(path: Path) -> Network:
    try:
        # Some editors begin a UTF-8 file with a byte order mark.
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
    # As `python -m` does: a user's module stands in the directory where the command is called.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with _users_code(f"{name}: the module {module_name!r} cannot be imported"):
        module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(f"{name}: {unknown('function', function_name, names)}")
    with _users_code(f"{name}: the call failed"):
        taken = inspect.signature(function).parameters
        free = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
        network = function(**{key: value for key, value in options.items() if free or key in taken})
    if not isinstance(network, Network):
        raise NetworkError(f"{name}: must return an mlpconv Network, not {type(network).__name__}")
    return network if network.name else network.replace(name=function_name)


@contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Whatever a user's own module raises is the user's to mend: say what, and where in the module."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{what}: {error}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")]
        where = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
        raise NetworkError(f"{what}: {type(error).__name__}: {error}{where}; mend it or give another name") from error
