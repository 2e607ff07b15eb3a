"""Evaluation: loss, accuracy and its interval, confusion matrix, accuracy by class."""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Labels
from mlpconv.errors import DataError
from mlpconv.formatting import format_number

FEW_IMAGES = 1000
"""An accuracy of fewer images is shown with their number and its interval."""
_Z = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""


class Evaluation(NamedTuple):
    """The evaluation of a classifier on N images of K classes."""

    loss: float
    """Mean cross entropy in nats."""
    accuracy: float
    confusion: npt.NDArray[np.int64]
    """(K, K): rows are the true class, columns the predicted one."""
    predicted: npt.NDArray[np.int64]
    """(N,): the most probable class of each image."""
    confidence: npt.NDArray[np.float32]
    """(N,): its probability."""
    given: npt.NDArray[np.float32]
    """(N,): the probability of the true class."""
    suggested: npt.NDArray[np.int64]
    """(N,): for images whose label is likely wrong, the class that they seem to be of; -1 for all others. See
    ``likely_labels``."""
    suggested_confidence: npt.NDArray[np.float32]
    """(N,): its probability; 0 for all others."""

    @property
    def class_accuracy(self) -> npt.NDArray[np.float64]:
        """The recall of each class, (K,): the share of its images that is recognized; NaN if it has no images."""
        totals = self.confusion.sum(1)
        with np.errstate(invalid="ignore"):
            return np.diag(self.confusion) / totals


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) from logits."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def evaluate(logits: Floats, labels: Labels) -> Evaluation:
    """Compare logits (N, K) with labels (N,).

    Raises:
        DataError: There are no images.
    """
    if not len(labels):
        raise DataError("evaluation: there is not one image to evaluate; give a data set that holds some")
    count = logits.shape[1]
    wide = logits.astype(np.float64)
    peak = wide.max(1)
    with np.errstate(invalid="ignore"):  # infinite logits make the loss NaN
        log_sum = peak + np.log(np.exp(wide - peak[:, None]).sum(1))
        surprise = log_sum - wide[np.arange(len(labels)), labels]
        loss = float(surprise.mean())
    predicted = logits.argmax(1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    confidence = np.exp(peak - log_sum).astype(np.float32)
    given = np.exp(-surprise).astype(np.float32)
    with np.errstate(invalid="ignore"):
        probabilities = np.exp(wide - log_sum[:, None])
    suggested, probability = likely_labels(probabilities, labels)
    accuracy = float((predicted == labels).mean())
    return Evaluation(loss, accuracy, confusion, predicted, confidence, given, suggested, probability)


def likely_labels(
    probabilities: npt.NDArray[np.float64], labels: Labels
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The classes of images whose labels are likely wrong: confident learning in its simplest form (Northcutt, Jiang,
    Chuang 2021, arXiv:1911.00068).

    The confidence of a class is the mean probability that it has on the images with its label. A label is likely wrong
    if its probability is below the confidence of its class, and another class has a higher probability that is not
    below that class's confidence.

    Args:
        probabilities: (N, K), from a network that was not trained on these images.
        labels: (N,), the given labels.

    Returns:
        (N,), the most probable of these other classes, -1 where there is none; and (N,), its probability, 0 where
        there is none.
    """
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    images = np.bincount(labels, minlength=probabilities.shape[1])
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(labels, given, minlength=probabilities.shape[1]) / images
        # A class without images has no confidence (NaN), which nothing reaches.
        others = (probabilities >= confidence) & (probabilities > given[:, None])
        doubted = (given < confidence[labels]) & others.any(1)
    best = np.where(others, probabilities, -1.0).argmax(1)
    return np.where(doubted, best, -1), np.where(doubted, probabilities[rows, best], 0).astype(np.float32)


def accuracy_interval(accuracy: float, images: float) -> tuple[float, float]:
    """The 95 % interval of an accuracy: Wilson's score interval (E. B. Wilson, Probable inference, the law of
    succession, and statistical inference, Journal of the American Statistical Association 22, 1927, pages 209–212).

    With correct and wrong answers that are independent, it contains the accuracy on all possible images in about 95 of
    100 test sets of this size. It describes the choice of the test images, not that of the seed.

    Args:
        accuracy: The share of the images that were classified correctly, 0 to 1.
        images: The number of images.

    Returns:
        The lower and the upper end, each from 0 to 1; 0 and 1 without images.
    """
    if not images:
        return 0.0, 1.0
    square = _Z * _Z / images
    center = (accuracy + square / 2) / (1 + square)
    half = sqrt(accuracy * (1 - accuracy) * square + square * square / 4) / (1 + square)
    # Exactly 0 and 1 where the formula is, up to rounding.
    low = 0.0 if accuracy == 0 else max(center - half, 0.0)
    return low, 1.0 if accuracy == 1 else min(center + half, 1.0)


def interval_text(accuracy: float, images: int) -> str:
    """The 95 % interval of an accuracy of few images: "0.696 to 0.893"; empty for ``FEW_IMAGES`` or more, or none."""
    if not 0 < images < FEW_IMAGES:
        return ""
    low, high = accuracy_interval(accuracy, images)
    return f"{low:.3f} to {high:.3f}"


def accuracy_note(accuracy: float, images: int) -> str:
    """What follows an accuracy of few images: " (59 images, 95 % interval 0.696 to 0.893)"; empty for many or none."""
    interval = interval_text(accuracy, images)
    return f" ({format_number(images, 'image')}, 95 % interval {interval})" if interval else ""
