"""How much of the evidence for each class lies in the border of the images: a check for shortcuts.

Objects are usually in the middle of a picture. A class whose evidence lies mostly in the border may be recognized by a
frame, a caption, a mark in a corner or the background (Geirhos et al. 2020, arXiv:2004.07780).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Model
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import NetworkError
from mlpconv.explain.class_maps import ClassMaps, class_maps, interpolation
from mlpconv.formatting import first_names

RING = 1 / 8
"""The width of the border, as a share of the side of the image."""
AREA = 1 - (1 - 2 * RING) ** 2
"""The border's share of the area, which is its share of evidence that is spread evenly."""
MOSTLY = 2 / 3
"""From this share on, evidence lies mostly in the border."""
MIN_SIDE = 3
"""Maps with fewer rows or columns cannot tell the border from the middle."""
IMAGES_PER_CLASS = 20
_VALUES_AT_ONCE = 1 << 24

Shares = npt.NDArray[np.float64]
"""(K,), the share of each class's evidence that lies in the border; NaN for a class without evidence."""


def border_shares(model: Model, network: Network, preprocess: Preprocess, dataset: ImageDataset) -> Shares | None:
    """The share of the positive evidence for each class, on images of the class, that lies in the border.

    The evidence is the map of the class, less the mean of all maps where no ReLU follows them, because a constant added
    to all logits changes no prediction. Of each class, the first ``IMAGES_PER_CLASS`` images are used.

    Args:
        model: The trained network in a back end.
        network: The network.
        preprocess: How images become the network's input.
        dataset: Labeled images, best those that the network was not trained on.

    Returns:
        The shares; None if the network has no class maps, or maps of fewer than 3×3 positions.
    """
    classes = dataset.num_classes
    border, total = np.zeros(classes), np.zeros(classes)
    chosen = np.concatenate([np.flatnonzero(dataset.labels == label)[:IMAGES_PER_CLASS] for label in range(classes)])
    try:
        for indices, maps in _in_parts(model, network, preprocess, dataset, chosen):
            if min(maps.before.shape[2:]) < MIN_SIDE:
                return None
            labels = dataset.labels[indices]
            in_border, everywhere = evidence(maps, labels)
            np.add.at(border, labels, in_border)
            np.add.at(total, labels, everywhere)
    except NetworkError:
        return None
    with np.errstate(invalid="ignore"):
        return border / total


def _in_parts(
    model: Model, network: Network, preprocess: Preprocess, dataset: ImageDataset, chosen: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], ClassMaps]]:
    """The class maps of some images, of so many at a time that they need little memory."""
    step, start = 1, 0
    while start < len(chosen):
        indices = chosen[start : start + step]
        images = dataset.images[indices]
        maps = class_maps(model, network, preprocess, dataset.class_names, images, [""] * len(images))
        yield indices, maps
        start, step = start + step, max(1, min(256, _VALUES_AT_ONCE // maps.before[0].size))


def evidence(maps: ClassMaps, labels: npt.NDArray[np.int64]) -> tuple[Shares, Shares]:
    """The positive evidence for one class in each of N images.

    Args:
        maps: The class maps.
        labels: The class for each image, (N,).

    Returns:
        The sum over the border of the image, (N,), and over the whole image, (N,), each pixel having the evidence
        between the positions of the map.
    """
    values = maps.before if maps.rectified else maps.before - maps.before.mean(1, keepdims=True)
    own = np.maximum(values[np.arange(len(labels)), labels].astype(np.float64), 0)
    height, width = maps.images.shape[1:3]
    down, across = interpolation(maps.rows, height), interpolation(maps.columns, width)
    everywhere = down.sum(0) @ own @ across.sum(0)
    middle = (_inside(height) @ down) @ own @ (_inside(width) @ across)
    return np.maximum(everywhere - middle, 0), everywhere


def _inside(side: int) -> Shares:
    """The share of each of ``side`` pixels that is not in the border."""
    pixels = np.arange(side)
    first, last = RING * side, (1 - RING) * side
    return np.clip(np.minimum(pixels + 1, last) - np.maximum(pixels, first), 0, 1)


class Suspect(NamedTuple):
    """A class whose evidence lies mostly in the border."""

    name: str
    share: float


def by_class(shares: Shares | None, class_names: Sequence[str]) -> dict[str, float | None] | None:
    """The shares by the name of the class; None for a class without evidence, and if there are no shares."""
    if shares is None:
        return None
    return {name: None if np.isnan(share) else float(share) for name, share in zip(class_names, shares, strict=True)}


def suspects(shares: Shares | None, class_names: Sequence[str]) -> list[Suspect]:
    """The classes whose evidence lies mostly in the border, the highest share first; none without shares."""
    if shares is None:
        return []
    found = [Suspect(name, float(share)) for name, share in zip(class_names, shares, strict=True) if share >= MOSTLY]
    return sorted(found, key=lambda each: -each.share)


def warning(found: Sequence[Suspect]) -> str:
    """What is to be known about classes whose evidence lies mostly in the border; at least one."""
    classes = first_names([f"{each.name} ({each.share:.0%})" for each in found], 10)
    return (
        f"The evidence for {classes} lies mostly in the border of the images, the outer eighth on each side, which is "
        f"{AREA:.0%} of their area. The network may rely on a frame, a mark or the background and not on the object, "
        "and fail on images without it: look at the class maps, and cut off what gives the class away"
    )
