"""A trained network in use: images in, names and probabilities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpconv.backends.base import Floats, Images, Model, get_backend
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.image import looks_inverted, read_image
from mlpconv.errors import DataError
from mlpconv.runs.run import Config, Run
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


class Classifier:
    """The network of a run with its preprocess and class names."""

    run: Run
    model: Model

    def __init__(
        self, run: Run, *, backend: str | None = None, device: str | None = None, precision: str | None = None
    ) -> None:
        self.run, config = run, run.config
        weights = run.weights()
        engine = get_backend(backend or config.backend)
        place, chosen = engine.choose(device, precision)
        self.device = place
        self.model = engine.build(config.make_network(), config.preprocess, precision=chosen, device=place)
        self.model.load_weights(weights)

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.config.data.class_names

    def logits(self, images: Images) -> Floats:
        """float32 (N, classes) for uint8 (N, H, W, C). Raises DataError for arrays of another type or shape."""
        channels = self.config.preprocess.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels or not len(images):
            raise DataError(
                f"images: expected uint8 (N, H, W, {channels}), N at least 1; received {images.dtype} {images.shape}"
            )
        return self.model.logits(images)

    def predict(
        self, images: Images | str | Path | Sequence[str | Path], *, top: int = 3, invert: bool = False
    ) -> list[Prediction]:
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
            preprocess = self.config.preprocess
            read = [read_image(path, preprocess) for path in images]
            pixels = np.stack(read)
        pixels = 255 - pixels if invert else pixels
        chances = softmax(self.logits(pixels))
        order = np.argsort(-chances, axis=1, kind="stable")[:, :top]
        return [
            Prediction(
                name,
                [Guess(self.class_names[k], float(row[k])) for k in best],
                looks_inverted(image, self.config.data.background),
            )
            for name, image, row, best in zip(names, pixels, chances, order, strict=True)
        ]

    def evaluate(self, dataset: ImageDataset) -> Evaluation:
        """Loss, accuracy and confusion matrix on labelled images. Raises DataError for other classes."""
        if dataset.class_names != self.class_names:
            raise DataError(
                f"{dataset.name}: its classes are {', '.join(dataset.class_names)}; "
                f"the network of {self.run.path} knows {', '.join(self.class_names)}"
            )
        return evaluate(self.logits(dataset.images), dataset.labels)
