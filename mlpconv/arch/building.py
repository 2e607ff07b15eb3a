"""The function that ``Network.build`` calls; ``mlpconv`` registers it, so that ``arch`` imports no back end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlpconv.arch.network import Network

Builder = Callable[..., Any]
"""(network, backend, **options) → the network in the framework of that back end."""
_builders: list[Builder] = []


def register_builder(builder: Builder) -> None:
    """Let ``Network.build`` call this function. ``mlpconv`` registers one when it is imported."""
    _builders[:] = [builder]


def build(network: "Network", backend: str, **options: Any) -> Any:
    """Call the registered function."""
    (builder,) = _builders
    return builder(network, backend, **options)
