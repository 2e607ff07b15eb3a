"""Network in Network: learn it, train it fast and reliably, explain it, ship it.

    import mlpconv

    net = mlpconv.create_model("nin")            # a Network: data, no framework
    module = net.build("torch")                  # an nn.Module for your own loop
    run = mlpconv.train("quick", epochs=1)       # a run directory
    mlpconv.load(run).predict(["shirt.jpg"])     # names and probabilities

Names are loaded when they are first used; importing mlpconv loads no framework.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from mlpconv.arch.building import register_builder
from mlpconv.version import __version__ as __version__

if TYPE_CHECKING:
    from mlpconv.api import TrainOptions, load, train
    from mlpconv.arch.cost import count
    from mlpconv.arch.network import Block, Network
    from mlpconv.arch.preprocess import Preprocess
    from mlpconv.arch.shapes import block_shapes, layer_shapes
    from mlpconv.backends.allocator import keep_memory
    from mlpconv.data import ImageDataset, Splits, load_dataset
    from mlpconv.errors import MlpconvError
    from mlpconv.inference.classifier import Classifier
    from mlpconv.models import create_model, list_models, nin_block, register_model
    from mlpconv.runs.run import Run
    from mlpconv.training.recipe import Recipe
    from mlpconv.training.recipes import get_recipe

_PLACES = {
    "api": ("TrainOptions", "load", "train"),
    "arch.cost": ("count",),
    "arch.network": ("Block", "Network"),
    "arch.preprocess": ("Preprocess",),
    "arch.shapes": ("block_shapes", "layer_shapes"),
    "backends.allocator": ("keep_memory",),
    "data": ("ImageDataset", "Splits", "load_dataset"),
    "errors": ("MlpconvError",),
    "models": ("create_model", "list_models", "nin_block", "register_model"),
    "inference.classifier": ("Classifier",),
    "runs.run": ("Run",),
    "training.recipe": ("Recipe",),
    "training.recipes": ("get_recipe",),
}
_HOMES = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Block",
    "Classifier",
    "ImageDataset",
    "MlpconvError",
    "Network",
    "Preprocess",
    "Recipe",
    "Run",
    "Splits",
    "TrainOptions",
    "block_shapes",
    "count",
    "create_model",
    "get_recipe",
    "keep_memory",
    "layer_shapes",
    "list_models",
    "load",
    "load_dataset",
    "nin_block",
    "register_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlpconv' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mlpconv.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _build(
    network: "Network", backend: str, *, weights: Any = None, initializer: str | None = None, seed: int = 0
) -> Any:
    from mlpconv.backends.registry import get_backend
    from mlpconv.backends.weights import initialize, named_initializer

    engine = get_backend(backend)
    if initializer is not None and weights is None:
        start = named_initializer(initializer)
        weights = initialize(network, start, seed, framework_biases=engine.framework_biases)
    return engine.native(network, weights=weights)


register_builder(_build)
if "IPython" in sys.modules:  # a notebook or an IPython shell: show objects as HTML
    from mlpconv.notebook.displays import register_displays

    register_displays()
