"""What the small JSON files of a run contain, as typed and bounded values."""

from typing import Any

import msgspec

from mlpconv.runs.files import Finite, Natural, Positive, Share
from mlpconv.runs.job import FORMAT
from mlpconv.training.problems import Event


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a run ended. With validation images, the test results are those of ``best_epoch``, whose weights are kept;
    without them, those of the last epoch."""

    loss: Finite
    """Mean training loss of the last epoch."""
    train_accuracy: Share
    """Training accuracy of the last epoch."""
    test_accuracy: Share
    """Test accuracy."""
    test_loss: Finite
    """Mean test loss."""
    examples_per_second: Positive
    """Speed of training alone, over all epochs."""
    seconds: Positive
    """Time of everything, evaluation included."""
    epochs: Natural
    """The number of epochs trained."""
    class_accuracy: dict[str, Share | None]
    """Test accuracy by class; None for a class without test images."""
    confusion: list[list[Natural]]
    """Confusion matrix on the test images: rows are true classes, columns predicted ones."""
    peak_resident_bytes: Natural | None = None
    """Peak of the process's memory, framework and data set included; None if it is unknown."""
    peak_tensor_bytes: Natural | None = None
    """Peak of the tensors on the device, data set included; None if the device's allocator does not tell (all but
    CUDA)."""
    best_epoch: Natural | None = None
    """The epoch, from 1, with the best validation accuracy; None without validation images."""
    validation_accuracy: Share | None = None
    """The validation accuracy of ``best_epoch``."""
    dead_classes: list[str] | None = None
    """Names of the dead classes; None if no class of the network can die."""
    repairs: Natural = 0
    """How often the guard intervened."""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why training failed."""

    message: str
    """What happened, what was tried, and what to do."""
    repairs: list[dict[str, Any]] = []
    """The guard's events since the last epoch of the history."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        for event in self.repairs:
            msgspec.convert(event, Event)


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Forecast as it is stored."""

    seconds: Positive
    images_per_second: Positive
    tensor_bytes: Natural | None = None
    available_bytes: Natural | None = None
    largest_batch: Natural | None = None
    format: int = FORMAT


class Versioned(msgspec.Struct, frozen=True):
    """What all versions of a file have in common."""

    format: int = FORMAT


class Environment(msgspec.Struct, frozen=True):
    """What ``environment`` returns, as far as readers rely on it."""

    format: int = FORMAT
    date: str | None = None
    command: list[str] | None = None
    platform: str | None = None
    device: str | None = None
    processor: str | None = None
    cpus: Natural | None = None
    bfloat16: bool | None = None
    memory_bytes: Natural | None = None
    allocator_keeps_memory: bool | None = None
    threads: str | None = None
    processes: Natural = 1
    versions: dict[str, str] = {}
