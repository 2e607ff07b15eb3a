"""Draw sample images of each class of a data set."""

from typing import TYPE_CHECKING

import numpy as np

from mlpconv.data.dataset import ImageDataset, shuffled_by_class
from mlpconv.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 2  # between two images, in pixels of the images
_MAX_TILE_PIXELS = 128
_TILE_INCHES = 0.6
_LABEL_INCHES = 1.5
_TITLE_INCHES = 0.5


def sample_sheet(dataset: ImageDataset, *, columns: int = 10, rows: int | None = None, seed: int = 0) -> "Figure":
    """Draw random images of each class, one labeled row per class.

    Args:
        dataset: Images of 1 (gray) or 3 (red, green, blue) channels.
        columns: Number of images per class; the row of a class with fewer images is partly blank.
        rows: Number of classes, starting with the first; by default all, up to 20.
        seed: Seed for the choice of images.

    Returns:
        A matplotlib Figure that is not registered with pyplot; write it with `.savefig(path)`.

    Raises:
        DataError: The images have another number of channels, or columns or rows are less than 1.
    """
    from matplotlib.figure import Figure

    from mlpconv.drawing.fonts import font_families

    if dataset.image_shape[2] not in (1, 3):
        raise DataError(f"{dataset.name}: expected images of 1 or 3 channels, received {dataset.image_shape[2]}")
    if columns < 1 or (rows is not None and rows < 1):
        raise DataError(f"{dataset.name}: expected 1 or more columns and rows, received {columns} and {rows}")
    rows = min(rows or 20, dataset.num_classes)
    columns = min(columns, int(np.bincount(dataset.labels).max()))
    # Large photographs are subsampled, because a sheet of them would fill the memory.
    step = -(-max(dataset.image_shape[:2]) // _MAX_TILE_PIXELS)
    height, width, _ = dataset.images[0, ::step, ::step].shape
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for row, members in enumerate(shuffled_by_class(dataset, seed)[:rows]):
        for column, index in enumerate(members[:columns]):
            top, left = row * (height + _GAP), column * (width + _GAP)
            sheet[top : top + height, left : left + width] = dataset.images[index, ::step, ::step]

    scale = _TILE_INCHES / max(height, width)
    size = (columns * width * scale + _LABEL_INCHES, rows * height * scale + _TITLE_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_title(dataset.name, family=font_families(dataset.name), parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([row * (height + _GAP) + (height - 1) / 2 for row in range(rows)], dataset.class_names[:rows])
    families = font_families("".join(dataset.class_names))
    for label in axes.get_yticklabels():
        label.set_fontfamily(families)
        label.set_parse_math(False)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    return figure
