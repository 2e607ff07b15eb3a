"""Start from the weights of another run: from all of them, or from those of all layers before the head."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.head import find_head, layers_before
from mlpconv.arch.layers import AnyLayer
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import head, weight_shapes
from mlpconv.errors import RecipeError, RunError
from mlpconv.inference.classifier import is_file
from mlpconv.models import list_models, shipped_weights
from mlpconv.runs.classifier_file import StoredClassifier, read_classifier
from mlpconv.runs.run import START, Run
from mlpconv.training.automatic import AUTO
from mlpconv.training.head_fit import HeadWeights
from mlpconv.training.recipe import Recipe

FEW_BLOCKS = 3
"""More blocks than these are not named one by one."""
GRAY = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in the gray of a color (ITU-R BT.601), with which pictures become gray."""


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
        if recipe.freeze:
            raise RecipeError("--freeze trains the last block of a trained network; name it: --pretrained RUN")
        return recipe, None
    if recipe.pretrained == "latest":  # which is another run as soon as this one exists
        recipe = msgspec.structs.replace(recipe, pretrained=str(Run("latest").path))
    stored, model = read_start(recipe.pretrained, run)
    if recipe.model == AUTO:
        if not model:
            raise RecipeError(f"--pretrained {recipe.pretrained}: of no registered network; name it with --model")
        size = recipe.image_size or stored.preprocess.size
        recipe = msgspec.structs.replace(recipe, model=model, image_size=size)
    return recipe, stored


class Taken(NamedTuple):
    """What a network takes over from another classifier."""

    layers: tuple[str, ...]
    """The layers with weights, by their full names, that start with its weights."""
    left: tuple[str, ...]
    """Layers with weights before the head that do not, because from there on the networks differ."""
    channels: tuple[int, int]
    """The channels of its images, and of the images here."""
    classes: tuple[str, ...]
    """The classes of the other classifier."""
    kept: tuple[str, ...]
    """The classes whose rows of the last layer the head starts from; empty where its last block mixes classes."""

    @property
    def everything(self) -> bool:
        """Whether all layers before the head are taken over."""
        return not self.left

    def blocks(self) -> str:
        """The blocks and layers that are taken over, in words: "block1 to block4 and block5.conv"."""
        names = dict.fromkeys(name.partition(".")[0] for name in self.layers)
        whole = [name for name in names if not any(each.partition(".")[0] == name for each in self.left)]
        parts = [f"{whole[0]} to {whole[-1]}"] if len(whole) > FEW_BLOCKS else list(whole)
        parts += [name for name in self.layers if name.partition(".")[0] not in whole]
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def compare(stored: StoredClassifier, network: Network, class_names: tuple[str, ...] = ()) -> Taken:
    """What a network takes over from another classifier: the layers from the first one on that agree, up to the head.

    Args:
        stored: The other classifier.
        network: The network.
        class_names: The classes of its images.

    Raises:
        RunError: Not even the first layers agree.
    """
    ours, theirs = _layers_before_head(network), _layers_before_head(stored.network)
    shapes = weight_shapes(network)
    parts_of: dict[str, list[str]] = {}
    for name in shapes:
        parts_of.setdefault(name.rpartition(".")[0], []).append(name)
    taken: list[str] = []
    same = True
    for (name, layer), other in zip(ours.items(), [*theirs.items(), *[("", None)] * len(ours)], strict=False):
        same = (
            same
            and (name, layer) == other
            and all(_fits(stored.weights[part].shape, shapes[part], first=not taken) for part in parts_of.get(name, ()))
        )
        if same and name in parts_of:
            taken.append(name)
    if not taken:
        raise RunError(
            f"--pretrained {stored.path}: the first layers of its network, {stored.network.name}, differ from those of "
            f"{network.name}; use its network: leave --model out"
        )
    left = tuple(name for name in ours if name in parts_of and name not in taken)
    kept = [] if left else [name for name in class_names if name in stored.class_names and _has_rows(stored, network)]
    return Taken(
        tuple(taken), left, (stored.network.input_channels, network.input_channels), stored.class_names, tuple(kept)
    )


def start_from(stored: StoredClassifier, network: Network, weights: Weights) -> dict[str, Floats]:
    """Replace the weights that ``compare`` finds by those of another classifier.

    Args:
        stored: The other classifier.
        network: The network of ``weights``.
        weights: Its first weights.

    Raises:
        RunError: As ``compare``.
    """
    taken = compare(stored, network)
    found = {
        name: stored.weights[name] if name.rpartition(".")[0] in taken.layers else value
        for name, value in weights.items()
    }
    if taken.channels[0] != taken.channels[1]:
        _convert_channels(found, taken.layers, stored.preprocess, network.input_channels)
    return found


def normalization(preprocess: Preprocess, channels: int) -> dict[str, tuple[float, ...]]:
    """The mean and standard deviation of a preprocess for images with another number of channels, by its fields."""
    mean, std = preprocess.mean, preprocess.std
    if len(mean) != channels:
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return {"mean": mean, "std": std}


def head_rows(stored: StoredClassifier, network: Network, class_names: tuple[str, ...]) -> HeadWeights | None:
    """The last layer of another classifier for these classes, zeros for those that it does not know.

    None if it knows none of them, or if its classes share weights in the last block.
    """
    head = find_head(network)
    kept = compare(stored, network, class_names).kept
    if head is None or not kept:
        return None
    weight, bias = (stored.weights[f"{head.first}.{part}"].astype(np.float64) for part in ("weight", "bias"))
    # Of a class that is new, nothing is known: it starts at the mean of the others.
    rows = HeadWeights(np.zeros((len(class_names), weight.shape[1])), np.full(len(class_names), bias.mean()))
    for number, name in enumerate(class_names):
        if name in kept:
            old = stored.class_names.index(name)
            rows.weight[number], rows.bias[number] = weight[old, :, 0, 0], bias[old]
    return rows


def _layers_before_head(network: Network) -> dict[str, AnyLayer]:
    """The layers before the head, without those that predictions skip; before the last block if there is no head."""
    found, last = find_head(network), head(network)
    first = found.first if found else next(name for name, _ in network.walk() if name.partition(".")[0] == last)
    layers = layers_before(network, first)
    return {name: layer for name, layer in layers.items() if not layer.traits.identity_in_evaluation}


def _has_rows(stored: StoredClassifier, network: Network) -> bool:
    """Whether the head of both networks is a single 1×1 convolution, which has a row of weights for each class."""
    ours, theirs = find_head(network), find_head(stored.network)
    if ours is None or ours != theirs or ours.later:
        return False
    return (
        stored.weights[f"{ours.first}.weight"].shape[2:] == (1, 1) == weight_shapes(network)[f"{ours.first}.weight"][2:]
    )


def _fits(theirs: tuple[int, ...], ours: tuple[int, ...], *, first: bool) -> bool:
    """Whether weights of one shape can start weights of another; those of the first layer, with other channels too."""
    if first and len(theirs) == len(ours) == 4 and {theirs[1], ours[1]} == {1, 3}:
        return (theirs[0], *theirs[2:]) == (ours[0], *ours[2:])
    return theirs == ours


def _convert_channels(weights: dict[str, Floats], layers: Sequence[str], preprocess: Preprocess, channels: int) -> None:
    """Convert the weights of the first of these layers between gray and color images, normalized as by
    ``normalization``."""
    layer = layers[0]
    weight = weights[f"{layer}.weight"]
    if channels == 3:  # what the layer computes of a color picture is what it computed of its gray one
        weights[f"{layer}.weight"] = weight * np.array(GRAY, np.float32)[:, None, None]
        return
    # Of a gray picture, what it computed of the same picture with three equal channels.
    new = normalization(preprocess, 1)
    old_mean, old_std = (np.array(each, np.float32)[:, None, None] for each in (preprocess.mean, preprocess.std))
    weights[f"{layer}.weight"] = (weight * (new["std"][0] / old_std)).sum(1, keepdims=True)
    constant = (weight * ((new["mean"][0] - old_mean) / old_std)).sum((1, 2, 3))
    if f"{layer}.bias" in weights:
        weights[f"{layer}.bias"] = weights[f"{layer}.bias"] + constant
    elif len(layers) > 1 and f"{layers[1]}.running_mean" in weights:  # a normalization, which subtracts its mean
        weights[f"{layers[1]}.running_mean"] = weights[f"{layers[1]}.running_mean"] - constant
