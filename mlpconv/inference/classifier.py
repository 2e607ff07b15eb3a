"""A trained network in use: from images to class names and probabilities."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.cost import Memory, prediction_memory
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import show
from mlpconv.backends.base import Floats, Images, Predictor
from mlpconv.backends.registry import DEFAULT_BACKEND, available_backend, get_backend
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.folders.workers import read_images
from mlpconv.data.image import looks_inverted
from mlpconv.errors import DataError, RunError, WeightsError
from mlpconv.explain.class_maps import ClassMaps, class_maps, dense_preprocess
from mlpconv.formatting import format_bytes
from mlpconv.inference import onnx_model
from mlpconv.runs.classifier_file import SUFFIX, StoredClassifier, read_classifier
from mlpconv.runs.run import Run
from mlpconv.training.forecast import CPU_ALLOWANCE, SCRATCH_BYTES
from mlpconv.training.metrics import Evaluation, evaluate, softmax

MAX_BATCH = 256
"""The most images that are classified at once."""
_RESIZED_BYTES = 4
"""Bytes of one value while images are resized."""
_COPIES, _FLOAT_COPIES = 3, 2
"""How often the pictures of a batch are in memory: as they were read, joined and inverted; and as floats."""

_UNCHECKED_BYTES = 64 << 20
"""A call that needs less memory does not find out how much is free, which may take longer than classifying an image."""

ImagesOrFiles = Images | str | Path | Sequence[str | Path]
"""Images as uint8 (N, H, W, C), an image file, or a sequence of image files."""


class Guess(NamedTuple):
    """A class and its probability."""

    label: str
    probability: float


class Prediction(NamedTuple):
    """The most probable classes of one image."""

    file: str
    """The image file, or the index of an image in an array."""
    top: list[Guess]
    """The most probable class first."""
    looks_inverted: bool
    """Whether the image is dark on light and the training images are light on dark, or the other way round."""


def make_prediction(
    stored: StoredClassifier, name: str, image: np.ndarray, probabilities: Floats, top: int
) -> Prediction:
    """The most probable classes of an image.

    Args:
        stored: The classifier.
        name: The image's file, or its index.
        image: uint8 (H, W, C).
        probabilities: Those of the classes, (classes,).
        top: The number of classes to return.
    """
    order, background = np.argsort(-probabilities, kind="stable")[:top], stored.background
    guesses = [Guess(stored.class_names[label], float(probabilities[label])) for label in order]
    return Prediction(name, guesses, background is not None and looks_inverted(image, background))


class Predictions(list[Prediction]):
    """A list of predictions with their images, which a notebook shows as pictures.

    Attributes:
        images: uint8 (N, H, W, C), the images that the network received.
    """

    def __init__(self, predictions: Iterable[Prediction], images: Images) -> None:
        super().__init__(predictions)
        self.images = images


def is_file(source: str | Path) -> bool:
    """Whether a path names a single file and not a run directory."""
    path = Path(source)
    return not path.is_dir() and (path.suffix in (SUFFIX, onnx_model.SUFFIX) or path.is_file())


class Classifier:
    """A trained network with its preprocessing and class names.

    Args:
        source: A Run, the path of a run directory or of a classifier's ``.safetensors`` or ``.onnx`` file, or "latest"
            for the newest run in ./runs. An ``.onnx`` file resizes images in an array as it resizes those of files.
        backend: The back end that computes; by default the one in which a run was trained. For an ``.onnx`` file:
            "onnxruntime" or "openvino"; by default OpenVINO on a CPU if it is installed.
        device: The device, as the back end names it; by default a GPU if there is one.
        precision: "float32" or "bfloat16"; by default the fastest one.
        max_pixels: The most pixels that an image file may have; by default as in training.

    Raises:
        RunError: There is no such run or classifier.
        WeightsError: The weights do not fit the network.

    Example:
        >>> import mlpconv
        >>> digits = mlpconv.load_dataset("digits")
        >>> classifier = mlpconv.Classifier(mlpconv.train("fast", data=digits, epochs=1, image_size=16))
        >>> classifier.logits(digits.test.images[:5]).shape  # (images, classes)
        (5, 10)
        >>> classifier.class_maps(digits.test.images[:5]).after.shape  # (images, classes, height, width)
        (5, 10, 4, 4)
        >>> accuracy = classifier.evaluate(digits.test).accuracy
    """

    stored: StoredClassifier
    """The network, preprocessing, class names and weights; those of an ONNX file stay in it."""
    model: Predictor
    """The network in its back end (a `Model`), or in ONNX Runtime."""
    device: str
    """The device that computes."""

    def __init__(
        self,
        source: Run | str | Path,
        *,
        backend: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        if not isinstance(source, Run) and Path(source).suffix == onnx_model.SUFFIX and is_file(source):
            opened = onnx_model.open_onnx(Path(source), engine=backend, device=device, precision=precision)
            self.stored, self.model, self.device = opened.stored, opened, opened.device
            self._free_memory = hardware.available_memory
            self._limit_pixels(max_pixels)
            return
        if not isinstance(source, Run) and is_file(source):
            self.stored, trained_in = read_classifier(Path(source)), DEFAULT_BACKEND
        else:
            run = source if isinstance(source, Run) else Run(source)
            self.stored, trained_in = run.stored(), run.config.backend
        self._limit_pixels(max_pixels)
        engine = get_backend(backend or available_backend(trained_in))
        self.device, chosen = engine.choose(device, precision)
        self._free_memory = lambda: engine.available_memory(self.device)
        model = engine.build(self.stored.network, self.stored.preprocess, precision=chosen, device=self.device)
        model.load_weights(self.stored.weights)
        self.model = model

    def _limit_pixels(self, max_pixels: int | None) -> None:
        """Set the most pixels that an image file may have, and check that there is memory for an image."""
        if max_pixels is not None:
            preprocess = msgspec.structs.replace(self.stored.preprocess, max_pixels=max_pixels)
            self.stored = self.stored._replace(preprocess=preprocess)
        _check_memory(self.stored)

    @property
    def path(self) -> Path:
        """The run directory, or the classifier or ONNX file."""
        return self.stored.path

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.stored.class_names

    @property
    def file_preprocess(self) -> Preprocess:
        """How image files are read for this classifier: all are resized to one size."""
        stored = self.stored.preprocess
        if stored.source_size:
            return stored
        # Trained on images of different sizes: use the size of the network's input.
        return msgspec.structs.replace(stored, source_size=(stored.size, stored.size))

    @property
    def batch_size(self) -> int:
        """How many image files of this classifier's size fit the memory that is free now, from 1 to ``MAX_BATCH``."""
        height, width = self.file_preprocess.source_size or (0, 0)
        return self._batch_that_fits(height, width)

    def _batch_that_fits(self, height: int, width: int) -> int:
        free = self._free_memory()
        if free is None:
            return MAX_BATCH
        enough = max(free - SCRATCH_BYTES, free // 2)
        return int(min(max(enough // self._image_bytes(height, width), 1), MAX_BATCH))

    def _image_bytes(self, height: int, width: int) -> float:
        """The memory in bytes in which an image of this size is classified."""
        picture = height * width * self.stored.preprocess.channels
        memory = self._memory
        each = memory.activations + memory.batch + picture * (_COPIES + _FLOAT_COPIES * _RESIZED_BYTES)
        return CPU_ALLOWANCE * each

    @cached_property
    def _memory(self) -> Memory:
        return prediction_memory(self.stored.network)

    def logits(self, images: Images) -> Floats:
        """Compute the logits, float32 (N, classes), of images, uint8 (N, H, W, C).

        Raises:
            DataError: The array has another type or shape.
            WeightsError: The logits are not finite.
        """
        images = self._checked(images)
        batch = together = min(len(images), MAX_BATCH)
        if together * self._image_bytes(*images.shape[1:3]) > _UNCHECKED_BYTES:
            batch = self._batch_that_fits(*images.shape[1:3])
        if batch < together:
            parts = (images[start : start + batch] for start in range(0, len(images), batch))
            logits = np.concatenate([self.model.logits(part) for part in parts])
        else:
            logits = self.model.logits(images)
        if not np.isfinite(logits).all():
            raise WeightsError(
                f"{self.path}: the network's outputs are not finite; the weights are damaged, or those of a run that "
                "diverged"
            )
        return logits

    def _checked(self, images: Images) -> Images:
        channels = self.stored.preprocess.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels or not len(images):
            raise DataError(
                f"images: expected uint8 (N, H, W, {channels}), N at least 1; received {images.dtype} {images.shape}"
            )
        return images

    def predict(self, images: ImagesOrFiles, *, top: int = 3, invert: bool = False) -> Predictions:
        """Classify images.

        Args:
            images: uint8 (N, H, W, C), an image file, or a sequence of image files.
            top: The number of most probable classes to return for each image.
            invert: Swap light and dark first.

        Raises:
            DataError: An array has the wrong type or shape, or a file cannot be read.
        """
        names, pixels = self._read(images, "predict", self.file_preprocess)
        pixels = 255 - pixels if invert else pixels
        probabilities = softmax(self.logits(pixels))
        rows = zip(names, pixels, probabilities, strict=True)
        return Predictions((make_prediction(self.stored, *row, top) for row in rows), pixels)

    def class_maps(self, images: ImagesOrFiles, *, dense: bool = False, invert: bool = False) -> ClassMaps:
        """Compute the map of every class for each image. The mean of a map after the last ReLU is the class's logit.

        Args:
            images: uint8 (N, H, W, C), an image file, or a sequence of image files.
            dense: Keep the size of the images, with pixels as large as those of a training image, so that a large
                image gives large maps.
            invert: Swap light and dark first.

        Raises:
            NetworkError: The network has no class maps, or the images are too small for it.
            DataError: Images cannot be read, have different sizes, or are too large to process.
        """
        stored = self.stored
        until_class_maps(stored.network)  # raises before any file is read
        preprocess = dense_preprocess(stored.preprocess) if dense else self.file_preprocess
        names, pixels = self._read(images, "class_maps", preprocess)
        pixels = self._checked(255 - pixels if invert else pixels)
        return class_maps(self.model, stored.network, stored.preprocess, self.class_names, pixels, names, dense=dense)

    def _read(self, images: ImagesOrFiles, caller: str, preprocess: Preprocess) -> tuple[list[str], Images]:
        """The name of each image (its index or its file), and the images."""
        if isinstance(images, np.ndarray):
            return [str(index) for index in range(len(images))], images
        files = [images] if isinstance(images, str | Path) else images
        if not len(files):
            raise DataError(f"{caller}: no images given")
        pixels = []
        for image in read_images(files, preprocess):
            if isinstance(image, DataError):
                raise image
            pixels.append(image)
        if len({image.shape for image in pixels}) > 1:
            raise DataError(f"{caller}: the images have different sizes; give them one at a time")
        return [str(file) for file in files], np.stack(pixels)

    def evaluate(self, dataset: ImageDataset) -> Evaluation:
        """Measure loss, accuracy and confusion matrix on labeled images.

        Raises:
            DataError: The data set has other classes.
        """
        if dataset.class_names != self.class_names:
            raise DataError(
                f"{dataset.name}: its classes are {', '.join(dataset.class_names)}; "
                f"those of the network of {self.path} are {', '.join(self.class_names)}"
            )
        return evaluate(self.logits(dataset.images), dataset.labels)


def _check_memory(stored: StoredClassifier) -> None:
    """Raise RunError if there is not enough memory to classify a single image."""
    preprocess, free = stored.preprocess, hardware.available_memory()
    height, width = preprocess.image_size
    # The picture as it is read, and as the resizing computes with it.
    picture = height * width * preprocess.channels * (1 + _RESIZED_BYTES)
    needed = prediction_memory(stored.network).total + picture
    if free is not None and needed > free:
        raise RunError(
            f"{stored.path}: classifying one image of {show(stored.network.input_shape)}, read as {height}×{width}, "
            f"needs {format_bytes(needed)} of memory, and {format_bytes(free)} are free; use a smaller image size, or "
            "check where the file comes from"
        )
