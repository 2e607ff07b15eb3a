"""The head of a network, fitted on the features that frozen layers compute of the training images."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.head import Head, find_head
from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, Images, Model, Weights
from mlpconv.data import ImageDataset
from mlpconv.training.head_fit import Examples, HeadWeights, choose_strength, fit
from mlpconv.training.recipe import Recipe

CHUNK = 256
"""Images whose maps are in memory at once."""
RECTIFIED_IMAGES = 2048
"""The most images for which the maps are kept above 0, where a ReLU follows them."""


class FittedHead(NamedTuple):
    """What a fit found."""

    weights: dict[str, Floats]
    """The canonical weights of the head's layers."""
    strength: float
    """The weight decay that was chosen on held-out features."""
    seen: Examples
    """The training images as the head sees them."""


def examples(model: Model, network: Network, dataset: ImageDataset, *, flips: bool) -> Examples:
    """Images as a head sees them: the means of the maps that it reads.

    Args:
        model: The network with the weights that stay frozen.
        network: Its description, which has a head.
        dataset: The images.
        flips: Whether each image has its mirror image as a second view.
    """
    head = find_head(network)
    assert head is not None
    views = [_features(model, head, dataset.images)]
    if flips:
        views.append(_features(model, head, dataset.images[:, :, ::-1]))
    return Examples(np.stack(views), dataset.labels, dataset.num_classes)


def fit_head(
    model: Model, network: Network, dataset: ImageDataset, recipe: Recipe, prior: HeadWeights | None = None
) -> FittedHead:
    """Fit the head of a network on frozen features; the weight decay is chosen on held-out ones.

    Args:
        model: The network with the weights that stay frozen.
        network: Its description, which has a head.
        dataset: The training images.
        recipe: Its flips are views of the images; its ``balance`` weighs the classes.
        prior: The weights from which the weight decay starts.
    """
    head = find_head(network)
    assert head is not None
    seen = examples(model, network, dataset, flips=bool(recipe.augmentation.flip))
    strength = choose_strength(seen, prior, recipe.balance)
    found = fit(seen, strength, prior, recipe.balance)
    if head.rectified:
        lowest = _lowest(model, head, dataset.images[:RECTIFIED_IMAGES], found)
        # A constant that all logits share does not change the probabilities. With this one, no ReLU is at 0.
        found = found._replace(bias=found.bias - lowest + 0.1 * max(-lowest, 1.0))
    return FittedHead(_canonical(head, model.weights(), found), strength, seen)


def _features(model: Model, head: Head, images: Images) -> npt.NDArray[np.float64]:
    """The means of the maps that the head reads, float64 (N, D)."""
    parts = []
    for start in range(0, len(images), CHUNK):
        maps = model.outputs(np.ascontiguousarray(images[start : start + CHUNK]), head.features)
        parts.append(maps.mean((2, 3), dtype=np.float64))
    return np.concatenate(parts)


def _lowest(model: Model, head: Head, images: Images, found: HeadWeights) -> float:
    """The lowest value of a class map."""
    lowest = np.inf
    for start in range(0, len(images), CHUNK):
        maps = model.outputs(np.ascontiguousarray(images[start : start + CHUNK]), head.features)
        classes = np.tensordot(found.weight, maps, axes=(1, 1)) + found.bias[:, None, None, None]
        lowest = min(lowest, float(classes.min()))
    return lowest


def _canonical(head: Head, weights: Weights, found: HeadWeights) -> dict[str, Floats]:
    """The weights of the head's layers: the classes at the center of the first kernel, the identity in the others."""
    result: dict[str, Floats] = {}
    for name in (head.first, *head.later):
        weight = np.zeros_like(weights[f"{name}.weight"])
        rows, columns = weight.shape[2:]
        weight[:, :, rows // 2, columns // 2] = found.weight if name == head.first else np.eye(len(found.bias))
        bias = found.bias if name == head.first else np.zeros(len(found.bias))
        result |= {f"{name}.weight": weight, f"{name}.bias": bias.astype(np.float32)}
    return result
