"""Start from what another run has learnt, with a new last block."""

from pathlib import Path

import msgspec

from mlpconv.arch.network import Block, Network
from mlpconv.backends.base import Floats
from mlpconv.backends.weights import head
from mlpconv.errors import RecipeError, RunError
from mlpconv.inference.classifier import is_file
from mlpconv.models import list_models
from mlpconv.runs.classifier_file import StoredClassifier, read_classifier
from mlpconv.runs.run import START, Run
from mlpconv.training.automatic import AUTO
from mlpconv.training.recipe import Recipe


def read_start(source: str, goes_on: Path | None = None) -> tuple[StoredClassifier, str]:
    """A run's or a file's classifier, and the model that it can be made anew by; empty where that is not known.

    goes_on: the directory of a run that began with it and may have it still.
    """
    if goes_on and (kept := goes_on / START).exists():
        return read_classifier(kept), Run(goes_on).config.recipe.model
    if is_file(source):
        stored = read_classifier(Path(source))
        return stored, stored.network.name if stored.network.name in list_models() else ""
    run = Run(source)
    return run.stored(), run.config.recipe.model


def start_from(stored: StoredClassifier, network: Network, weights: dict[str, Floats]) -> dict[str, Floats]:
    """``weights`` with those of ``stored`` in all layers before the last block. Raises RunError where the networks
    differ before it."""
    last = head(network)
    if last != head(stored.network) or _before(network, last) != _before(stored.network, last):
        raise RunError(
            f"--pretrained {stored.path}: its network, {stored.network.name}, differs from {network.name} before the "
            "last block; take its network: leave --model out"
        )
    if stored.network.input_channels != network.input_channels:
        raise RunError(
            f"--pretrained {stored.path}: learnt from images of {stored.network.input_channels} channels, these have "
            f"{network.input_channels}; pretrain on images of the same kind"
        )
    return {name: value if name.split(".")[0] == last else stored.weights[name] for name, value in weights.items()}


def _before(network: Network, last: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, layer in network.layers.items():
        if name == last:
            break
        found.append((name, tuple(layer.layers.items()) if isinstance(layer, Block) else layer))
    return found


def resolve_start(recipe: Recipe, goes_on: Path | None = None) -> tuple[Recipe, StoredClassifier | None]:
    """The recipe with the network and image size of what it starts from, where it leaves them open, and the latter.

    goes_on: as in ``read``.
    """
    if not recipe.pretrained:
        return recipe, None
    stored, model = read_start(recipe.pretrained, goes_on)
    if recipe.model == AUTO:
        if not model:
            raise RecipeError(f"--pretrained {recipe.pretrained}: of no registered network; name it with --model")
        size = recipe.image_size or stored.preprocess.size
        recipe = msgspec.structs.replace(recipe, model=model, image_size=size)
    return recipe, stored
