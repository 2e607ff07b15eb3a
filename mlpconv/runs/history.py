"""The history of a run: what its lines contain, and what is derived from them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from mlpconv.runs.files import MAX_NAME, Finite, Natural, Positive, Share, decode_json
from mlpconv.training.problems import Event

_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a history: what a run records of an epoch. Fields with a default are missing in older runs."""

    epoch: Natural
    loss: Finite
    train_accuracy: Share
    test_loss: Finite | None
    test_accuracy: Share
    class_accuracy: dict[_Name, Share | None]
    learning_rate: Finite
    image_size: Natural
    skipped: Natural
    curve: list[tuple[Finite, Finite, Finite]]
    seconds: Positive
    evaluation_seconds: Positive
    examples_per_second: Positive
    validation_loss: Finite | None = None
    validation_accuracy: Share | None = None
    dead_classes: list[_Name] | None = None
    repairs: list[Event] = []


def parse_line(text: bytes, epoch: int) -> dict[str, Any]:
    """A line of a history as plain values.

    Args:
        text: The line, in JSON.
        epoch: The epoch, from 1, that it has to be of.

    Raises:
        ValueError: It is not what a run records of this epoch; the message names the field.
    """
    if (found := decode_json(text, _Line).epoch) != epoch:
        raise ValueError(f"expected epoch {epoch}, received {found}")
    return decode_json(text)


def check_lines(history: Sequence[dict[str, Any]]) -> None:
    """Check lines that were decoded already, such as those in a checkpoint.

    Raises:
        ValueError: As `parse_line`.
    """
    for epoch, line in enumerate(history, 1):
        try:
            parse_line(msgspec.json.encode(line), epoch)
        except ValueError as error:
            raise ValueError(f"history, line {epoch}: {error}") from None


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
    return max(history, key=lambda line: line.get("validation_accuracy") or 0.0)["epoch"]


def best_checkpoint_epoch(history: Sequence[dict[str, Any]]) -> int | None:
    """The epoch, from 1, whose checkpoint is kept besides the newest ones; None before the first epoch ended.

    It is the first one with the highest validation accuracy or, without validation images, the lowest training loss.
    """

    def rank(line: dict[str, Any]) -> float:
        accuracy = line.get("validation_accuracy")
        return line["loss"] if accuracy is None else -accuracy

    return min(history, key=rank)["epoch"] if history else None
