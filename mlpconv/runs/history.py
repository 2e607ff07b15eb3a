"""Values derived from the history of a run: validation accuracies, and the epoch that the run's weights come from."""

from collections.abc import Sequence
from typing import Any


def validation_accuracies(history: Sequence[dict[str, Any]]) -> list[float | None]:
    """The validation accuracy after each epoch; None without validation images."""
    return [line.get("validation_accuracy") for line in history]


def best_epoch(history: Sequence[dict[str, Any]]) -> int:
    """The epoch, from 1, whose weights are the run's.

    It is the first one with the highest validation accuracy. Without validation images it is the last epoch, since the
    test set is never used to choose.

    Args:
        history: The lines of the run's history, at least one.
    """
    if history[-1].get("validation_accuracy") is None:
        return len(history)
    return max(history, key=lambda line: line["validation_accuracy"])["epoch"]


def best_checkpoint_epoch(history: Sequence[dict[str, Any]]) -> int | None:
    """The epoch, from 1, whose checkpoint is kept besides the newest ones; None before the first epoch ended.

    It is the first one with the highest validation accuracy or, without validation images, the lowest training loss.
    """

    def rank(line: dict[str, Any]) -> float:
        accuracy = line.get("validation_accuracy")
        return line["loss"] if accuracy is None else -accuracy

    return min(history, key=rank)["epoch"] if history else None
