"""A session carried out: its events passed on, everything written down so that nothing is lost."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.backends.base import Model, State
from mlpconv.errors import RecipeError, RunError, TrainingFailed
from mlpconv.explain import class_maps
from mlpconv.jobs.resume import check_same_job
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs import data_files, evaluation
from mlpconv.runs.checkpoint import GOOD
from mlpconv.runs.directory import create_run_directory, locked, make_directory, refuse_occupied
from mlpconv.runs.history import best_epoch, validation_accuracies
from mlpconv.runs.run import FAILED, WEIGHTS, Failure, Result, Run
from mlpconv.training import trainer
from mlpconv.training.ending import ending
from mlpconv.training.forecast import Fit, Forecast, smaller
from mlpconv.training.guard import GuardState
from mlpconv.training.guard_runner import GuardRunner
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import steps_per_epoch

if TYPE_CHECKING:
    from mlpconv.jobs.session import Session

CHECKPOINT_SECONDS = 300.0
SLOW_STEP = 10.0
"""Seconds: a step that takes longer is saved at once, since it may be too long to be waited for at a signal."""

_log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The run goes on behind ``step`` steps of ``epoch`` (both from 0)."""

    epoch: int
    step: int


Event = trainer.Event | Resumed


class Recorder:
    """Carries a session out and writes it down; iterating yields its events. ``run`` is the run directory."""

    run: Run
    watch: GuardRunner

    def __init__(
        self,
        session: "Session",
        out: str | Path | None,
        resume: bool,
        should_stop: Callable[[], bool],
        checkpoint_every: float,
        checkpoint_steps: int | None,
        resume_with: Collection[str],
        report_every: float,
        room: Fit,
    ) -> None:
        self.session, self.should_stop, self._room = session, should_stop, room
        self._peak_bytes: Callable[[], int | None] = lambda: None
        self.checkpoint_every, self.checkpoint_steps = checkpoint_every, checkpoint_steps
        self.report_every = report_every
        self._changes: list[str] = []
        path = Path(out) if out is not None else create_run_directory(session.config.recipe_name, session.recipe.model)
        self.history: list[dict[str, Any]] = []
        self.curve: list[list[float]] = []
        self.seconds = 0.0
        if resume:
            self.run = Run(path)
            self._changes = check_same_job(self.run, session.config, resume_with)
        else:
            refuse_occupied(path)
            make_directory(path)
            with locked(path):
                refuse_occupied(path)  # again: another process may have been quicker
                device = session.backend.describe_device(session.config.device)
                self.run = Run.create(path, session.config, device, session.began_with)
            if session.material.loaded is not None:
                with self._writing():
                    data_files.save_data_files(path, session.material.loaded)

    def __iter__(self) -> Iterator[Event]:
        with locked(self.run.path):
            (self.run.path / FAILED).unlink(missing_ok=True)
            try:
                yield from self._train()
            except TrainingFailed as error:
                raise TrainingFailed(self._fail(str(error))) from None
            except (RuntimeError, MemoryError) as error:
                if not self.session.backend.is_out_of_memory(error):
                    raise
                raise TrainingFailed(self._out_of_memory()) from None

    def _out_of_memory(self) -> str:
        batch, largest = self.session.recipe.batch_size, self._room.largest_batch
        # Where the forecast saw room and there was none, it is no guide: half is the next to try.
        remedy = smaller(batch // 2 if largest is None or largest >= batch else largest)
        went_on = f"; or make room, then mlpconv train --out {self.run.path} --resume goes on from the last checkpoint"
        saved = checkpoints.saved_position(self.run.path / "checkpoint") != (0, 0)
        return f"{self.run.path}: no memory left in training with batch size {batch}: {remedy}{went_on * saved}"

    def forecast(self) -> Forecast:
        """Time and memory of what is left of the run."""
        with self._writing():
            return self.session.forecast(*checkpoints.saved_position(self.run.path / "checkpoint"), self.run.path)

    def _train(self) -> Iterator[Event]:
        if self.run.result is not None and not self._changes:
            return
        session, began = self.session, time.perf_counter() - self.session.seconds
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
        if self._ended():  # before its last epoch, and only the result was left to write
            return
        held = session.validation
        saved = heard = time.perf_counter()
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
            validation=trainer.LabelledImages(held.images, held.labels) if held else None,
            held=validation_accuracies(self.history),
            watch=self.watch,
            should_stop=self.should_stop,
            report_every=self.report_every,
            report_steps=self.checkpoint_steps,
        ):
            now = time.perf_counter()
            slow, heard = now - heard >= SLOW_STEP, now
            self.seconds = spent + now - began
            match event:
                case trainer.Progress(mark=mark):
                    if mark:
                        place = event.epoch + event.step / event.steps
                        self.curve.append([place, event.loss, event.accuracy])
                    due = now - saved >= self.checkpoint_every
                    due = due or bool(self.checkpoint_steps and event.step % self.checkpoint_steps == 0)
                    # Behind the last step, the end of the epoch saves.
                    if slow or (due and event.step < event.steps):
                        self._save(model, event.epoch, event.step)
                        saved = heard = time.perf_counter()
                case trainer.EpochEnded():
                    self._end_epoch(model, event)
                    saved = heard = time.perf_counter()
                case trainer.Stopped():
                    self._save(model, event.epoch, event.step)
                case trainer.Repaired(moved=True):
                    self._go_back(*event.to)
            yield event

    def _go_back(self, epoch: int, step: int) -> None:
        """Forget what was written down of steps that are done anew."""
        self.history = self.history[:epoch]
        place = epoch + step / steps_per_epoch(self.session.recipe, len(self.session.data.train))
        self.curve = [point for point in self.curve if epoch < point[0] <= place]

    def _fail(self, message: str) -> str:
        """Write down that training failed; in words what happened, and where the best weights are."""
        good = self.watch.good
        with self._writing():
            if not self.history and good is not None and self.watch.guard.state.good != (0, 0):
                model = self.watch.model
                model.load_training_state(good)
                self.run.write_weights(model.weights())
            if (self.run.path / WEIGHTS).exists():
                message += f"; the best weights are kept in {self.run.path / WEIGHTS}"
            self.run.write_failure(Failure(message, self._new_repairs()))
        self._draw()
        return message

    def _new_repairs(self) -> list[dict[str, Any]]:
        """What the guard met since the last line of the history."""
        known = sum(len(line["repairs"]) for line in self.history)
        return [msgspec.to_builtins(event) for event in self.watch.guard.state.events[known:]]

    def _restore(self, model: Model) -> tuple[int, int]:
        with self._writing():
            found = checkpoints.load_newest(self.run.path / "checkpoint", _log.warning)
        if found is None:
            self._take_changes(0, 0)
            self.watch = self.session.watch(model)
            return 0, 0
        if moved := self.run.arithmetic_changes():
            _log.warning(
                "%s: continues with other arithmetic than it started with, so its weights will differ in rounding from "
                "those of an uninterrupted run (%s)",
                self.run.path,
                "; ".join(moved),
            )
        state, good = _without_good(found.state)
        model.load_training_state(state)
        guard = msgspec.convert(found.guard or {}, GuardState)
        if guard.good == (found.epoch, found.step):
            good = model.training_state()
        found = found._replace(step=self._take_changes(found.epoch, found.step))
        if self._changes:  # what was good under other settings stands at another step
            guard.good, good, guard.tally.step = None, None, found.step
        self.watch = self.session.watch(model, guard, good)
        self.history, self.curve, self.seconds = found.history, found.curve, found.seconds
        with self._writing():
            self.run.write_history(self.history)
            if found.step == 0 and self.history:
                self._write_epoch(model, None)
        return found.epoch, found.step

    def _take_changes(self, epoch: int, step: int) -> int:
        """Write down what is meant to differ from here on; the step of the epoch, which another batch size moves."""
        if not self._changes:
            return step
        config, old = self.session.config, self.run.config.recipe
        new, images = config.recipe, len(self.session.data.train)
        if epoch > new.epochs or (epoch == new.epochs and step):
            raise RecipeError(f"epochs {new.epochs}: {epoch} are done already; give more")
        place = f"epoch {epoch}, step {step}"
        said = (*self.run.config.resumed_with, *(f"{place}: {change}" for change in self._changes))
        with self._writing():
            self.run.change(msgspec.structs.replace(config, resumed_with=said))
        if step == steps_per_epoch(old, images):
            return steps_per_epoch(new, images)
        return min(step * old.batch_size // new.batch_size, steps_per_epoch(new, images))

    def _save(self, model: Model, epoch: int, step: int) -> None:
        state, watch = model.training_state(), self.watch
        if watch.good is not None and watch.guard.state.good != (epoch, step):
            state |= {checkpoints.GOOD + name: value for name, value in watch.good.items()}
        guard = msgspec.to_builtins(watch.guard.state)
        place = checkpoints.Checkpoint(epoch, step, self.history, self.curve, self.seconds, state, guard)
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
        names = self.session.config.data.class_names
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
                "repairs": self._new_repairs(),
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
        best = self.history[best_epoch(self.history) - 1]
        if best is self.history[-1]:
            self.run.write_weights(model.weights())
        ended = self._ended()
        data = self.session.data.test
        if ended and best is not self.history[-1]:
            model.load_weights(self.run.weights())
            test = None
        if test is None and ended:
            test = evaluate(model.logits(data.images), data.labels)
        if test is not None:
            evaluation.save(self.run.path, len(self.history), test, data)
            if ended:
                class_maps.save(self.run.path, model, self.session.network, self.session.config.preprocess, data)
                self._finish(test)

    def _ended(self) -> bool:
        """Whether training is over with the last epoch of the history."""
        return bool(ending(self.session.recipe, validation_accuracies(self.history)))

    def _finish(self, test: Evaluation) -> None:
        last, best = self.history[-1], self.history[best_epoch(self.history) - 1]
        held = best["validation_accuracy"]
        # Of an epoch that was interrupted, only the part behind the interruption was timed.
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
                peak_tensor_bytes=self._peak_bytes(),
                best_epoch=None if held is None else best["epoch"],
                validation_accuracy=held,
                dead_classes=best["dead_classes"],
                repairs=self.watch.guard.state.repairs,
            )
        )
        self._draw()

    def _draw(self) -> None:
        """What people look at. The run is complete without it, so a full disk is no failure here."""
        from mlpconv.drawing.plots import save_curves
        from mlpconv.reports.report import write_report

        try:
            if self.history:
                save_curves(self.history, self.run.path / "curves.png", self.run.name)
            write_report(self.run)
        except OSError as error:
            _log.warning(
                "%s: the pictures and the report could not be written: %s; make room, then: mlpconv report %s",
                self.run.path,
                error.strerror or error,
                self.run.path,
            )


def _without_good(state: State) -> tuple[State, State | None]:
    """The model's state of a checkpoint, and the one that the guard would go back to."""
    good = {name.removeprefix(GOOD): value for name, value in state.items() if name.startswith(GOOD)}
    return {name: value for name, value in state.items() if not name.startswith(GOOD)}, good or None


def _by_class(names: tuple[str, ...], accuracies: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, accuracies, strict=True)}
