"""The class maps of a few test images, stored in the run directory for the report."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Model
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import NetworkError, RunError
from mlpconv.explain.class_maps import ClassMaps, class_maps
from mlpconv.runs.files import open_tensors, write_tensors

FILE_NAME = "class_maps.safetensors"
MAX_IMAGES = 8
"""Number of test images, one for each class, whose maps are stored."""
MAX_IMAGE_SIDE = 512
"""Maps of images with a longer side are not stored, because they would enlarge every run by megabytes."""
MAX_POSITIONS = 2048
"""More rows or columns than the maps of such an image have."""
_LARGEST = 1e30
"""The largest value of a map, so that their sums are finite too."""
_DIMENSIONS = {"before": 4, "rectified": 0, "images": 4, "indices": 1, "labels": 1, "rows": 1, "columns": 1}
"""The number of dimensions of each tensor."""


class StoredClassMaps(NamedTuple):
    """Class maps of a few test images."""

    maps: ClassMaps
    labels: npt.NDArray[np.int64]
    """The true class of each image."""
    predicted: npt.NDArray[np.int64]
    """The predicted class of each image."""


def save(directory: Path, model: Model, network: Network, preprocess: Preprocess, dataset: ImageDataset) -> None:
    """Store the maps of the first image of each class, for at most ``MAX_IMAGES`` classes.

    Nothing is stored for a network without class maps or for large images. Raises OSError if the file cannot be
    written.
    """
    firsts = [np.flatnonzero(dataset.labels == label)[:1] for label in range(dataset.num_classes)]
    indices = np.concatenate(firsts)[:MAX_IMAGES]
    images = dataset.images[indices]
    if max(images.shape[1:3]) > MAX_IMAGE_SIDE:
        return
    names = [str(index) for index in indices]
    try:
        maps = class_maps(model, network, preprocess, dataset.class_names, images, names)
    except NetworkError:
        return
    write_tensors(
        directory / FILE_NAME,
        {
            "before": maps.before,
            "rectified": np.array(maps.rectified),
            "images": images,
            "indices": indices,
            "labels": dataset.labels[indices],
            "rows": maps.rows,
            "columns": maps.columns,
        },
        {"format": "1"},
    )


def load(directory: Path, class_names: tuple[str, ...]) -> StoredClassMaps | None:
    """The stored maps of a run; None if there are none. Raises RunError if the file is damaged or of another run."""
    path = directory / FILE_NAME
    if not path.exists():
        return None
    damaged = RunError(f"{path}: not a file that mlpconv wrote for this run; remove it for a report without class maps")
    with open_tensors(path) as file:
        if {name: len(tensor.shape) for name, tensor in file.tensors.items()} != _DIMENSIONS:
            raise damaged
        # A map has at most as many positions as its image, and images are limited.
        images = file.tensors["images"].shape
        limits = (MAX_IMAGES, MAX_IMAGE_SIDE, MAX_IMAGE_SIDE, 3)
        positions = max(file.tensors["rows"].shape[0], file.tensors["columns"].shape[0])
        if not all(0 < side <= limit for side, limit in zip(images, limits, strict=True)) or positions > MAX_POSITIONS:
            raise damaged
        texts, tensors = file.texts, file.read()
    if (
        texts.get("format") != "1"
        or tensors["before"].shape[1:] != (len(class_names), len(tensors["rows"]), len(tensors["columns"]))
        or not tensors["before"].size
        or len({len(tensors[name]) for name in ("before", "images", "indices", "labels")}) > 1
        or any(tensors[name].dtype.kind != "f" for name in ("before", "rows", "columns"))
        or any(tensors[name].dtype.kind != "i" for name in ("indices", "labels"))
        or not all((np.abs(tensors[name]) <= _LARGEST).all() for name in ("before", "rows", "columns"))
        or tensors["images"].dtype != np.uint8
        or tensors["images"].shape[3] not in (1, 3)
        or not set(tensors["labels"].tolist()) <= set(range(len(class_names)))
    ):
        raise damaged
    maps = ClassMaps(
        tensors["before"],
        bool(tensors["rectified"]),
        class_names,
        [str(index) for index in tensors["indices"]],
        tensors["images"],
        tensors["rows"],
        tensors["columns"],
    )
    return StoredClassMaps(maps, tensors["labels"], maps.logits.argmax(1))
