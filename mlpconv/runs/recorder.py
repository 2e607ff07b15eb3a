"""A session carried out: its events passed on, everything written down so that nothing is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpconv.backends import hardware
from mlpconv.backends.base import Model
from mlpconv.errors import RunError, TrainingFailed
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs import mistakes
from mlpconv.runs.place import claim, locked, refuse_other, refuse_taken
from mlpconv.runs.run import Result, Run
from mlpconv.training import trainer
from mlpconv.training.forecast import Fit, Forecast, smaller
from mlpconv.training.metrics import Evaluation, evaluate

if TYPE_CHECKING:
    from mlpconv.runs.session import Session

CHECKPOINT_SECONDS = 300.0

_log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The run goes on behind ``step`` steps of ``epoch`` (both from 0)."""

    epoch: int
    step: int


Event = trainer.Event | Resumed


class Recorder:
    """Carries a session out and writes it down; iterating yields its events. ``run`` is the run directory."""

    run: Run

    def __init__(
        self,
        session: "Session",
        out: str | Path | None,
        resume: bool,
        should_stop: Callable[[], bool],
        checkpoint_every: float,
        report_every: float,
        room: Fit,
    ) -> None:
        self.session, self.should_stop, self._room = session, should_stop, room
        self.checkpoint_every, self.report_every = checkpoint_every, report_every
        path = Path(out) if out is not None else claim(session.config.recipe_name, session.recipe.model)
        self.history: list[dict[str, Any]] = []
        self.curve: list[list[float]] = []
        self.seconds = 0.0
        self._peak_bytes: Callable[[], int | None] = lambda: None
        if resume:
            self.run = Run(path)
            refuse_other(self.run, session.config)
        else:
            refuse_taken(path)
            self.run = Run.create(path, session.config, session.backend.describe_device(session.config.device))
        self._result = self.run.result

    def __iter__(self) -> Iterator[Event]:
        try:
            with locked(self.run.path):
                yield from self._train()
        except (RuntimeError, MemoryError) as error:
            if not self.session.backend.is_out_of_memory(error):
                raise
            raise TrainingFailed(self._out_of_memory()) from None

    def _out_of_memory(self) -> str:
        batch, largest = self.session.recipe.batch_size, self._room.largest_batch
        # Where the forecast saw room and there was none, it is no guide: half is the next to try.
        remedy = smaller(batch // 2 if largest is None or largest >= batch else largest)
        went_on = f"; or make room, then mlpconv train --out {self.run.path} --resume goes on from the last checkpoint"
        saved = checkpoints.place(self.run.path / "checkpoint") != (0, 0)
        return f"{self.run.path}: no memory left in training with batch size {batch}: {remedy}{went_on * saved}"

    def forecast(self) -> Forecast:
        """Time and memory of what is left of the run."""
        with self._writing():
            return self.session.forecast(*checkpoints.place(self.run.path / "checkpoint"), self.run.path)

    def _train(self) -> Iterator[Event]:
        if self._result is not None:
            return
        session = self.session
        train, test = session.data
        self._peak_bytes = session.backend.watch_memory(session.config.device)
        model = session.make_model()
        model.attach(train.images, train.labels)
        epoch, step = self._restore(model)
        if session.expected is not None and not (epoch or step):  # of the whole run, not of what was left of it
            with self._writing():
                self.run.write_forecast(session.expected)
        if epoch or step:
            yield Resumed(epoch, step)
        began = saved = time.perf_counter()
        spent = self.seconds
        for event in trainer.train(
            model,
            session.recipe,
            train.images,
            train.labels,
            test.images,
            test.labels,
            image_size=session.config.preprocess.size,
            epoch=epoch,
            step=step,
            should_stop=self.should_stop,
            report_every=self.report_every,
        ):
            now = time.perf_counter()
            self.seconds = spent + now - began
            match event:
                case trainer.Progress(mark=mark):
                    if mark:
                        place = event.epoch + event.step / event.steps
                        self.curve.append([place, event.loss, event.accuracy])
                    # Behind the last step, the end of the epoch saves.
                    if now - saved >= self.checkpoint_every and event.step < event.steps:
                        self._save(model, event.epoch, event.step)
                        saved = time.perf_counter()
                case trainer.EpochEnded():
                    self._end_epoch(model, event)
                    saved = time.perf_counter()
                case trainer.Stopped():
                    self._save(model, event.epoch, event.step)
            yield event

    def _restore(self, model: Model) -> tuple[int, int]:
        found = checkpoints.load_newest(self.run.path / "checkpoint")
        if found is None:
            return 0, 0
        model.load_training_state(found.state)
        self.history, self.curve, self.seconds = found.history, found.curve, found.seconds
        with self._writing():
            self.run.write_history(self.history)
            if found.step == 0 and self.history:
                self._write_epoch(model, None)
        return found.epoch, found.step

    def _save(self, model: Model, epoch: int, step: int) -> None:
        state = model.training_state()
        place = checkpoints.Checkpoint(epoch, step, self.history, self.curve, self.seconds, state)
        with self._writing():
            checkpoints.save(self.run.path / "checkpoint", place)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.run.path}: cannot be written: {error.strerror or error}; what was written before is whole: "
                f"make room, then mlpconv train --out {self.run.path} --resume"
            ) from None

    def _end_epoch(self, model: Model, event: trainer.EpochEnded) -> None:
        self.history.append(
            {
                "epoch": event.epoch + 1,
                "loss": event.loss,
                "train_accuracy": event.accuracy,
                "test_loss": event.test.loss,
                "test_accuracy": event.test.accuracy,
                "class_accuracy": _by_class(self.session.config.data.class_names, event.test.class_accuracy),
                "learning_rate": event.learning_rate,
                "image_size": event.image_size,
                "skipped": event.skipped,
                "curve": self.curve,
                "seconds": event.seconds,
                "evaluation_seconds": event.evaluation_seconds,
                "examples_per_second": event.images_per_second,
            }
        )
        self.curve = []
        # First of all the checkpoint: from it, a resume writes the rest if this process ends here.
        self._save(model, event.epoch + 1, 0)
        with self._writing():
            self._write_epoch(model, event.test)

    def _write_epoch(self, model: Model, test: Evaluation | None) -> None:
        """Everything that is there after an epoch, and after the last one the result. test: None where another process
        measured it; what the result needs is measured anew."""
        self.run.write_history(self.history)
        self.run.write_weights(model.weights())
        ended = len(self.history) == self.session.recipe.epochs
        data = self.session.data.test
        if test is None and ended:
            test = evaluate(model.logits(data.images), data.labels)
        if test is not None:
            mistakes.save(self.run.path, len(self.history), test, data)
            if ended:
                self._finish(test)

    def _finish(self, test: Evaluation) -> None:
        last = self.history[-1]
        # Of an epoch that was interrupted, only the part behind the interruption was timed.
        timed = sum(line["seconds"] for line in self.history)
        images = sum(line["seconds"] * line["examples_per_second"] for line in self.history)
        self.run.write_result(
            Result(
                loss=last["loss"],
                train_accuracy=last["train_accuracy"],
                test_accuracy=last["test_accuracy"],
                test_loss=last["test_loss"],
                examples_per_second=images / timed,
                seconds=self.seconds,
                epochs=len(self.history),
                class_accuracy=last["class_accuracy"],
                confusion=test.confusion.tolist(),
                peak_resident_bytes=hardware.peak_resident_bytes(),
                peak_tensor_bytes=self._peak_bytes(),
            )
        )
        self._draw()

    def _draw(self) -> None:
        """What people look at. The run is complete without it, so a full disk is no failure here."""
        from mlpconv.runs.plots import save_curves
        from mlpconv.runs.report import write_report

        try:
            save_curves(self.history, self.run.path / "curves.png", self.run.name)
            write_report(self.run)
        except OSError as error:
            _log.warning(
                "%s: the pictures and the report could not be written: %s; make room, then: mlpconv report %s",
                self.run.path, error.strerror or error, self.run.path,
            )  # fmt: skip


def _by_class(names: tuple[str, ...], accuracies: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, accuracies, strict=True)}
