"""The newest evaluation of a run, kept for its report: the confusion matrix, and the worst mistakes as pictures."""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Images
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import RunError
from mlpconv.runs.files import decode_json, read_tensors, write_tensors
from mlpconv.training.metrics import Evaluation

FORMAT = 1
EVALUATION = "evaluation.safetensors"
MOST = 24
SIDE = 96
"""Pixels: pictures are made smaller until no side is longer."""


class Mistakes(NamedTuple):
    """M test images that were taken for another class, the surest mistake first.

    indices, labels, predicted: int64 (M,), the place in the test set, the true class, the class it was taken for.
    confidence: float32 (M,), the probability given to that class. images: uint8 (M, H, W, C).
    """

    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    images: Images


class _Said(msgspec.Struct, frozen=True):
    epoch: int
    format: int


class Newest(NamedTuple):
    """The evaluation after ``epoch`` epochs. confusion: int64 (K, K), rows are the true class."""

    epoch: int
    confusion: npt.NDArray[np.int64]
    mistakes: Mistakes


def worst_mistakes(evaluation: Evaluation, dataset: ImageDataset, most: int = MOST) -> Mistakes:
    """The ``most`` images of ``dataset`` that were taken for another class with the highest probability."""
    wrong = np.flatnonzero(evaluation.predicted != dataset.labels)
    sureness = np.nan_to_num(evaluation.confidence[wrong])
    indices = wrong[np.argsort(-sureness, kind="stable")[:most]]
    return Mistakes(
        indices,
        dataset.labels[indices],
        evaluation.predicted[indices],
        np.nan_to_num(evaluation.confidence[indices]),
        _smaller(dataset.images[indices]),
    )


def save(directory: Path, epoch: int, evaluation: Evaluation, dataset: ImageDataset) -> None:
    """Keep what the report shows of an evaluation after ``epoch`` epochs."""
    tensors = {"confusion": evaluation.confusion, **worst_mistakes(evaluation, dataset)._asdict()}
    said = json.dumps({"format": FORMAT, "epoch": epoch})
    write_tensors(directory / EVALUATION, tensors, {"mlpconv.evaluation": said})


def load(directory: Path, classes: int) -> Newest | None:
    """What was kept last, None where nothing was. Raises RunError for a file that is damaged or of another run."""
    path = directory / EVALUATION
    if not path.exists():
        return None
    tensors, texts = read_tensors(path)
    try:
        said = decode_json(texts["mlpconv.evaluation"], _Said)
        if said.format != FORMAT:
            raise RunError(f"{path}: written by another mlpconv (format {said.format}); update mlpconv")
        confusion = tensors.pop("confusion")
        mistakes = Mistakes(**tensors)
        count = len(mistakes.indices)
        named = np.concatenate([mistakes.labels, mistakes.predicted])
        fits = (
            confusion.shape == (classes, classes)
            and all(len(values) == count for values in mistakes)
            and all(values.ndim == 1 for values in mistakes[:4])
            and all(values.dtype.kind == "i" for values in (confusion, *mistakes[:3]))
            and mistakes.confidence.dtype.kind == "f"
            and mistakes.images.dtype == np.uint8
            and mistakes.images.ndim == 4
            and mistakes.images.shape[3] in (1, 3)
            and (not count or (named.min() >= 0 and named.max() < classes))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not what mlpconv writes ({error}); remove it for a report without it") from None
    if not fits:
        raise RunError(f"{path}: does not fit the run's {classes} classes; remove it for a report without it")
    return Newest(said.epoch, confusion, mistakes)


def _smaller(images: Images) -> Images:
    """Images of whole boxes' means, so that no side is longer than SIDE."""
    _, height, width, channels = images.shape
    step = -(-max(height, width) // SIDE)
    if step == 1 or not len(images):
        return images
    # A side shorter than one box keeps its pixels.
    down, across = min(step, height), min(step, width)
    rows, columns = height // down, width // across
    boxes = images[:, : rows * down, : columns * across].reshape(-1, rows, down, columns, across, channels)
    return boxes.mean(axis=(2, 4)).round().astype(np.uint8)
