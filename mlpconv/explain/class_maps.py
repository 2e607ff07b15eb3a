"""Class maps of images: what each place of a picture says for and against each class."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.class_maps import Grid, class_map_grid, until_class_maps
from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends.base import Floats, Images, Model
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import NetworkError, RunError
from mlpconv.runs.files import read_tensors, write_tensors

KEPT = "class_maps.safetensors"
MOST = 8
"""Test images whose maps a run keeps for its report."""
LARGEST = 512
"""Pixels of a side, beyond which none are kept."""
FOR, AGAINST = (202, 0, 32), (5, 113, 176)
"""The colours of evidence for a class and against it."""
STRENGTH = 0.8
"""How much of a picture the strongest evidence covers."""

Places = npt.NDArray[np.float64]


class _Fields(NamedTuple):
    before: Floats
    rectified: bool
    class_names: tuple[str, ...]
    names: list[str]
    images: Images
    rows: Places
    columns: Places


class ClassMaps(_Fields):
    """The class maps of N images. before: float32 (N, classes, h, w), before the last ReLU, evidence for a class above
    0, against it below. rectified: whether the network has that ReLU. names: of the images. images: uint8 (N, H, W, C),
    as the network got them. rows (h,), columns (w,): where the maps' positions lie on the images, in pixels."""

    @property
    def after(self) -> Floats:
        """Behind the last ReLU, which hides what speaks against a class: float32 (N, classes, h, w)."""
        return np.maximum(self.before, 0) if self.rectified else self.before

    @property
    def logits(self) -> Floats:
        """The mean of each map behind the ReLU, float32 (N, classes)."""
        return self.after.mean(axis=(2, 3))

    def over_images(self, maps: Floats | None = None) -> Floats:
        """Maps, by default ``before``, at the images' own size: float32 (…, H, W), bilinear between the positions, and
        beyond the outermost as there."""
        found = self.before if maps is None else maps
        down = interpolation(self.rows, self.images.shape[1])
        across = interpolation(self.columns, self.images.shape[2])
        return (down @ found @ across.T).astype(np.float32)


def interpolation(places: Places, side: int) -> Floats:
    """The matrix (side, positions) that gives each pixel of an axis its share of the positions at ``places``."""
    centres = np.arange(side) + 0.5
    units = np.eye(len(places))
    return np.stack([np.interp(centres, places, unit) for unit in units], axis=1).astype(np.float32)


def place_on_image(
    grid: Grid, count: tuple[int, ...], size: tuple[int, int], side: tuple[int, int], fit: str
) -> tuple[Places, Places]:
    """Where ``count`` (h, w) positions of a grid lie on an image of ``side`` (height, width) that ``fit`` brought to
    the ``size`` of the network's input."""
    square = {"crop": min(side), "pad": max(side)}.get(fit)
    found = []
    for axis in (0, 1):
        whole = square or side[axis]
        margin = (whole - side[axis]) / 2
        places = grid.first[axis] + grid.stride[axis] * np.arange(count[axis])
        found.append(places * whole / size[axis] - margin)
    return found[0], found[1]


def overlay(image: Images, values: Floats, limit: float) -> Images:
    """A picture, uint8 (H, W, C), with values (H, W) over it, red above 0 and blue below, uint8 (H, W, 3).

    limit: the value that is shown strongest, above 0.
    """
    grey = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
    share = (STRENGTH * np.clip(np.abs(values) / limit, 0, 1))[..., None]
    colour = np.where((values > 0)[..., None], np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    return np.rint((1 - share) * grey + share * colour).astype(np.uint8)


def enlarged(image: npt.NDArray[Any], side: int = 112) -> npt.NDArray[Any]:
    """A picture (H, W, C) with each pixel repeated until its longer side has ``side`` pixels or more."""
    times = -(-side // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


class Kept(NamedTuple):
    """Class maps of a few test images, kept for the report. labels, predicted: int64 (N,)."""

    maps: ClassMaps
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


def save(directory: Path, model: Model, network: Network, preprocess: Preprocess, dataset: ImageDataset) -> None:
    """Keep the maps of one test image of each class, up to MOST classes; nothing for a network that has none."""
    try:
        _, rectified = until_class_maps(network)
    except NetworkError:
        return
    firsts = [np.flatnonzero(dataset.labels == label)[:1] for label in range(dataset.num_classes)]
    chosen = np.concatenate(firsts)[:MOST]
    images = dataset.images[chosen]
    if max(images.shape[1:3]) > LARGEST:  # photographs would make every run larger by megabytes
        return
    before = model.class_maps(images)
    size, side = (preprocess.size, preprocess.size), dataset.image_shape[:2]
    places = place_on_image(class_map_grid(network), before.shape[2:], size, side, preprocess.fit)
    write_tensors(
        directory / KEPT,
        {
            "before": before,
            "rectified": np.array(rectified),
            "images": images,
            "indices": chosen,
            "labels": dataset.labels[chosen],
            "rows": places[0],
            "columns": places[1],
        },
        {"format": "1"},
    )


def load(directory: Path, class_names: tuple[str, ...]) -> Kept | None:
    """What was kept, None where nothing was. Raises RunError for a file that is damaged or of another run."""
    path = directory / KEPT
    if not path.exists():
        return None
    found, texts = read_tensors(path)
    wanted = {"before": 4, "rectified": 0, "images": 4, "indices": 1, "labels": 1, "rows": 1, "columns": 1}
    if (
        texts.get("format") != "1"
        or {name: value.ndim for name, value in found.items()} != wanted
        or found["before"].shape[1:] != (len(class_names), len(found["rows"]), len(found["columns"]))
        or len({len(found[name]) for name in ("before", "images", "indices", "labels")}) > 1
        or found["images"].dtype != np.uint8
        or found["images"].shape[3] not in (1, 3)
        or not set(found["labels"].tolist()) <= set(range(len(class_names)))
    ):
        raise RunError(f"{path}: not what mlpconv writes, or of another run; remove it for a report without it")
    maps = ClassMaps(
        found["before"],
        bool(found["rectified"]),
        class_names,
        [str(index) for index in found["indices"]],
        found["images"],
        found["rows"],
        found["columns"],
    )
    return Kept(maps, found["labels"], maps.logits.argmax(1))
