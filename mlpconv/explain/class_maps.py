"""Class maps of images: the evidence for and against each class at each position of an image."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mlpconv.arch.class_maps import Grid, class_map_grid, until_class_maps
from mlpconv.arch.cost import last_map
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images, Predictor
from mlpconv.errors import DataError

MAX_INPUT_PIXELS = 16_000_000
"""Largest input of the network for dense maps of one image; above it, the first layers alone would use gigabytes."""

Positions = npt.NDArray[np.float64]
"""Positions along one axis of an image, in pixels."""


class _Fields(NamedTuple):
    before: Floats
    rectified: bool
    class_names: tuple[str, ...]
    names: list[str]
    images: Images
    rows: Positions
    columns: Positions
    receptive_field: tuple[float, float] | None = None


class Box(NamedTuple):
    """A rectangle on an image, in pixels; pixel i extends from i to i + 1."""

    left: float
    top: float
    right: float
    bottom: float


class ClassMaps(_Fields):
    """The class maps of N images.

    Attributes:
        before: float32 (N, classes, h, w), the maps before the last ReLU: evidence for a class is positive, evidence
            against it negative.
        rectified: Whether the network has a ReLU after its maps.
        class_names: The name of each class.
        names: The name of each image.
        images: uint8 (N, H, W, C), the images that the network received.
        rows: (h,), the vertical positions of the maps on the images, in pixels.
        columns: (w,), the horizontal positions.
        receptive_field: (height, width) of the pixels that a position depends on, around the position; it may be
            larger than the images. None for maps that were stored without it.
    """

    @property
    def after(self) -> Floats:
        """The maps after the last ReLU, which removes evidence against a class: float32 (N, classes, h, w)."""
        return np.maximum(self.before, 0) if self.rectified else self.before

    @property
    def logits(self) -> Floats:
        """The mean of each map after the last ReLU: float32 (N, classes)."""
        return self.after.mean(axis=(2, 3))

    def difference(self, label: int, against: int) -> Floats:
        """The map of one class minus that of another, after the last ReLU: float32 (N, h, w).

        Its mean is the difference of the two logits: it decomposes why the network prefers one class to the other.

        Args:
            label: The number of the class whose evidence is positive.
            against: The number of the class whose evidence is negative.
        """
        after = self.after
        return after[:, label] - after[:, against]

    def place(self, row: int, column: int) -> tuple[float, float]:
        """The center (x, y) of a position of the maps, in pixels of the images, moved to the edge if it is outside."""
        height, width = self.images.shape[1:3]
        return float(np.clip(self.columns[column], 0, width)), float(np.clip(self.rows[row], 0, height))

    def field_of(self, row: int, column: int) -> Box | None:
        """The part of the images that a position depends on; None if the receptive field is not known."""
        if self.receptive_field is None:
            return None
        height, width = self.images.shape[1:3]
        tall, wide = (side / 2 for side in self.receptive_field)
        y, x = self.rows[row], self.columns[column]
        left, right = (float(np.clip(edge, 0, width)) for edge in (x - wide, x + wide))
        top, bottom = (float(np.clip(edge, 0, height)) for edge in (y - tall, y + tall))
        return Box(left, top, right, bottom)

    def over_images(self, maps: Floats | None = None) -> Floats:
        """Enlarge maps to the size of the images.

        Args:
            maps: float32 (…, h, w); by default ``before``.

        Returns:
            float32 (…, H, W): bilinear between the positions, constant outside the outermost ones.
        """
        values = self.before if maps is None else maps
        down = interpolation(self.rows, self.images.shape[1])
        across = interpolation(self.columns, self.images.shape[2])
        return (down @ values @ across.T).astype(np.float32)


def class_maps(
    model: Predictor,
    network: Network,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    images: Images,
    names: list[str],
    *,
    dense: bool = False,
) -> ClassMaps:
    """Compute the map of every class for each image.

    Args:
        model: The trained network in a back end.
        network: The network; it has to end in GlobalAvgPool2d, Flatten.
        preprocess: How images become the network's input.
        class_names: The name of each class.
        images: uint8 (N, H, W, C).
        names: The name of each image.
        dense: Keep the size of the images, with pixels as large as those of a training image, so that a large image
            gives large maps.

    Raises:
        NetworkError: The network has no class maps, or the images are too small for it.
        DataError: The images are too large to process.
    """
    _, rectified = until_class_maps(network)
    height, width = images.shape[1:3]
    size = dense_input_size(preprocess, height, width) if dense else None
    before = model.class_maps(images, size)
    input_size, fit = size or (preprocess.size, preprocess.size), "squash" if dense else preprocess.fit
    rows, columns = positions_on_image(
        class_map_grid(network), before.shape[2:], input_size=input_size, image_size=(height, width), fit=fit
    )
    field = receptive_field(network, input_size, (height, width), fit)
    return ClassMaps(before, rectified, class_names, names, images, rows, columns, field)


def receptive_field(
    network: Network, input_size: tuple[int, int], image_size: tuple[int, int], fit: str
) -> tuple[float, float]:
    """(height, width) in pixels of an image of what a position of the class maps depends on.

    Args:
        network: The network.
        input_size: (height, width) of the network's input.
        image_size: (height, width) of the image.
        fit: How the image was brought to the size of the input: "squash", "crop" or "pad".

    Raises:
        NetworkError: The network has no class maps.
    """
    last = last_map(until_class_maps(network)[0])
    assert last is not None  # the class maps themselves are maps
    resized = resized_sides(image_size, fit)
    return last.size[0] * resized[0] / input_size[0], last.size[1] * resized[1] / input_size[1]


def dense_preprocess(preprocess: Preprocess) -> Preprocess:
    """How image files are read for dense maps: at their own size."""
    return msgspec.structs.replace(preprocess, fit="squash", source_size=None)


def dense_input_size(preprocess: Preprocess, height: int, width: int) -> tuple[int, int]:
    """(height, width) of the network's input for an image whose pixels are as large as those of a training image."""
    down, across = (preprocess.size / side for side in preprocess.image_size)
    size = round(height * down), round(width * across)
    if size[0] * size[1] > MAX_INPUT_PIXELS:
        raise DataError(
            f"an image of {height}×{width} gives the network an input of {size[0]}×{size[1]}, more than "
            f"{MAX_INPUT_PIXELS:,} pixels; make the image smaller"
        )
    return size


def strongest(values: Floats) -> tuple[int, int]:
    """(row, column) of the highest value of a map (h, w)."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return int(row), int(column)


def interpolation(positions: Positions, side: int) -> Floats:
    """The matrix (side, positions) of linear interpolation from ``positions`` to the centers of ``side`` pixels."""
    centers = np.arange(side) + 0.5
    units = np.eye(len(positions))
    return np.stack([np.interp(centers, positions, unit) for unit in units], axis=1).astype(np.float32)


def positions_on_image(
    grid: Grid, map_size: tuple[int, ...], *, input_size: tuple[int, int], image_size: tuple[int, int], fit: str
) -> tuple[Positions, Positions]:
    """The positions of a map on an image.

    Args:
        grid: The positions of the map on the network's input.
        map_size: (h, w) of the map.
        input_size: (height, width) of the network's input.
        image_size: (height, width) of the image.
        fit: How the image was brought to the size of the input: see ``Preprocess``.

    Returns:
        The vertical positions (h,) and the horizontal ones (w,), in pixels of the image.
    """
    resized = resized_sides(image_size, fit)

    def along(axis: int) -> Positions:
        margin = (resized[axis] - image_size[axis]) / 2
        on_input = grid.first[axis] + grid.stride[axis] * np.arange(map_size[axis])
        return on_input * resized[axis] / input_size[axis] - margin

    return along(0), along(1)


def resized_sides(image_size: tuple[int, int], fit: str) -> tuple[int, int]:
    """(height, width) in pixels of the image of what becomes the network's input: see ``positions_on_image``."""
    if fit == "squash":
        return image_size
    square = min(image_size) if fit == "crop" else max(image_size)
    return square, square
