"""How much of the evidence for each class is in the border of the images: a check for shortcuts.

Objects are usually in the middle of a picture. A class whose evidence is mostly in the border, or gathers at one
place of it, may be recognized by a frame, a caption, a mark in a corner or the background (Geirhos et al. 2020,
arXiv:2004.07780).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Predictor
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import NetworkError
from mlpconv.explain.class_maps import ClassMaps, class_maps, interpolation
from mlpconv.formatting import first_names

CELLS = 6
"""Images are divided into this number of rows and of columns of cells; the outermost cells are the border."""
AREA = 1 - ((CELLS - 2) / CELLS) ** 2
"""The border's share of the area, which is its share of evidence that is spread evenly."""
MOSTLY = 2 / 3
"""From this share on, evidence is mostly in the border."""
GATHERED = 3.3
"""From this multiple of even evidence on, evidence gathers at a cell."""
MIN_SIDE = 3
"""Maps with fewer rows or columns cannot tell the border from the middle."""
MIN_IMAGES = 8
"""Fewer images of a class say little."""
IMAGES_PER_CLASS, MAX_IMAGES = 20, 1000
_VALUES_AT_ONCE = 1 << 24
_BORDER = np.ones((CELLS, CELLS), bool)
_BORDER[1:-1, 1:-1] = False


class BorderEvidence(NamedTuple):
    """The evidence for a class that is in the border of images of the class."""

    share: float
    """The share of the evidence that is in the border."""
    peak: float
    """The most evidence in a cell of the border, as a multiple of evenly spread evidence: the median over the
    images."""

    @property
    def suspicious(self) -> bool:
        """Whether the network may recognize the class by something in the border."""
        return self.share >= MOSTLY or self.peak >= GATHERED


def border_evidence(
    model: Predictor, network: Network, preprocess: Preprocess, *datasets: ImageDataset
) -> list[BorderEvidence | None] | None:
    """The evidence for each class that is in the border.

    Evidence for a class is what its map has more than the maps of all classes on average, and more there than on images
    of other classes on average; only what is above 0 counts. So neither a constant that is added to all maps, which
    changes no prediction, nor what every image gives at a place is evidence. Images that the network does not recognize
    are left out: their maps do not show what it recognizes the class by.

    Args:
        model: The trained network in a back end.
        network: The network.
        preprocess: How images become the network's input.
        datasets: Labeled images of one size. Of each class, some are used, those of the first data sets first. They may
            have been trained on.

    Returns:
        The evidence for each class, None for a class with few images that are recognized, or without evidence; None if
        the network has no class maps, or maps of fewer than 3×3 positions.
    """
    labels: list[npt.NDArray[np.int64]] = []
    own: list[Floats] = []
    recognized: list[npt.NDArray[np.bool_]] = []
    everywhere = np.zeros(())
    maps, step = None, 1
    for dataset, indices in _chosen(datasets):
        start = 0
        while start < len(indices):
            part = indices[start : start + step]
            images = dataset.images[part]
            try:
                maps = class_maps(model, network, preprocess, dataset.class_names, images, [""] * len(images))
            except NetworkError:
                return None
            if min(maps.before.shape[2:]) < MIN_SIDE:
                return None
            above = maps.after - maps.after.mean(1, keepdims=True)
            labels.append(dataset.labels[part])
            own.append(above[np.arange(len(images)), labels[-1]])
            recognized.append(maps.logits.argmax(1) == labels[-1])
            everywhere = everywhere + above.sum(0, dtype=np.float64)
            # So many at a time that they need little memory.
            start, step = start + step, max(1, min(256, _VALUES_AT_ONCE // above[0].size))
    assert maps is not None  # a data set has images
    return _by_class(maps, np.concatenate(own), everywhere, np.concatenate(labels), np.concatenate(recognized))


def _chosen(datasets: Sequence[ImageDataset]) -> list[tuple[ImageDataset, npt.NDArray[np.int64]]]:
    """The images to use of each data set: the first of each class, until there are enough."""
    classes = datasets[0].num_classes
    left = np.full(classes, max(MIN_IMAGES, min(IMAGES_PER_CLASS, MAX_IMAGES // classes)))
    chosen = []
    for dataset in datasets:
        firsts = [np.flatnonzero(dataset.labels == label)[: left[label]] for label in range(classes)]
        left = left - [len(each) for each in firsts]
        chosen.append((dataset, np.concatenate(firsts)))
    return chosen


def _by_class(
    maps: ClassMaps,
    own: Floats,
    everywhere: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    recognized: npt.NDArray[np.bool_],
) -> list[BorderEvidence | None]:
    """The evidence for each class, from the map of the own class of each image (N, h, w), the sum of the maps of each
    class over all images (K, h, w), and whether each image is recognized (N,)."""
    found: list[BorderEvidence | None] = []
    for label, total in enumerate(everywhere):
        mine = labels == label
        others = len(labels) - np.count_nonzero(mine)
        elsewhere = (total - own[mine].sum(0, dtype=np.float64)) / others if others else 0.0
        evidence = np.maximum(own[mine & recognized].astype(np.float64) - elsewhere, 0)
        found.append(in_border(cells(maps, evidence)))
    return found


def cells(maps: ClassMaps, evidence: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The evidence in each cell of the images.

    Args:
        maps: The class maps, whose positions on the images are used.
        evidence: (N, h, w), at each position of the maps, 0 or more; between positions it is interpolated.

    Returns:
        (N, CELLS, CELLS).
    """
    height, width = maps.images.shape[1:3]
    down = _coverage(height) @ interpolation(maps.rows, height)
    across = _coverage(width) @ interpolation(maps.columns, width)
    return down @ evidence @ across.T


def _coverage(side: int) -> npt.NDArray[np.float64]:
    """The share of each pixel that is in each cell of an axis: (CELLS, side)."""
    pixels, bounds = np.arange(side), np.arange(CELLS + 1)[:, None] * side / CELLS
    return np.clip(np.minimum(pixels + 1, bounds[1:]) - np.maximum(pixels, bounds[:-1]), 0, 1)


def in_border(evidence: npt.NDArray[np.float64]) -> BorderEvidence | None:
    """What is in the border of the evidence for a class in each cell of images, (N, CELLS, CELLS)."""
    totals = evidence.sum((1, 2))
    counted = totals > 0  # not the maps of a network that diverged
    if counted.sum() < MIN_IMAGES:
        return None
    border, totals = evidence[counted][:, _BORDER], totals[counted]
    share = border.sum() / totals.sum()
    # The median: a mark is in most images of a class, an object in the border only in some.
    peak = np.median(border / totals[:, None], axis=0).max() * CELLS**2
    return BorderEvidence(float(min(share, 1.0)), float(peak))


def to_array(found: Sequence[BorderEvidence | None] | None) -> npt.NDArray[np.float64] | None:
    """The evidence in the border as a run stores it: (K, 2), share and peak, NaN for None."""
    return None if found is None else np.array([each or (np.nan, np.nan) for each in found], np.float64)


def from_array(stored: npt.NDArray[np.float64] | None) -> list[BorderEvidence | None] | None:
    """What ``to_array`` stores."""
    if stored is None:
        return None
    return [None if np.isnan(share) else BorderEvidence(float(share), float(peak)) for share, peak in stored]


def as_json(
    found: Sequence[BorderEvidence | None] | None, class_names: Sequence[str]
) -> dict[str, dict[str, float] | None] | None:
    """The evidence in the border by the name of the class, as ``--json`` has it; None if it is not known."""
    if found is None:
        return None
    return {
        name: None if each is None else {"share": each.share, "relative": each.share / AREA, "peak": each.peak}
        for name, each in zip(class_names, found, strict=True)
    }


def warning(found: Sequence[BorderEvidence | None] | None, class_names: Sequence[str]) -> str:
    """What is to be known about classes whose evidence is in the border, in sentences; empty if there are none."""
    named = [(name, each) for name, each in zip(class_names, found or (), strict=False) if each is not None]
    mostly = [f"{name} ({each.share:.0%})" for name, each in named if each.share >= MOSTLY]
    gathered = [
        f"{name} ({each.peak:.1f} times as much as evenly spread)"
        for name, each in named
        if each.share < MOSTLY and each.peak >= GATHERED
    ]
    parts = [f"the evidence for {first_names(mostly)} is mostly in the border of the images"] if mostly else []
    if gathered:
        parts.append(f"the evidence for {first_names(gathered)} gathers at one place of the border of the images")
    if not parts:
        return ""
    text = " and ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}. The network may rely on a frame, a mark or the background and not on the "
        "object, and fail on images without it: look at the class maps, and cut off what gives the class away."
    )
