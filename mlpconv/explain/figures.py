"""Figures of class maps, drawn with Matplotlib."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpconv.drawing.fonts import font_families
from mlpconv.explain.class_maps import ClassMaps
from mlpconv.explain.overlay import AGAINST, FOR, enlarge, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_IMAGE_SIDE = 224
"""Images are drawn with at least this number of pixels, so that the maps over small images are smooth."""


def map_limit(maps: ClassMaps, index: int, classes: Sequence[int]) -> float:
    """The strongest evidence for or against one of ``classes`` in an image: the end of the color bar, above 0."""
    return float(np.abs(maps.before[index, list(classes)]).max()) or 1.0


def overlay_figure(maps: ClassMaps, index: int, classes: Sequence[int]) -> "Figure":
    """One image, with the maps of ``classes`` drawn over it and a color bar.

    The first row shows the maps before the last ReLU, with the evidence against each class. A second row shows them
    after the ReLU if the network has one.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    if maps.rectified:
        rows = {"before the last ReLU": maps.before, "after it: the mean is the logit": maps.after}
    else:
        rows = {"the mean is the logit": maps.before}
    limit = map_limit(maps, index, classes)
    height, width = maps.images.shape[1:3]
    columns = len(classes) + 1
    size = (2.3 * columns + 1.2, (2.3 * height / width + 0.5) * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    image = enlarge(maps.images[index], MIN_IMAGE_SIDE)
    for row, (label, values) in enumerate(rows.items()):
        _show(panels[row, 0], image, "" if row else "image")
        panels[row, 0].set_ylabel(label)
        over = maps.over_images(values[index : index + 1])[0]
        for column, class_index in enumerate(classes, 1):
            title = f"{maps.class_names[class_index]}\nlogit {maps.logits[index, class_index]:.2f}"
            drawn = overlay(image, enlarge(over[class_index][..., None], MIN_IMAGE_SIDE)[..., 0], limit)
            _show(panels[row, column], drawn, "" if row else title)
    colors = LinearSegmentedColormap.from_list("evidence", [_fractions(AGAINST), (1, 1, 1), _fractions(FOR)])
    figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), colors), ax=panels, label="against the class  –  for it", fraction=0.02
    )
    return figure


def paper_figure(maps: ClassMaps, labels: npt.NDArray[np.int64], classes: Sequence[int]) -> "Figure":
    """The figure of the paper: a row for each image, with the maps of ``classes`` after the last ReLU side by side.

    Each row has its own scale, from 0 to its largest value.

    Args:
        maps: The maps of N images.
        labels: int64 (N,), the true classes, which are framed.
        classes: The classes to show.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    count, columns = len(maps.images), len(classes) + 1
    figure = Figure(figsize=(0.95 * columns + 0.8, 0.95 * count + 0.9), layout="constrained")
    panels = figure.subplots(count, columns, squeeze=False)
    after = np.maximum(maps.before, 0)
    for row in range(count):
        _show(panels[row, 0], enlarge(maps.images[row]), "")
        highest = float(after[row, list(classes)].max()) or 1.0
        for column, class_index in enumerate(classes, 1):
            axes = panels[row, column]
            _show(axes, after[row, class_index], "" if row else maps.class_names[class_index], 8, highest)
            if class_index == labels[row]:
                axes.spines[:].set(visible=True, color="red", linewidth=2.5)
        _write(panels[row, 0].set_ylabel, maps.class_names[labels[row]], 8)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), "magma"), ax=panels, label="evidence for the class", shrink=0.6
    )
    bar.set_ticks([0, 1], labels=["none", "highest\nin the row"])
    return figure


def _show(axes: "Axes", image: np.ndarray, title: str, font_size: float = 9, highest: float = 1) -> None:
    """Show an image, uint8, or a map, float with values up to ``highest``."""
    if image.dtype == np.uint8:
        gray = image.ndim == 3 and image.shape[2] == 1
        axes.imshow(image[..., 0] if gray else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(image, cmap="magma", vmin=0, vmax=highest, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        _write(axes.set_title, title, font_size)


def _write(setter: Callable[..., Any], text: str, font_size: float) -> None:
    """Set a user's name as text: in any script, without reading $ as the start of a formula."""
    setter(text, family=font_families(text), parse_math=False, fontsize=font_size)


def _fractions(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
