"""What a notebook shows: networks, costs, data sets, runs and predictions as HTML, and curves that grow in training.

    from mlpconv.notebook import compare, show_images

In a notebook, ``import mlpconv`` registers the displays; where mlpconv was imported before IPython started,
``%load_ext mlpconv.notebook`` does. Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlpconv.notebook.displays import register_displays, to_html

if TYPE_CHECKING:
    from mlpconv.notebook.networks import compare
    from mlpconv.notebook.page import Html
    from mlpconv.notebook.pictures import show_images

__all__ = ["Html", "compare", "load_ipython_extension", "register_displays", "show_images", "to_html"]

_MODULES = {"Html": "page", "compare": "networks", "show_images": "pictures"}


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext mlpconv.notebook``."""
    register_displays(shell)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
