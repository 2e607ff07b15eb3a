"""The newest evaluation of a run, stored for its report: the confusion matrix, and images of the worst mistakes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Images
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import RunError
from mlpconv.runs.files import decode_json, open_tensors, write_tensors
from mlpconv.training.metrics import Evaluation

FORMAT = 1
EVALUATION = "evaluation.safetensors"
MAX_MISTAKES = 24
MAX_IMAGE_SIDE = 96
"""Stored images are reduced until no side has more pixels."""


class Mistakes(NamedTuple):
    """M misclassified test images, the most confident mistake first."""

    indices: npt.NDArray[np.int64]
    """(M,), the indices in the test set."""
    labels: npt.NDArray[np.int64]
    """(M,), the true classes."""
    predicted: npt.NDArray[np.int64]
    """(M,), the predicted classes."""
    confidence: npt.NDArray[np.float32]
    """(M,), the probabilities of the predicted classes."""
    images: Images
    """uint8 (M, H, W, C)."""


class StoredEvaluation(NamedTuple):
    """The evaluation on the test set after ``epoch`` epochs."""

    epoch: int
    confusion: npt.NDArray[np.int64]
    """(K, K), with a row for each true class and a column for each predicted class."""
    mistakes: Mistakes


class ConfusedPair(NamedTuple):
    """Two classes that were confused: images of ``label`` that were classified as ``predicted``."""

    label: str
    predicted: str
    mistakes: int
    """The number of these images."""
    images: int
    """The number of all images of ``label``."""


class _Metadata(msgspec.Struct, frozen=True):
    epoch: int
    format: int


def most_confused(class_names: Sequence[str], confusion: Sequence[Sequence[int]], limit: int) -> list[ConfusedPair]:
    """The ``limit`` pairs of classes that are confused most often, by the number of images."""
    pairs = [
        ConfusedPair(class_names[label], class_names[predicted], count, sum(row))
        for label, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and predicted != label
    ]
    return sorted(pairs, key=lambda pair: -pair.mistakes)[:limit]


def confident_mistakes(evaluation: Evaluation, dataset: ImageDataset, limit: int = MAX_MISTAKES) -> Mistakes:
    """The ``limit`` misclassified images of a data set whose predicted class has the highest probability."""
    wrong = np.flatnonzero(evaluation.predicted != dataset.labels)
    confidence = np.nan_to_num(evaluation.confidence[wrong])
    indices = wrong[np.argsort(-confidence, kind="stable")[:limit]]
    return Mistakes(
        indices,
        dataset.labels[indices],
        evaluation.predicted[indices],
        np.nan_to_num(evaluation.confidence[indices]),
        _reduced(dataset.images[indices]),
    )


def save(directory: Path, epoch: int, evaluation: Evaluation, dataset: ImageDataset) -> None:
    """Store what the report shows of an evaluation after ``epoch`` epochs. Raises OSError."""
    tensors = {"confusion": evaluation.confusion, **confident_mistakes(evaluation, dataset)._asdict()}
    metadata = json.dumps({"format": FORMAT, "epoch": epoch})
    write_tensors(directory / EVALUATION, tensors, {"mlpconv.evaluation": metadata})


def load(directory: Path, classes: int) -> StoredEvaluation | None:
    """The stored evaluation; None if there is none. Raises RunError if the file is damaged or of another run."""
    path = directory / EVALUATION
    if not path.exists():
        return None
    with open_tensors(path) as file:
        if sum(tensor.nbytes for tensor in file.tensors.values()) > _largest(classes):
            raise RunError(f"{path}: too large for an evaluation; remove it for a report without mistakes")
        texts, tensors = file.texts, file.read()
    try:
        metadata = decode_json(texts["mlpconv.evaluation"], _Metadata)
        if metadata.format != FORMAT:
            raise RunError(f"{path}: written by another mlpconv (format {metadata.format}); update mlpconv")
        confusion = tensors.pop("confusion")
        mistakes = Mistakes(**tensors)
        count = len(mistakes.indices)
        classes_used = np.concatenate([mistakes.labels, mistakes.predicted])
        fits = (
            confusion.shape == (classes, classes)
            and all(len(values) == count for values in mistakes)
            and all(values.ndim == 1 for values in mistakes[:4])
            and all(values.dtype.kind == "i" for values in (confusion, *mistakes[:3]))
            and mistakes.confidence.dtype.kind == "f"
            and mistakes.images.dtype == np.uint8
            and mistakes.images.ndim == 4
            and mistakes.images.shape[3] in (1, 3)
            and 1 <= min(mistakes.images.shape[1:3]) <= max(mistakes.images.shape[1:3]) <= MAX_IMAGE_SIDE
            and confusion.min(initial=0) >= 0
            and bool(np.isfinite(mistakes.confidence).all())
            and (not count or (classes_used.min() >= 0 and classes_used.max() < classes))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: not a file that mlpconv wrote ({error}); remove it for a report without mistakes"
        ) from None
    if not fits:
        raise RunError(f"{path}: does not fit the run's {classes} classes; remove it for a report without mistakes")
    return StoredEvaluation(metadata.epoch, confusion, mistakes)


def _largest(classes: int) -> int:
    """The most bytes of tensors in a stored evaluation."""
    return 8 * classes**2 + MAX_MISTAKES * (3 * MAX_IMAGE_SIDE**2 + 4 * 8)


def _reduced(images: Images) -> Images:
    """Reduce images to the means of square blocks, so that no side is longer than ``MAX_IMAGE_SIDE``."""
    _, height, width, channels = images.shape
    step = -(-max(height, width) // MAX_IMAGE_SIDE)
    if step == 1 or not len(images):
        return images
    # A side that is shorter than one block becomes one pixel.
    down, across = min(step, height), min(step, width)
    rows, columns = height // down, width // across
    blocks = images[:, : rows * down, : columns * across].reshape(-1, rows, down, columns, across, channels)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)
