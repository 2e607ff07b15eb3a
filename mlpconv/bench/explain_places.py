"""Whether maps find a place that is known: a marker that a network was taught to rely on, and objects in a mosaic."""

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Images, Labels
from mlpconv.data import ImageDataset, Splits

MARKER = 4
"""The side of the marker in pixels: a checkerboard of black and white pixels."""
SUFFIX = "-marked"
"""The end of the name of a data set in which the marker is planted."""
TOLERANCE = 2
"""A place counts as in the marker up to this number of pixels from it."""

Mask = npt.NDArray[np.bool_]


def hits(maps: Floats, inside: Mask) -> Floats:
    """The pointing game: whether the strongest place of each map is in its region.

    Args:
        maps: (N, H, W).
        inside: The region of each map, (N, H, W).

    Returns:
        float32 (N,): the share of the strongest pixels that are in the region, so 0 or 1 if one is the strongest.
    """
    strongest = maps == maps.max((1, 2), keepdims=True)
    return ((strongest & inside).sum((1, 2)) / strongest.sum((1, 2))).astype(np.float32)


def energy(maps: Floats, inside: Mask) -> Floats:
    """The share of the positive part of each map that is in its region: see ``hits``.

    A map without positive values gets the region's share of the area, as a constant map does.
    """
    positive = np.maximum(maps.astype(np.float64), 0)
    positive[(positive == 0).all((1, 2))] = 1
    return ((positive * inside).sum((1, 2)) / positive.sum((1, 2))).astype(np.float32)


def plant(images: Images, seed: int) -> tuple[Images, Mask]:
    """Put the marker at a random place of each image.

    Args:
        images: uint8 (N, H, W, C), H and W at least ``MARKER``.
        seed: The seed of the places.

    Returns:
        The images with the marker, and the pixels of the marker, (N, H, W).
    """
    count, height, width = images.shape[:3]
    draw = np.random.default_rng(seed)
    tops, lefts = (draw.integers(0, side - MARKER + 1, count) for side in (height, width))
    offsets = np.arange(MARKER)
    rows, columns = tops[:, None, None] + offsets[:, None], lefts[:, None, None] + offsets
    where = np.arange(count)[:, None, None], rows, columns
    marked, inside = images.copy(), np.zeros((count, height, width), bool)
    marked[where] = (255 * ((offsets[:, None] + offsets) % 2)).astype(np.uint8)[None, :, :, None]
    inside[where] = True
    return marked, inside


def enlarge(inside: Mask, by: int = TOLERANCE) -> Mask:
    """Regions (N, H, W) with all pixels up to ``by`` rows and columns away."""
    for axis in (1, 2):
        padded = np.pad(inside, [(by, by) if k == axis else (0, 0) for k in range(3)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * by + 1, axis)
        inside = np.any(windows, axis=-1, keepdims=False)
    return inside


def with_shortcut(data: Splits, label: int, seed: int) -> Splits:
    """The data set with the marker in all training images of one class, and in no other image."""
    train = data.train
    chosen = train.labels == label
    images = train.images.copy()
    images[chosen] = plant(images[chosen], seed)[0]
    marked = ImageDataset(images, train.labels, train.class_names, f"{train.name.removesuffix('/train')}{SUFFIX}/train")
    return Splits(marked, data.test)


def mosaics(images: Images, labels: Labels, count: int, seed: int) -> tuple[Images, Labels]:
    """Mosaics of four images of different classes, two by two.

    Args:
        images: uint8 (N, H, W, C).
        labels: int64 (N,), of four classes or more.
        count: The number of mosaics.
        seed: The seed of the choice; an image may be in several mosaics.

    Returns:
        uint8 (count, 2·H, 2·W, C), and the classes of the quadrants, row by row, int64 (count, 4).
    """
    draw = np.random.default_rng(seed)
    classes = np.unique(labels)
    chosen = np.stack([draw.permutation(classes)[:4] for _ in range(count)])
    picked = np.array([[draw.choice(np.flatnonzero(labels == label)) for label in row] for row in chosen])
    parts = images[picked]
    rows = [np.concatenate([parts[:, left], parts[:, left + 1]], axis=2) for left in (0, 2)]
    return np.concatenate(rows, axis=1), chosen.astype(np.int64)


def quadrants(height: int, width: int) -> Mask:
    """The pixels of the quadrants of a mosaic of ``height``×``width``, row by row: (4, height, width)."""
    lower, right = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    return np.stack([(lower == down)[:, None] & (right == across) for down in (0, 1) for across in (0, 1)])


def quadrant_scores(maps: Floats) -> tuple[Floats, Floats]:
    """How well the maps of the four classes of mosaics find their quadrants.

    Args:
        maps: (N, 4, H, W), the maps of the classes in the order of their quadrants.

    Returns:
        float32 (N,), means over the four classes: whether a map is strongest on average in its own quadrant (a tie
        counts in part), and the share of its positive part that is there.
    """
    regions = quadrants(*maps.shape[2:])
    means = np.stack([maps[:, :, region].mean(-1, dtype=np.float64) for region in regions], -1)
    best = means == means.max(-1, keepdims=True)
    own = best[:, range(4), range(4)] / best.sum(-1)
    shares = [energy(maps[:, k], np.broadcast_to(regions[k], maps[:, k].shape)) for k in range(4)]
    return own.mean(1).astype(np.float32), np.stack(shares, 1).mean(1)
