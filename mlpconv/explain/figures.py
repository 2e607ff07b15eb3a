"""Class maps as pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlpconv.drawing.fonts import font_families
from mlpconv.explain.class_maps import AGAINST, FOR, ClassMaps, enlarged, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 224
"""Pictures are shown at least this large, so that maps are smooth where pixels are few."""


def map_limit(maps: ClassMaps, index: int, classes: Sequence[int]) -> float:
    """The strongest evidence for or against one of the classes, above 0: the end of the colour bar."""
    return float(np.abs(maps.before[index, list(classes)]).max()) or 1.0


def overlay_figure(maps: ClassMaps, index: int, classes: Sequence[int]) -> "Figure":
    """One image, and over it the maps of ``classes`` with a colour bar: before the last ReLU, where evidence against a
    class is seen too, and where the network has that ReLU, behind it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    kinds = {"before the last ReLU": maps.before, "behind it: its mean is the logit": maps.after}
    if not maps.rectified:
        kinds = {"its mean is the logit": maps.before}
    limit = map_limit(maps, index, classes)
    height, width = maps.images.shape[1:3]
    columns = len(classes) + 1
    size = (2.3 * columns + 1.2, (2.3 * height / width + 0.5) * len(kinds) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(kinds), columns, squeeze=False)
    picture = enlarged(maps.images[index], PIXELS)
    for row, (kind, values) in enumerate(kinds.items()):
        _plain(panels[row, 0], picture, "" if row else "the picture")
        panels[row, 0].set_ylabel(kind)
        over = maps.over_images(values[index : index + 1])[0]
        for column, label in enumerate(classes, 1):
            title = f"{maps.class_names[label]}\nlogit {maps.logits[index, label]:.2f}"
            image = overlay(picture, enlarged(over[label][..., None], PIXELS)[..., 0], limit)
            _plain(panels[row, column], image, "" if row else title)
    colours = LinearSegmentedColormap.from_list("evidence", [_share(AGAINST), (1, 1, 1), _share(FOR)])
    shown = ScalarMappable(Normalize(-limit, limit), colours)
    figure.colorbar(shown, ax=panels, label="against the class  –  for it", fraction=0.02)
    return figure


def paper_figure(maps: ClassMaps, labels: npt.NDArray[np.int64], classes: Sequence[int]) -> "Figure":
    """The figure of the paper: a line for each image, with the maps of ``classes`` behind the last ReLU side by side as
    they are, the true class framed. labels: int64 (N,). Each line has its own scale, from 0 to its largest value."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    count, columns = len(maps.images), len(classes) + 1
    figure = Figure(figsize=(0.95 * columns + 0.8, 0.95 * count + 0.9), layout="constrained")
    panels = figure.subplots(count, columns, squeeze=False)
    after = np.maximum(maps.before, 0)
    for row in range(count):
        _plain(panels[row, 0], enlarged(maps.images[row]), "")
        most = float(after[row, list(classes)].max()) or 1.0
        for column, label in enumerate(classes, 1):
            axes = panels[row, column]
            _plain(axes, after[row, label], "" if row else maps.class_names[label], 8, most)
            if label == labels[row]:
                axes.spines[:].set(visible=True, color="red", linewidth=2.5)
        _write(panels[row, 0].set_ylabel, maps.class_names[labels[row]], 8)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), "magma"), ax=panels, label="evidence for the class", shrink=0.6
    )
    bar.set_ticks([0, 1], labels=["none", "most of\nthe line"])
    return figure


def _plain(axes: "Axes", image: np.ndarray, title: str, size: float = 9, most: float = 1) -> None:
    grey = image.ndim == 3 and image.shape[2] == 1
    if image.dtype == np.uint8:
        axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(image, cmap="magma", vmin=0, vmax=most, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        _write(axes.set_title, title, size)


def _write(setter, text: str, size: float) -> None:
    """A name that the user gave: in any script, and a $ in it begins no formula."""
    setter(text, family=font_families(text), parse_math=False, fontsize=size)


def _share(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255
