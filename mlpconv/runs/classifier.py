"""A trained network in use: images in, names and probabilities out."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.backends.base import Floats, Images, Model, get_backend
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.image import looks_inverted, read_image
from mlpconv.errors import DataError
from mlpconv.runs.run import Run
from mlpconv.runs.stored import SUFFIX, Stored, read_classifier
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

    stored: Stored
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
        channels = self.stored.preprocess.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels or not len(images):
            raise DataError(
                f"images: expected uint8 (N, H, W, {channels}), N at least 1; received {images.dtype} {images.shape}"
            )
        return self.model.logits(images)

    def predict(
        self, images: Images | str | Path | Sequence[str | Path], *, top: int = 3, invert: bool = False
    ) -> Predictions:
        """The ``top`` likeliest classes of each image: uint8 (N, H, W, C), a file, or a sequence of files.

        invert: turn light and dark around first.
        """
        if isinstance(images, np.ndarray):
            names, pixels = [str(index) for index in range(len(images))], images
        else:
            images = [images] if isinstance(images, str | Path) else images
            if not len(images):
                raise DataError("predict: no image was given")
            names = [str(path) for path in images]
            read = [read_image(path, self.reading) for path in images]
            pixels = np.stack(read)
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

    def evaluate(self, dataset: ImageDataset) -> Evaluation:
        """Loss, accuracy and confusion matrix on labelled images. Raises DataError for other classes."""
        if dataset.class_names != self.class_names:
            raise DataError(
                f"{dataset.name}: its classes are {', '.join(dataset.class_names)}; "
                f"the network of {self.path} knows {', '.join(self.class_names)}"
            )
        return evaluate(self.logits(dataset.images), dataset.labels)
