"""What an evaluation says: loss, accuracy, the confusion matrix, accuracy by class."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Labels
from mlpconv.errors import DataError


class Evaluation(NamedTuple):
    """loss: mean cross entropy in nats. confusion: int64 (K, K), rows are the true class, columns the predicted.
    predicted: int64 (N,), the likeliest class of each image. confidence: float32 (N,), the probability given to it."""

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    @property
    def class_accuracy(self) -> npt.NDArray[np.float64]:
        """The share of each class that was recognised (recall), NaN for a class without images."""
        totals = self.confusion.sum(1)
        with np.errstate(invalid="ignore"):
            return np.diag(self.confusion) / totals


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) from logits."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def evaluate(logits: Floats, labels: Labels) -> Evaluation:
    """Compare logits (N, K) with labels (N,)."""
    if not len(labels):
        raise DataError("evaluation: there is not one image to evaluate; give a data set that holds some")
    count = logits.shape[1]
    wide = logits.astype(np.float64)
    peak = wide.max(1)
    with np.errstate(invalid="ignore"):  # infinite logits: the loss says so by being NaN
        log_sum = peak + np.log(np.exp(wide - peak[:, None]).sum(1))
        loss = float((log_sum - wide[np.arange(len(labels)), labels]).mean())
    predicted = logits.argmax(1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    confidence = np.exp(peak - log_sum).astype(np.float32)
    return Evaluation(loss, float((predicted == labels).mean()), confusion, predicted, confidence)
