"""The back ends by name: what each needs, and how it is loaded.

To add a back end, write its package and add an entry to ``BACKENDS``: docs/how-to/add-a-backend.md.
"""

import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpconv import hardware
from mlpconv.errors import MissingDependency, MlpconvError, unknown
from mlpconv.formatting import format_bytes

if TYPE_CHECKING:
    from mlpconv.backends.base import Backend


DEFAULT_BACKEND = "torch"
"""The back end that is used where none is named, if it is installed."""

_log = logging.getLogger(__name__)


def _torch() -> "Backend":
    from mlpconv.backends.pytorch.backend import start_torch

    return start_torch()


def _tensorflow() -> "Backend":
    from mlpconv.backends.keras.backend import start_keras

    return start_keras("tensorflow")


def _jax() -> "Backend":
    from mlpconv.backends.keras.backend import start_keras

    return start_keras("jax")


def _mxnet() -> "Backend":
    from mlpconv.backends.mxnet.backend import start_mxnet

    return start_mxnet()


@dataclass(frozen=True)
class BackendEntry:
    """A back end in the registry. Nothing of it is imported before ``load`` is called."""

    name: str
    """The name that users type; also the name of the extra: ``pip install "mlpconv[NAME]"``."""
    title: str
    """The framework's own name."""
    packages: tuple[str, ...]
    """The distributions that make it up, under all names that they are published under.

    ``mlpconv doctor`` and environment.json report their versions.
    """
    modules: tuple[str, ...]
    """The modules that must be importable for it to be installed."""
    load: "Callable[[], Backend]"
    """Imports the framework. Raises ModuleNotFoundError where it is not installed."""
    address_space: int = 0
    """About how many bytes of address space importing and starting it takes; 0 if that is not known."""
    several_processes: bool = False
    """Whether several processes can train one run (mlpconv.backends.processes)."""
    environment: str = ""
    """Why it needs a separate Python environment; empty where it does not."""


BACKENDS: dict[str, BackendEntry] = {
    entry.name: entry
    for entry in (
        BackendEntry("torch", "PyTorch", ("torch",), ("torch",), _torch, address_space=1 << 30, several_processes=True),
        BackendEntry(
            "tensorflow",
            "TensorFlow",
            ("tensorflow-cpu", "tensorflow", "keras"),
            ("tensorflow", "keras"),
            _tensorflow,
        ),
        BackendEntry("jax", "JAX", ("keras", "jax"), ("jax", "keras"), _jax),
        BackendEntry(
            "mxnet",
            "MXNet",
            ("mxnet",),
            ("mxnet",),
            _mxnet,
            environment="MXNet 1.9.1 needs NumPy below 1.24 (in the repository: make mxnet)",
        ),
    )
}


def backend_help() -> str:
    """The names for help texts: "torch, tensorflow, jax or mxnet"."""
    *names, last = BACKENDS
    return f"{', '.join(names)} or {last}"


def framework_packages() -> list[str]:
    """The distributions of all back ends, each once."""
    return list(dict.fromkeys(package for entry in BACKENDS.values() for package in entry.packages))


def package_name(package: str) -> str:
    """The name under which the version of a distribution is reported: TensorFlow is published under two names."""
    return package.removesuffix("-cpu")


def is_installed(name: str) -> bool:
    """Whether the packages of a back end are installed. Nothing is imported."""
    return all(importlib.util.find_spec(module) for module in BACKENDS[name].modules)


def available_backend(preferred: str = DEFAULT_BACKEND) -> str:
    """The preferred back end if it is installed, otherwise the first one that is, which is logged.

    This is for back ends that nobody asked for: the default, and the one that trained a network. If none is installed,
    the preferred one is returned, and ``get_backend`` says how to install it.
    """
    if preferred not in BACKENDS or is_installed(preferred):
        return preferred
    found = next((name for name in BACKENDS if is_installed(name)), preferred)
    if found != preferred:
        _log.warning("%s is not installed; using %s", BACKENDS[preferred].title, BACKENDS[found].title)
    return found


def get_backend(name: str) -> "Backend":
    """The back end of a framework.

    Raises:
        MissingDependency: It is not installed; the message names the extra to install.
        MlpconvError: There is no back end of this name.
    """
    if name not in BACKENDS:
        raise MlpconvError(unknown("backend", name, BACKENDS))
    entry = BACKENDS[name]
    _check_address_space(entry)
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("mlpconv"):
            raise
        install = f'pip install "mlpconv[{name}]"'
        install += f" in a separate environment: {entry.environment}" if entry.environment else ""
        raise MissingDependency(f"backend {name}: the package {error.name!r} is not installed; {install}") from error


def _check_address_space(entry: BackendEntry) -> None:
    """Raise MlpconvError where a limit would make the framework abort the process while it is imported."""
    free = hardware.free_address_space()
    if free is None or free >= entry.address_space or all(module in sys.modules for module in entry.modules):
        return
    raise MlpconvError(
        f"backend {entry.name}: {entry.title} needs about {format_bytes(entry.address_space)} of address space, and "
        f"the limit of this shell (ulimit -v) leaves {format_bytes(free)}; raise it: ulimit -v unlimited"
    )
