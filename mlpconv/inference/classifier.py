"""A trained network in use: images in, names and probabilities out."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.class_maps import class_map_grid, until_class_maps
from mlpconv.arch.network import Preprocess
from mlpconv.backends.base import Floats, Images, Model
from mlpconv.backends.registry import get_backend
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.image import looks_inverted, read_image
from mlpconv.errors import DataError
from mlpconv.explain.class_maps import ClassMaps, place_on_image
from mlpconv.runs.classifier_file import SUFFIX, StoredClassifier, read_classifier
from mlpconv.runs.run import Run
from mlpconv.training.metrics import Evaluation, evaluate, softmax


class Guess(NamedTuple):
    """A class and its probability."""

    label: str
    probability: float


class Prediction(NamedTuple):
    """The likeliest classes of one image, best first. looks_inverted: the image is dark on light and the network learnt
    from light on dark, or the other way round."""

    file: str
    top: list[Guess]
    looks_inverted: bool


class Predictions(list[Prediction]):
    """A list of predictions that a notebook shows as pictures. images: uint8 (N, H, W, C), as the network got them."""

    def __init__(self, predictions: Iterable[Prediction], images: Images) -> None:
        super().__init__(predictions)
        self.images = images

    def _repr_html_(self) -> str:
        # By name: `runs` depends on nothing above it.
        return importlib.import_module("mlpconv.notebook.pictures").predictions_html(self)


def is_file(source: str | Path) -> bool:
    """Whether a path means one file, and not a run directory."""
    path = Path(source)
    return not path.is_dir() and (path.suffix == SUFFIX or path.is_file())


class Classifier:
    """A trained network with its preprocess and class names, of a run or of one file.

    source: a Run, or the path of a run directory or of a classifier's ``.safetensors`` file; "latest" is the newest run
    in ./runs. stored: what it consists of. Raises RunError where there is none, WeightsError where weights are wrong.
    """

    stored: StoredClassifier
    model: Model

    def __init__(
        self,
        source: Run | str | Path,
        *,
        backend: str | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        own = "torch"
        if not isinstance(source, Run) and is_file(source):
            self.stored = read_classifier(Path(source))
        else:
            run = source if isinstance(source, Run) else Run(source)
            self.stored, own = run.stored(), run.config.backend
        engine = get_backend(backend or own)
        place, chosen = engine.choose(device, precision)
        self.device = place
        self.model = engine.build(self.stored.network, self.stored.preprocess, precision=chosen, device=place)
        self.model.load_weights(self.stored.weights)

    @property
    def path(self) -> Path:
        """The run directory or file."""
        return self.stored.path

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.stored.class_names

    @property
    def reading(self) -> Preprocess:
        """How image files are read for it: all to one size."""
        own = self.stored.preprocess
        # Images of different sizes meet at the network's own.
        return own if own.source_size else msgspec.structs.replace(own, source_size=(own.size, own.size))

    def logits(self, images: Images) -> Floats:
        """float32 (N, classes) for uint8 (N, H, W, C). Raises DataError for arrays of another type or shape."""
        return self.model.logits(self._checked(images))

    def _checked(self, images: Images) -> Images:
        channels = self.stored.preprocess.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels or not len(images):
            raise DataError(
                f"images: expected uint8 (N, H, W, {channels}), N at least 1; received {images.dtype} {images.shape}"
            )
        return images

    def predict(
        self, images: Images | str | Path | Sequence[str | Path], *, top: int = 3, invert: bool = False
    ) -> Predictions:
        """The ``top`` likeliest classes of each image: uint8 (N, H, W, C), a file, or a sequence of files.

        invert: turn light and dark around first.
        """
        names, pixels = self._read(images, "predict", self.reading)
        pixels = 255 - pixels if invert else pixels
        chances = softmax(self.logits(pixels))
        background = self.stored.background
        order = np.argsort(-chances, axis=1, kind="stable")[:, :top]
        found = (
            Prediction(
                name,
                [Guess(self.class_names[k], float(row[k])) for k in best],
                background is not None and looks_inverted(image, background),
            )
            for name, image, row, best in zip(names, pixels, chances, order, strict=True)
        )
        return Predictions(found, pixels)

    def class_maps(
        self, images: Images | str | Path | Sequence[str | Path], *, dense: bool = False, invert: bool = False
    ) -> ClassMaps:
        """The map of every class over each image, whose mean behind the last ReLU is the class's logit: uint8
        (N, H, W, C), a file, or a sequence of files.

        dense: leave the images at their own size, each pixel as large as one of a training image, so that a large
        picture gives a large map. Raises NetworkError where the network has no class maps, or the images are too small
        for it; DataError for images that cannot be read, are of different sizes, or are too large to be held.
        """
        preprocess = self.stored.preprocess
        network = self.stored.network
        _, rectified = until_class_maps(network)
        if dense:
            read = msgspec.structs.replace(preprocess, fit="squash", source_size=None)
            names, pixels = self._read(images, "class_maps", read)
        else:
            names, pixels = self._read(images, "class_maps", self.reading)
        pixels = self._checked(255 - pixels if invert else pixels)
        height, width = pixels.shape[1:3]
        size = _dense_size(preprocess, height, width) if dense else None
        before = self.model.class_maps(pixels, size)
        grid = class_map_grid(network)
        target = size or (preprocess.size, preprocess.size)
        shown = place_on_image(grid, before.shape[2:], target, (height, width), "squash" if dense else preprocess.fit)
        return ClassMaps(before, rectified, self.class_names, names, pixels, *shown)

    def _read(
        self, images: Images | str | Path | Sequence[str | Path], what: str, preprocess: Preprocess
    ) -> tuple[list[str], Images]:
        """The name of each image, its place or its file, and all of them as the network gets them."""
        if isinstance(images, np.ndarray):
            return [str(index) for index in range(len(images))], images
        images = [images] if isinstance(images, str | Path) else images
        if not len(images):
            raise DataError(f"{what}: no image was given")
        read = [read_image(path, preprocess) for path in images]
        if len({image.shape for image in read}) > 1:
            raise DataError(f"{what}: the images are of different sizes; give them one at a time")
        return [str(path) for path in images], np.stack(read)

    def evaluate(self, dataset: ImageDataset) -> Evaluation:
        """Loss, accuracy and confusion matrix on labelled images. Raises DataError for other classes."""
        if dataset.class_names != self.class_names:
            raise DataError(
                f"{dataset.name}: its classes are {', '.join(dataset.class_names)}; "
                f"the network of {self.path} knows {', '.join(self.class_names)}"
            )
        return evaluate(self.logits(dataset.images), dataset.labels)


MOST_PIXELS = 16_000_000
"""Of one image at the network's input: beyond, the first maps alone would fill gigabytes."""


def _dense_size(preprocess: Preprocess, height: int, width: int) -> tuple[int, int]:
    """(height, width) of the network's input for an image whose pixels are as large as those of a training image."""
    down, across = (preprocess.size / side for side in preprocess.source_size or (preprocess.size, preprocess.size))
    size = round(height * down), round(width * across)
    if size[0] * size[1] > MOST_PIXELS:
        raise DataError(
            f"an image of {height}×{width} would be {size[0]}×{size[1]} to the network, more than {MOST_PIXELS:,} "
            "pixels; make it smaller first"
        )
    return size
