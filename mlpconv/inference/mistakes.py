"""The misclassified images of an evaluation, and those whose labels are likely wrong, with their files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpconv.data.dataset import ImageDataset
from mlpconv.files import csv_line
from mlpconv.runs.evaluation import label_errors
from mlpconv.training.metrics import Evaluation

LABEL_ERRORS_REST_ON = (
    "The list rests on the predictions of this network, which was not trained on these images (confident learning: the "
    "label has less probability than images with it usually get, another class at least as much as its images usually "
    "get), so the weaker the network, the more correct labels are listed"
)
"""What the list of likely label errors rests on."""


class Mistake(NamedTuple):
    """A misclassified image."""

    file: str
    """Its file, or its index in the data set."""
    label: str
    """The true class."""
    predicted: str
    """The predicted class."""
    probability: float
    """The probability of the predicted class."""
    label_probability: float
    """The probability of the true class."""


def find_mistakes(evaluation: Evaluation, dataset: ImageDataset, files: Sequence[str] = ()) -> list[Mistake]:
    """All misclassified images, the most confident mistake first.

    Args:
        evaluation: The evaluation.
        dataset: The images.
        files: The file of each image; empty if they are not files.
    """
    wrong = np.flatnonzero(evaluation.predicted != dataset.labels)
    order = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")]
    return [
        Mistake(
            _name(index, files),
            dataset.class_names[dataset.labels[index]],
            dataset.class_names[evaluation.predicted[index]],
            float(evaluation.confidence[index]),
            float(evaluation.given[index]),
        )
        for index in order.tolist()
    ]


def _name(index: int, files: Sequence[str]) -> str:
    return files[index] if files else str(index)


class LabelError(NamedTuple):
    """An image whose label is likely wrong."""

    file: str
    """Its file, or its index in the data set."""
    label: str
    """Its label."""
    suggested: str
    """The class that it seems to be of."""
    label_probability: float
    """The probability of the label."""
    probability: float
    """The probability of the suggested class."""


def find_label_errors(evaluation: Evaluation, dataset: ImageDataset, files: Sequence[str] = ()) -> list[LabelError]:
    """The images whose labels are likely wrong, those first whose label has the least probability: see
    ``mlpconv.training.metrics.likely_labels``. The network must not have been trained on them.

    Args:
        evaluation: The evaluation.
        dataset: The images.
        files: The file of each image; empty if they are not files.
    """
    return [
        LabelError(
            _name(index, files),
            dataset.class_names[dataset.labels[index]],
            dataset.class_names[evaluation.suggested[index]],
            float(evaluation.given[index]),
            float(evaluation.suggested_confidence[index]),
        )
        for index in label_errors(evaluation).tolist()
    ]


def mistakes_csv(mistakes: Iterable[Mistake], folder: str | Path = "") -> bytes:
    """Mistakes as CSV with the columns file, label, predicted, probability, label_probability.

    Args:
        mistakes: The mistakes.
        folder: The folder that the files are relative to; it becomes part of their paths.
    """
    rows = [
        (str(Path(folder, file)), label, predicted, f"{probability:.6f}", f"{given:.6f}")
        for file, label, predicted, probability, given in mistakes
    ]
    text = "".join(csv_line(row) for row in (Mistake._fields, *rows))
    return text.encode("utf-8", "surrogateescape")
