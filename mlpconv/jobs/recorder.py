"""Writes a run down, so that nothing is lost: history, checkpoints, weights, evaluation, result or failure."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.backends.base import Model, State
from mlpconv.backends.weights import weight_shapes
from mlpconv.errors import RunError, limit_message
from mlpconv.explain import border, stored_class_maps
from mlpconv.explain.picture_maps import with_maps
from mlpconv.files import REMEDIES
from mlpconv.jobs.against_start import cross_validation, known_classes
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs import evaluation
from mlpconv.runs.checkpoint import GOOD
from mlpconv.runs.history import best_epoch, check_lines, validation_accuracies
from mlpconv.runs.job import CONFIG
from mlpconv.runs.run import WEIGHTS, Failure, Result, Run
from mlpconv.training.ending import ending
from mlpconv.training.guard_runner import GuardMemory, GuardRunner
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.problems import GuardState
from mlpconv.training.trainer import EpochEnded, Progress
from mlpconv.training.training_data import Position

CHECKPOINT_FACTOR, CHECKPOINT_EXTRA = 16, 64 << 20
"""The limit on the size of a checkpoint: a multiple of the bytes of the network's weights, for two states of the
optimizer, plus a number of bytes for everything else."""

_log = logging.getLogger(__name__)


class Recorder:
    """Writes one run into its directory. All methods that write raise RunError if the disk does not take it."""

    def __init__(self, run: Run, prepared: PreparedJob) -> None:
        """
        Args:
            run: The run directory.
            prepared: The job that is executed there.
        """
        self.run, self.prepared = run, prepared
        self.history: list[dict[str, Any]] = []
        self.curve: list[list[float]] = []
        """The points of the current epoch's curve: [position in epochs, loss, accuracy]."""
        self.seconds = 0.0
        """The time that the run took so far, in all its processes."""
        self.peak_bytes: Callable[[], int | None] = lambda: None

    @property
    def checkpoint_directory(self) -> Path:
        """The directory of the checkpoints."""
        return self.run.path / "checkpoint"

    @property
    def saved_position(self) -> Position:
        """The position of the newest checkpoint; the beginning if there is none."""
        return Position(*checkpoints.saved_position(self.checkpoint_directory))

    @property
    def ended(self) -> bool:
        """Whether training is over after the last epoch of the history."""
        return bool(ending(self.prepared.recipe, validation_accuracies(self.history)))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is done within it writes into the run directory; an OSError becomes a RunError."""
        try:
            yield
        except OSError as error:
            remedy = REMEDIES.get(error.errno or 0, "make the directory writable")
            raise RunError(
                f"{self.run.path}: cannot be written: {error.strerror or error}; what was written before is complete: "
                f"{remedy}, then mlpconv train --out {self.run.path} --resume"
            ) from None

    def load_checkpoint(self) -> checkpoints.Checkpoint | None:
        """The newest checkpoint that is undamaged; None if there is none at all.

        Raises:
            RunError: It does not fit the job: config.json was changed.
        """
        weights = sum(4 * prod(shape) for shape in weight_shapes(self.prepared.network).values())
        with self.writing():
            checkpoint = checkpoints.load_newest(
                self.checkpoint_directory, _log.warning, CHECKPOINT_FACTOR * weights + CHECKPOINT_EXTRA
            )
        if checkpoint is not None:
            self._check(checkpoint)
        return checkpoint

    def _check(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Raise RunError if a checkpoint does not fit the job."""
        try:
            check_lines(checkpoint.history)
            if len(checkpoint.history) != checkpoint.epoch:
                raise ValueError(f"its history has {len(checkpoint.history)} lines after {checkpoint.epoch} epochs")
        except ValueError as error:
            raise RunError(f"{self.checkpoint_directory}: the newest checkpoint is damaged: {error}") from None
        self.check_position(checkpoint.epoch, checkpoint.step)

    def check_position(self, epoch: int, step: int) -> None:
        """Raise RunError if the job has no such position: config.json was changed after the checkpoint."""
        recipe = self.run.config.recipe
        steps = steps_per_epoch(recipe, len(self.prepared.data.train))
        epochs = max(recipe.epochs, self.prepared.recipe.epochs)
        if epoch > epochs or (epoch == epochs and step):
            raise RunError(
                f"{self.run.path / CONFIG}: epochs is {epochs}, and {epoch} are done already; "
                "put the value back with which the run started, or a larger one"
            )
        if step > steps:
            raise RunError(
                f"{self.checkpoint_directory}: the newest checkpoint is of step {step}, and an epoch has {steps} steps "
                f"of {recipe.batch_size} images; put the batch_size back with which the run started in "
                f"{self.run.path / CONFIG}"
            )

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what a checkpoint holds of the epochs before it."""
        self.history, self.curve, self.seconds = checkpoint.history, checkpoint.curve, checkpoint.seconds
        with self.writing():
            self.run.write_history(self.history)

    def add_mark(self, event: Progress) -> None:
        """Add a mark of the current epoch to its curve."""
        self.curve.append([event.epoch + event.step / event.steps, event.loss, event.accuracy])

    def go_back(self, epoch: int, step: int) -> None:
        """Forget what was recorded of the steps that are repeated."""
        self.history = self.history[:epoch]
        end = epoch + step / steps_per_epoch(self.prepared.recipe, len(self.prepared.data.train))
        self.curve = [point for point in self.curve if epoch < point[0] <= end]

    def save_checkpoint(self, guard: GuardRunner, epoch: int, step: int) -> None:
        """Save everything that a resume at this position needs."""
        state = guard.model.training_state()
        if guard.good is not None and guard.guard.state.good != (epoch, step):
            state |= {GOOD + name: value for name, value in guard.good.items()}
        memory = msgspec.to_builtins(guard.guard.state)
        checkpoint = checkpoints.Checkpoint(epoch, step, self.history, self.curve, self.seconds, state, memory)
        with self.writing():
            checkpoints.save(self.checkpoint_directory, checkpoint)

    def end_epoch(self, guard: GuardRunner, event: EpochEnded) -> None:
        """Record an epoch; after the last one, the result too."""
        names = self.prepared.job.data.class_names
        self.history.append(
            {
                "epoch": event.epoch + 1,
                "loss": event.loss,
                "train_accuracy": event.accuracy,
                "test_loss": event.test.loss,
                "test_accuracy": event.test.accuracy,
                "class_accuracy": _by_class(names, event.test.class_accuracy),
                "validation_loss": event.validation and event.validation.loss,
                "validation_accuracy": event.validation and event.validation.accuracy,
                "dead_classes": None if event.dead_classes is None else [names[k] for k in event.dead_classes],
                "learning_rate": event.learning_rate,
                "image_size": event.image_size,
                "skipped": event.skipped,
                "repairs": self._new_repairs(guard),
                "curve": self.curve,
                "seconds": event.seconds,
                "evaluation_seconds": event.evaluation_seconds,
                "examples_per_second": event.images_per_second,
            }
        )
        self.curve = []
        # The checkpoint comes first: a resume writes the rest from it if this process ends here.
        self.save_checkpoint(guard, event.epoch + 1, 0)
        self.write_epoch(guard, event.test)

    def write_epoch(self, guard: GuardRunner, test: Evaluation | None = None) -> None:
        """Write everything that an epoch leaves, and after the last epoch the result.

        Args:
            guard: The guard, with the model.
            test: The evaluation on the test images. None if another process made it; if the result needs it, it is
                made again.
        """
        model, data = guard.model, self.prepared.data.test
        with self.writing():
            self.run.write_history(self.history)
            best_is_last = self.history[best_epoch(self.history) - 1] is self.history[-1]
            if best_is_last:
                self.run.write_weights(model.weights())
            elif self.ended:
                model.load_weights(self.run.weights())
                test = None
            if test is None and self.ended:
                test = evaluate(model.logits(data.images), data.labels)
            if test is None:
                return
            kept = evaluation.to_store(len(self.history), test, data)
            preprocess = self.prepared.job.preprocess
            if self.ended:
                network = self.prepared.network
                kept = kept._replace(
                    mistakes=with_maps(kept.mistakes, model, network, preprocess, data),
                    border=border.to_array(self._border_evidence(model)),
                )
            evaluation.save(self.run.path, kept)
            if self.ended:
                stored_class_maps.save(self.run.path, model, self.prepared.network, preprocess, data)
                self._write_result(guard, test)

    def _border_evidence(self, model: Model) -> list[border.BorderEvidence | None] | None:
        """Test images first; where a class has few of them, training images too, on which the maps are the same."""
        train, test = self.prepared.data
        same = train.image_shape == test.image_shape
        network, preprocess = self.prepared.network, self.prepared.job.preprocess
        return border.border_evidence(model, network, preprocess, test, *([train] if same else []))

    def _write_result(self, guard: GuardRunner, test: Evaluation) -> None:
        last, best = self.history[-1], self.history[best_epoch(self.history) - 1]
        validation_accuracy = best["validation_accuracy"]
        # Of an epoch that was interrupted, only the part after the interruption was timed.
        timed = sum(line["seconds"] for line in self.history)
        images = sum(line["seconds"] * line["examples_per_second"] for line in self.history)
        self.run.write_result(
            Result(
                loss=last["loss"],
                train_accuracy=last["train_accuracy"],
                test_accuracy=best["test_accuracy"],
                test_loss=best["test_loss"],
                examples_per_second=images / timed,
                seconds=self.seconds,
                epochs=len(self.history),
                class_accuracy=best["class_accuracy"],
                confusion=test.confusion.tolist(),
                peak_resident_bytes=hardware.peak_resident_bytes(),
                peak_tensor_bytes=self.peak_bytes(),
                best_epoch=None if validation_accuracy is None else best["epoch"],
                validation_accuracy=validation_accuracy,
                dead_classes=best["dead_classes"],
                repairs=guard.guard.state.repairs,
                known_classes=known_classes(self.prepared, test),
                cross_validation=cross_validation(self.prepared),
            )
        )
        self._draw()

    def write_failure(self, guard: GuardRunner, message: str) -> str:
        """Record that training failed; the message, with the path of the best weights added."""
        with self.writing():
            if not self.history and guard.good is not None and guard.guard.state.good != (0, 0):
                guard.model.load_training_state(guard.good)
                self.run.write_weights(guard.model.weights())
            if (self.run.path / WEIGHTS).exists():
                message += f"; the best weights are kept in {self.run.path / WEIGHTS}"
            self.run.write_failure(Failure(message, self._new_repairs(guard)))
        self._draw()
        return message

    def _new_repairs(self, guard: GuardRunner) -> list[dict[str, Any]]:
        """The guard's events since the last line of the history."""
        known = sum(len(line["repairs"]) for line in self.history)
        return [msgspec.to_builtins(event) for event in guard.guard.state.events[known:]]

    def _draw(self) -> None:
        """Write the curves and the report. The run is complete without them, so it is only a warning if they fail."""
        from mlpconv.drawing.plots import save_curves
        from mlpconv.reports.report import write_report

        try:
            if self.history:
                save_curves(self.history, self.run.path / "curves.png", self.run.name, best_epoch(self.history))
            write_report(self.run)
        except (OSError, ImportError, MemoryError, RuntimeError) as error:
            reason = limit_message(error)
            if reason is None:
                if not isinstance(error, OSError):
                    raise
                remedy = REMEDIES.get(error.errno or 0, "make the directory writable")
                reason = f"{error.strerror or error}; {remedy}"
            _log.warning(
                "%s: the pictures and the report could not be written: %s, then: mlpconv report %s",
                self.run.path,
                reason,
                self.run.path,
            )


def split_state(checkpoint: checkpoints.Checkpoint) -> tuple[State, GuardMemory]:
    """The model's training state that a checkpoint holds, and what it holds of the guard."""
    good = {name.removeprefix(GOOD): value for name, value in checkpoint.state.items() if name.startswith(GOOD)}
    state = {name: value for name, value in checkpoint.state.items() if not name.startswith(GOOD)}
    return state, GuardMemory(msgspec.convert(checkpoint.guard or {}, GuardState), good or None)


def _by_class(names: tuple[str, ...], accuracies: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, accuracies, strict=True)}
