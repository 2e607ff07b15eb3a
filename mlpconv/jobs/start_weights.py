"""Start from the weights of another run: from all of them, or from all but the last block's."""

from pathlib import Path

import msgspec

from mlpconv.arch.network import Block, Network
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import head
from mlpconv.errors import RecipeError, RunError
from mlpconv.inference.classifier import is_file
from mlpconv.models import list_models, shipped_weights
from mlpconv.runs.classifier_file import StoredClassifier, read_classifier
from mlpconv.runs.run import START, Run
from mlpconv.training.automatic import AUTO
from mlpconv.training.recipe import Recipe


def read_start(source: str, run: Path | None = None) -> tuple[StoredClassifier, str]:
    """A classifier to start from, and the name of its model.

    Args:
        source: A run, a classifier's file, or the name of a network whose start weights come with the package.
        run: The directory of the run that started from it, if there is one. It keeps a copy of the classifier, so that
            the source may be gone or be trained further.

    Returns:
        The classifier, and what ``create_model`` takes to build its network again; empty if that is not known.
    """
    if run and (copy := run / START).exists():
        return read_classifier(copy), Run(run).config.recipe.model
    if (shipped := shipped_weights(source)) is not None:
        return read_classifier(shipped, float16=True), source
    if is_file(source):
        stored = read_classifier(Path(source))
        return stored, stored.network.name if stored.network.name in list_models() else ""
    other = Run(source)
    return other.stored(), other.config.recipe.model


def resolve_pretrained(recipe: Recipe, run: Path | None = None) -> tuple[Recipe, StoredClassifier | None]:
    """Read the classifier that ``recipe.pretrained`` names.

    Args:
        recipe: The recipe. Where it leaves the network open, the classifier's network and image size are taken.
        run: As ``read_start`` takes it.

    Returns:
        The recipe, and the classifier; None if the recipe names none.
    """
    if not recipe.pretrained:
        return recipe, None
    stored, model = read_start(recipe.pretrained, run)
    if recipe.model == AUTO:
        if not model:
            raise RecipeError(f"--pretrained {recipe.pretrained}: of no registered network; name it with --model")
        size = recipe.image_size or stored.preprocess.size
        recipe = msgspec.structs.replace(recipe, model=model, image_size=size)
    return recipe, stored


def start_from(stored: StoredClassifier, network: Network, weights: Weights | None = None) -> dict[str, Floats]:
    """Replace the weights of all layers before the last block by those of another classifier.

    Args:
        stored: The other classifier.
        network: The network of ``weights``.
        weights: Its first weights; None only to check that the networks agree.

    Raises:
        RunError: The networks differ before the last block.
    """
    last = head(network)
    if last != head(stored.network) or _layers_before(network, last) != _layers_before(stored.network, last):
        raise RunError(
            f"--pretrained {stored.path}: its network, {stored.network.name}, differs from {network.name} before the "
            "last block; use its network: leave --model out"
        )
    if stored.network.input_channels != network.input_channels:
        raise RunError(
            f"--pretrained {stored.path}: it was trained on images with {stored.network.input_channels} channels, "
            f"these have {network.input_channels}; pretrain on images with as many channels"
        )
    return {
        name: value if name.split(".")[0] == last else stored.weights[name] for name, value in (weights or {}).items()
    }


def _layers_before(network: Network, last: str) -> list[tuple[str, object]]:
    layers: list[tuple[str, object]] = []
    for name, layer in network.layers.items():
        if name == last:
            break
        layers.append((name, tuple(layer.layers.items()) if isinstance(layer, Block) else layer))
    return layers
