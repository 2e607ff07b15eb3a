"""What follows from a run's history: which epoch its weights are of."""

from collections.abc import Sequence
from typing import Any


def validation_accuracies(history: Sequence[dict[str, Any]]) -> list[float | None]:
    """After each epoch; None where no images were held out."""
    return [line.get("validation_accuracy") for line in history]


def best_epoch(history: Sequence[dict[str, Any]]) -> int:
    """The epoch, from 1, whose weights are the run's: the best on the validation images, the first of equals; without
    them the last, since the test set chooses nothing."""
    if history[-1].get("validation_accuracy") is None:
        return len(history)
    return max(history, key=lambda line: line["validation_accuracy"])["epoch"]
