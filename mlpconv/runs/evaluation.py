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
from mlpconv.runs.files import Natural, decode_json, open_tensors, write_tensors
from mlpconv.training.metrics import Evaluation

FORMAT = 2
"""Files of format 1 are read too: they have no class maps and no probabilities of the true classes."""
EVALUATION = "evaluation.safetensors"
MAX_MISTAKES = 24
"""Number of mistakes that are stored with their pictures."""
MAX_LABEL_ERRORS = 16
"""Number of likely label errors that are stored with their pictures."""
MAX_IMAGE_SIDE = 96
"""Stored images are reduced until no side has more pixels."""
MAX_MAP_SIDE = 48
"""Maps with more rows or columns are not stored, because they would enlarge every run."""
_DOUBTED = "label_errors."
"""How the names of the tensors of label errors start."""


class PictureMaps(NamedTuple):
    """The class maps of M pictures, before the last ReLU."""

    maps: npt.NDArray[np.float32]
    """(M, 2, h, w): the map of the true class, and that of the predicted class."""
    rows: npt.NDArray[np.float64]
    """(h,), the vertical positions of the maps on the pictures, in pixels."""
    columns: npt.NDArray[np.float64]
    """(w,), the horizontal positions."""


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
    given: npt.NDArray[np.float32]
    """(M,), the probabilities of the true classes; -1 in files of format 1, which do not have them."""
    images: Images
    """uint8 (M, H, W, C)."""
    maps: PictureMaps | None = None
    """Their class maps; None if the network has none, or training has not ended."""


class StoredEvaluation(NamedTuple):
    """The evaluation on the test set after ``epoch`` epochs, which took no part in training."""

    epoch: int
    confusion: npt.NDArray[np.int64]
    """(K, K), with a row for each true class and a column for each predicted class."""
    mistakes: Mistakes
    label_errors: Mistakes | None = None
    """The mistakes in which the label is likely wrong, the most likely first; ``predicted`` is the class that the image
    seems to be of. None in files of format 1."""
    label_error_count: int = 0
    """The number of all of these."""
    border: npt.NDArray[np.float64] | None = None
    """(K, 2), the evidence for each class that is in the border of the images: see ``mlpconv.explain.border``. None
    before the end of training, and without class maps."""


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
    label_errors: Natural = 0


def most_confused(class_names: Sequence[str], confusion: Sequence[Sequence[int]], limit: int) -> list[ConfusedPair]:
    """The ``limit`` pairs of classes that are confused most often, by the number of images."""
    pairs = [
        ConfusedPair(class_names[label], class_names[predicted], count, sum(row))
        for label, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and predicted != label
    ]
    return sorted(pairs, key=lambda pair: -pair.mistakes)[:limit]


def to_store(epoch: int, evaluation: Evaluation, dataset: ImageDataset) -> StoredEvaluation:
    """What the report shows of an evaluation after ``epoch`` epochs, without class maps."""
    doubted = label_errors(evaluation)
    return StoredEvaluation(
        epoch,
        evaluation.confusion,
        confident_mistakes(evaluation, dataset),
        _pictures(
            doubted[:MAX_LABEL_ERRORS],
            evaluation._replace(predicted=evaluation.suggested, confidence=evaluation.suggested_confidence),
            dataset,
        ),
        len(doubted),
    )


def label_errors(evaluation: Evaluation) -> npt.NDArray[np.int64]:
    """The indices of the images whose labels are likely wrong, those first whose label has the least probability."""
    doubted = np.flatnonzero(evaluation.suggested >= 0)
    return doubted[np.argsort(evaluation.given[doubted], kind="stable")]


def confident_mistakes(evaluation: Evaluation, dataset: ImageDataset, limit: int = MAX_MISTAKES) -> Mistakes:
    """The ``limit`` misclassified images of a data set whose predicted class has the highest probability."""
    wrong = np.flatnonzero(evaluation.predicted != dataset.labels)
    confidence = np.nan_to_num(evaluation.confidence[wrong])
    return _pictures(wrong[np.argsort(-confidence, kind="stable")[:limit]], evaluation, dataset)


def _pictures(indices: npt.NDArray[np.int64], evaluation: Evaluation, dataset: ImageDataset) -> Mistakes:
    return Mistakes(
        indices,
        dataset.labels[indices],
        evaluation.predicted[indices],
        np.nan_to_num(evaluation.confidence[indices]),
        np.nan_to_num(evaluation.given[indices]),
        _reduced(dataset.images[indices]),
    )


def save(directory: Path, stored: StoredEvaluation) -> None:
    """Store an evaluation for the report. Raises OSError."""
    tensors = {"confusion": stored.confusion, **_tensors(stored.mistakes)}
    if stored.label_errors is not None:
        tensors |= {_DOUBTED + name: values for name, values in _tensors(stored.label_errors).items()}
    if stored.border is not None:
        tensors["border"] = stored.border
    metadata = json.dumps({"format": FORMAT, "epoch": stored.epoch, "label_errors": stored.label_error_count})
    write_tensors(directory / EVALUATION, tensors, {"mlpconv.evaluation": metadata})


def _tensors(mistakes: Mistakes) -> dict[str, np.ndarray]:
    tensors = mistakes._asdict()
    maps = tensors.pop("maps")
    return tensors | (maps._asdict() if maps is not None else {})


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
        if metadata.format > FORMAT:
            raise RunError(f"{path}: written by another mlpconv (format {metadata.format}); update mlpconv")
        confusion = tensors.pop("confusion")
        if metadata.format == 1:
            tensors["given"] = np.full(len(tensors["indices"]), -1, np.float32)
        doubted = {
            name.removeprefix(_DOUBTED): tensors.pop(name) for name in list(tensors) if name.startswith(_DOUBTED)
        }
        border = tensors.pop("border", None)
        mistakes, label_errors = _mistakes(tensors), _mistakes(doubted) if doubted else None
        fits = (
            confusion.shape == (classes, classes)
            and confusion.dtype.kind == "i"
            and confusion.min(initial=0) >= 0
            and _is_valid(mistakes, classes)
            and (label_errors is None or _is_valid(label_errors, classes))
            and (border is None or _are_shares(border, classes))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: not a file that mlpconv wrote ({error}); remove it for a report without mistakes"
        ) from None
    if not fits:
        raise RunError(f"{path}: does not fit the run's {classes} classes; remove it for a report without mistakes")
    return StoredEvaluation(metadata.epoch, confusion, mistakes, label_errors, metadata.label_errors, border)


def _mistakes(tensors: dict[str, np.ndarray]) -> Mistakes:
    """Mistakes from their tensors. Raises KeyError or TypeError if some are missing or unknown."""
    maps = None
    if "maps" in tensors:
        maps = PictureMaps(*(tensors.pop(name) for name in PictureMaps._fields))
    return Mistakes(**tensors, maps=maps)


def _is_valid(mistakes: Mistakes, classes: int) -> bool:
    count = len(mistakes.indices)
    indices, labels, predicted, confidence, given, images, maps = mistakes
    used = np.concatenate([labels, predicted])
    return (
        all(len(values) == count for values in mistakes[:-1])
        and all(values.ndim == 1 for values in mistakes[:5])
        and all(values.dtype.kind == "i" for values in (indices, labels, predicted))
        and all(values.dtype.kind == "f" and bool(np.isfinite(values).all()) for values in (confidence, given))
        and images.dtype == np.uint8
        and images.ndim == 4
        and images.shape[3] in (1, 3)
        and 1 <= min(images.shape[1:3]) <= max(images.shape[1:3]) <= MAX_IMAGE_SIDE
        and indices.min(initial=0) >= 0
        and (not count or (used.min() >= 0 and used.max() < classes))
        and (maps is None or _are_valid(maps, count))
    )


def _are_shares(border: np.ndarray, classes: int) -> bool:
    if border.dtype.kind != "f" or border.shape != (classes, 2):
        return False
    share, peak = border[~np.isnan(border).any(1)].T
    return bool(((share >= 0) & (share <= 1) & (peak >= 0) & (peak < np.inf)).all())


def _are_valid(maps: PictureMaps, count: int) -> bool:
    height, width = len(maps.rows), len(maps.columns)
    return (
        maps.maps.shape == (count, 2, height, width)
        and 1 <= min(height, width) <= max(height, width) <= MAX_MAP_SIDE
        and all(values.dtype.kind == "f" and bool((np.abs(values) < 1e30).all()) for values in maps)
        and maps.rows.ndim == maps.columns.ndim == 1
    )


def _largest(classes: int) -> int:
    """The most bytes of tensors in a stored evaluation."""
    picture = 3 * MAX_IMAGE_SIDE**2 + 2 * 4 * MAX_MAP_SIDE**2 + 5 * 8
    return 8 * (classes**2 + 2 * classes) + (MAX_MISTAKES + MAX_LABEL_ERRORS) * picture + 2 * 8 * MAX_MAP_SIDE


def reduction(height: int, width: int) -> int:
    """The side in pixels of the blocks of an image that become one pixel of the stored image."""
    return -(-max(height, width) // MAX_IMAGE_SIDE)


def _reduced(images: Images) -> Images:
    """Reduce images to the means of square blocks, so that no side is longer than ``MAX_IMAGE_SIDE``."""
    count, height, width, channels = images.shape
    step = reduction(height, width)
    if step == 1:
        return images
    # A side that is shorter than one block becomes one pixel.
    down, across = min(step, height), min(step, width)
    rows, columns = height // down, width // across
    blocks = images[:, : rows * down, : columns * across].reshape(count, rows, down, columns, across, channels)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)
