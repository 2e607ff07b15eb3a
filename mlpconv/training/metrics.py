"""Evaluation: loss, accuracy, confusion matrix, accuracy by class."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Labels
from mlpconv.errors import DataError


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
        loss = float((log_sum - wide[np.arange(len(labels)), labels]).mean())
    predicted = logits.argmax(1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    confidence = np.exp(peak - log_sum).astype(np.float32)
    return Evaluation(loss, float((predicted == labels).mean()), confusion, predicted, confidence)
