"""The order of a Keras 3 model's layers, which its HDF5 file of weights does not have.

The file has a group for each layer, named by its class and numbered within the model that contains it:
layers/sequential/layers/conv2d_1. The configuration next to it lists the layers of each model in order.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any


def layer_paths(config: str | bytes) -> list[str]:
    """The paths of all layers in the file of weights, in the order of the model; empty if it does not list them.

    Args:
        config: The content of config.json.

    Raises:
        ValueError: It is not JSON, or nested too deeply.
    """
    try:
        return list(_paths(json.loads(config), "layers"))
    except RecursionError:
        raise ValueError("config.json is nested too deeply") from None


def _paths(model: Any, place: str) -> Iterator[str]:
    numbers: Counter[str] = Counter()
    for layer in _layers(model):
        name = _snake_case(str(layer.get("class_name", "")))
        path = f"{place}/{name}_{numbers[name]}" if numbers[name] else f"{place}/{name}"
        numbers[name] += 1
        yield path
        yield from _paths(layer, f"{path}/layers")


def _layers(model: Any) -> list[Mapping[str, Any]]:
    """The layers of a model or of a layer that is one."""
    config = model.get("config") if isinstance(model, dict) else None
    layers = config.get("layers") if isinstance(config, dict) else None
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _snake_case(name: str) -> str:
    """The name of a class as Keras writes it: BatchNormalization is batch_normalization, Conv2D is conv2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
