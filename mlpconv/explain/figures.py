"""Figures of class maps, drawn with Matplotlib."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats
from mlpconv.drawing.fonts import font_families
from mlpconv.explain.class_maps import ClassMaps, strongest
from mlpconv.explain.overlay import AGAINST, FOR, enlarge, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_IMAGE_SIDE = 224
"""Images are drawn with at least this number of pixels, so that the maps over small images are smooth."""


Pairs = Sequence[tuple[int, int]]
"""Pairs of different classes, of which the map of the second is subtracted from that of the first."""


def map_limit(maps: ClassMaps, index: int, classes: Sequence[int], pairs: Pairs = ()) -> float:
    """The strongest evidence for or against one of ``classes``, or in a difference: the end of the color bar, above 0.

    Args:
        maps: The maps of N images.
        index: The image.
        classes: The classes.
        pairs: The differences.
    """
    drawn = [maps.before[index, list(classes)], *(maps.difference(*pair)[index] for pair in pairs)]
    return float(max(np.abs(values).max() for values in drawn)) or 1.0


def overlay_figure(maps: ClassMaps, index: int, classes: Sequence[int], pairs: Pairs = ()) -> "Figure":
    """One image, with the maps of ``classes`` drawn over it and a color bar.

    The first row shows the maps before the last ReLU, with the evidence against each class, and in each map the
    strongest place with its receptive field. A second row shows the maps after the ReLU if the network has one. Maps of
    one position cannot show a place: they are drawn as bars.

    Args:
        maps: The maps of N images.
        index: The image.
        classes: The classes to show.
        pairs: Differences to show in the last row: what is for the first class is red, what is for the second is blue.
    """
    if maps.before.shape[2:] == (1, 1):
        return _bars_figure(maps, index, classes, pairs)
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    if maps.rectified:
        rows = {"before the last ReLU": maps.before, "after it: the mean is the logit": maps.after}
    else:
        rows = {"the mean is the logit": maps.before}
    limit = map_limit(maps, index, classes, pairs)
    height, width = maps.images.shape[1:3]
    columns = len(classes) + len(pairs) + 1
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
            if not row:
                _mark_strongest(panels[row, column], maps, maps.before[index, class_index], len(image) / height)
    for column, pair in enumerate(pairs, len(classes) + 1):
        over = maps.over_images(maps.difference(*pair)[index])
        drawn = overlay(image, enlarge(over[..., None], MIN_IMAGE_SIDE)[..., 0], limit)
        _show(panels[-1, column], drawn, _difference_title(maps, index, pair))
        if len(rows) > 1:
            panels[0, column].set_axis_off()
    if maps.receptive_field is not None:
        panels[0, 0].set_xlabel("+ strongest place\ndashed: its receptive field", fontsize=7)
    colors = LinearSegmentedColormap.from_list("evidence", [_fractions(AGAINST), (1, 1, 1), _fractions(FOR)])
    figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), colors), ax=panels, label="against the class  –  for it", fraction=0.02
    )
    return figure


def _difference_title(maps: ClassMaps, index: int, pair: tuple[int, int]) -> str:
    first, second = (maps.class_names[label] for label in pair)
    return f"{first} − {second}\n{maps.logits[index, pair[0]] - maps.logits[index, pair[1]]:+.2f}"


def _mark_strongest(axes: "Axes", maps: ClassMaps, values: Floats, scale: float) -> None:
    """A cross at the strongest place of a map (h, w), and its receptive field, on an image enlarged by ``scale``."""
    from matplotlib.patches import Rectangle

    row, column = strongest(values)
    x, y = (scale * side - 0.5 for side in maps.place(row, column))
    field = maps.field_of(row, column)
    for color, style in (("black", "solid"), ("white", (0, (3, 3)))):
        axes.plot(x, y, "+", color=color, markersize=7, markeredgewidth=2 if color == "black" else 1, clip_on=False)
        if field is not None:
            size = scale * (field.right - field.left), scale * (field.bottom - field.top)
            corner = (scale * field.left - 0.5, scale * field.top - 0.5)
            axes.add_patch(
                Rectangle(corner, *size, fill=False, edgecolor=color, linestyle=style, linewidth=1.2, clip_on=False)
            )


def _bars_figure(maps: ClassMaps, index: int, classes: Sequence[int], pairs: Pairs) -> "Figure":
    """One image, and a bar for the evidence for or against each of ``classes``, and for each difference."""
    from matplotlib.figure import Figure

    height, width = maps.images.shape[1:3]
    count = len(classes) + len(pairs)
    figure = Figure(figsize=(2.3 + 4, max(2.3 * height / width, 0.4 * count) + 0.7), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(2.3, 4))
    _show(panels[0], enlarge(maps.images[index], MIN_IMAGE_SIDE), "image")
    differences = [maps.difference(*pair)[index, 0, 0] for pair in pairs]
    values = np.array([*maps.before[index, list(classes), 0, 0], *differences])
    colors = [_fractions(FOR if value > 0 else AGAINST) for value in values]
    panels[1].barh(range(count), values, color=colors)
    panels[1].axvline(0, color="black", linewidth=0.8)
    panels[1].invert_yaxis()
    names = [maps.class_names[label] for label in classes]
    names += [f"{maps.class_names[first]} − {maps.class_names[second]}" for first, second in pairs]
    panels[1].set_yticks(range(count), names, family=font_families("".join(names)), parse_math=False)
    panels[1].set_xlabel("against the class  –  for it" + (", before the last ReLU" if maps.rectified else ""))
    panels[1].spines[["top", "right"]].set_visible(False)
    return figure


def paper_figure(maps: ClassMaps, labels: npt.NDArray[np.int64], classes: Sequence[int]) -> "Figure":
    """The figure of the paper: a row for each image, with the maps of ``classes`` after the last ReLU side by side.

    Each row has its own scale, from 0 to its largest value. Maps of one position are the cells of one matrix.

    Args:
        maps: The maps of N images.
        labels: int64 (N,), the true classes, which are framed.
        classes: The classes to show.
    """
    if maps.before.shape[2:] == (1, 1):
        return _matrix_figure(maps, labels, classes)
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


def _matrix_figure(maps: ClassMaps, labels: npt.NDArray[np.int64], classes: Sequence[int]) -> "Figure":
    """A matrix of the evidence after the last ReLU: a row for each image, a column for each class."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    after = np.maximum(maps.before[:, list(classes), 0, 0], 0)
    shares = after / np.maximum(after.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    figure = Figure(figsize=(0.6 * len(classes) + 2.4, 0.45 * len(labels) + 1.8), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="magma", vmin=0, vmax=1, aspect="auto")
    shown = [maps.class_names[label] for label in classes]
    rows = [maps.class_names[label] for label in labels]
    family = font_families("".join([*shown, *rows]))
    axes.set_xticks(range(len(shown)), shown, family=family, parse_math=False, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows, family=family, parse_math=False)
    for row, label in enumerate(labels):
        if label in classes:
            corner = (list(classes).index(label) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="red", linewidth=2))
    bar = figure.colorbar(drawn, label="evidence for the class, in one position")
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
