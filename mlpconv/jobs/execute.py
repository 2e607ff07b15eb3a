"""Execute a job in a run directory: iterating over an ``Execution`` trains, records everything, and yields events."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, assert_never

import msgspec

from mlpconv.backends.base import Model
from mlpconv.errors import RecipeError, TrainingFailed
from mlpconv.jobs.prepare import load_job
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.recorder import Recorder, split_state
from mlpconv.jobs.request import DEFAULT_OPTIONS, ExecuteOptions
from mlpconv.jobs.resume import check_same_job
from mlpconv.runs import data_files
from mlpconv.runs.directory import create_run_directory, locked, make_directory, refuse_occupied
from mlpconv.runs.history import validation_accuracies
from mlpconv.runs.job import Job
from mlpconv.runs.run import FAILED, Run
from mlpconv.training import trainer
from mlpconv.training.forecast import Forecast, smaller
from mlpconv.training.frozen import evaluate_fit
from mlpconv.training.guard_runner import GuardRunner
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.training_data import BEGINNING, Position

SLOW_STEP = 10.0
"""Seconds: after a step that took longer, a checkpoint is saved at once, since the next one may take too long to wait
for when a signal comes."""

_log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The run continues: ``step`` steps of ``epoch`` (both from 0) are done."""

    epoch: int
    step: int


Event = trainer.Event | Resumed


def execute(
    job: Job | PreparedJob,
    out: str | Path | None = None,
    options: ExecuteOptions = DEFAULT_OPTIONS,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> "Execution":
    """Open a run directory for a job; iterate over the result to train.

    Args:
        job: The job. Where its images are not loaded yet, they are loaded by their name.
        out: The run directory; by default a new one under ./runs.
        options: Whether to resume, what a resume may change, when to save and to report.
        should_stop: Called between steps; where it returns True, the run is saved and ends.

    Raises:
        MlpconvError: The available memory is not enough.
        RunError: The directory is not empty, is in use, cannot be written, or holds another job.
    """
    if isinstance(job, Job):
        job = load_job(job, run=Path(out) if options.resume and out is not None else None)
    return Execution(job, out, options, should_stop)


class Execution:
    """A job and its run directory. Iterating over it trains and yields the events, once everything about them is
    recorded."""

    run: Run
    """The run directory."""
    guard: GuardRunner
    """The guard, with the model; from the first event on."""

    def __init__(
        self,
        prepared: PreparedJob,
        out: str | Path | None,
        options: ExecuteOptions,
        should_stop: Callable[[], bool],
    ) -> None:
        """See ``execute``, which takes the same arguments."""
        self.prepared, self.options, self.should_stop = prepared, options, should_stop
        memory = prepared.fit() if options.force else prepared.check_memory()
        self._largest_batch = memory.largest_batch
        self._changes: list[str] = []
        job = prepared.job
        path = Path(out) if out is not None else create_run_directory(job.recipe_name, job.recipe.model)
        if options.resume:
            self.run = Run(path)
            self._changes = check_same_job(self.run, job, options.allowed_changes)
        else:
            self.run = self._create(path)
        self.recorder = Recorder(self.run, prepared)
        if options.resume:
            self.recorder.check_position(*self.recorder.saved_position)

    def _create(self, path: Path) -> Run:
        prepared = self.prepared
        refuse_occupied(path)
        make_directory(path)
        with locked(path):
            refuse_occupied(path)  # again: another process may have been faster
            device = prepared.backend.describe_device(prepared.job.device)
            run = Run.create(path, prepared.job, device, prepared.start)
        if prepared.run_data.loaded_folder is not None:
            with Recorder(run, prepared).writing():
                data_files.save_data_files(path, prepared.run_data.loaded_folder)
        return run

    def forecast(self) -> Forecast:
        """Forecast the time and memory of the rest of the run.

        Raises:
            TrainingFailed: The memory is not enough.
            RunError: The directory cannot be written.
        """
        with self._naming_a_batch_that_fits(), self.recorder.writing():
            return self.prepared.forecast(self.recorder.saved_position, self.run.path)

    def __iter__(self) -> Iterator[Event]:
        """Train.

        Raises:
            TrainingFailed: The guard gave the run up, or the memory was not enough.
            RunError: Another process trains in the directory, or it cannot be written.
        """
        with locked(self.run.path):
            (self.run.path / FAILED).unlink(missing_ok=True)
            with self._naming_a_batch_that_fits():
                try:
                    yield from self._train()
                except TrainingFailed as error:
                    raise TrainingFailed(self.recorder.write_failure(self.guard, str(error))) from None

    @contextmanager
    def _naming_a_batch_that_fits(self) -> Iterator[None]:
        """Within the block, a lack of memory is TrainingFailed, whose message says what would fit."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not self.prepared.backend.is_out_of_memory(error):
                raise
            raise TrainingFailed(self._out_of_memory()) from None

    def _train(self) -> Iterator[Event]:
        if self.run.result is not None and not self._changes:
            return
        prepared, recorder = self.prepared, self.recorder
        started = time.perf_counter() - prepared.seconds
        recorder.peak_bytes = prepared.backend.watch_memory(prepared.job.device)
        fitting = time.perf_counter()
        model = prepared.make_model()
        fit_seconds = time.perf_counter() - fitting
        model.attach(prepared.data.train.images, prepared.data.train.labels)
        position = self._restore(model)
        if prepared.expected is not None and position == BEGINNING:  # the run's forecast is that of the whole run
            with recorder.writing():
                self.run.write_forecast(prepared.expected)
        if position != BEGINNING:
            yield Resumed(*position)
        if recorder.ended:  # only the result was missing
            return
        seconds_before = recorder.seconds
        saved = last_event = time.perf_counter()
        for event in self._events(model, position, fit_seconds):
            now = time.perf_counter()
            slow, last_event = now - last_event >= SLOW_STEP, now
            recorder.seconds = seconds_before + now - started
            if self._record(event, slow=slow, due=now - saved >= self.options.checkpoints.seconds):
                saved = last_event = time.perf_counter()
            yield event

    def _events(self, model: Model, position: Position, fit_seconds: float) -> Iterable[trainer.Event]:
        """The training, from a position on. fit_seconds: the time in which the model was made and its head fitted."""
        options = self.options
        if self.prepared.recipe.freeze:
            data = self.prepared.training_data
            return evaluate_fit(model, self.prepared.recipe, data, position, fit_seconds, self.should_stop)
        return trainer.Loop(
            model,
            self.prepared.recipe,
            self.prepared.training_data,
            start=position,
            validation_accuracies=validation_accuracies(self.recorder.history),
            guard=self.guard,
            should_stop=self.should_stop,
            report_every=trainer.ReportEvery(options.report_seconds, options.checkpoints.steps),
        )

    def _record(self, event: trainer.Event, *, slow: bool, due: bool) -> bool:
        """Record an event; whether that saved a checkpoint. slow: the last step was slow. due: a checkpoint is due by
        the clock."""
        recorder = self.recorder
        match event:
            case trainer.Progress():
                if event.mark:
                    recorder.add_mark(event)
                steps = self.options.checkpoints.steps
                due = due or bool(steps and event.step % steps == 0)
                # After an epoch's last step, the end of the epoch saves.
                if not slow and not (due and event.step < event.steps):
                    return False
                recorder.save_checkpoint(self.guard, event.epoch, event.step)
                return True
            case trainer.EpochEnded():
                recorder.end_epoch(self.guard, event)
                return True
            case trainer.Stopped():
                recorder.save_checkpoint(self.guard, event.epoch, event.step)
                return False
            case trainer.Repaired():
                if event.moved:
                    recorder.go_back(*event.to)
                return False
            case _:
                assert_never(event)

    def _restore(self, model: Model) -> Position:
        """Restore the newest checkpoint, if there is one, and make the guard; the position that was restored."""
        checkpoint = self.recorder.load_checkpoint()
        if checkpoint is None:
            self._apply_changes(BEGINNING)
            self.guard = self.prepared.make_guard(model)
            return BEGINNING
        self._warn_of_other_arithmetic()
        state, memory = split_state(checkpoint)
        model.load_training_state(state)
        saved = Position(checkpoint.epoch, checkpoint.step)
        if memory.state.good == saved:
            memory = memory._replace(good=model.training_state())
        position = self._apply_changes(saved)
        if self._changes:  # the good state of other settings has another position
            memory.state.good, memory.state.tally.step = None, position.step
            memory = memory._replace(good=None)
        self.guard = self.prepared.make_guard(model, memory)
        self.recorder.restore(checkpoint)
        if position.step == 0 and self.recorder.history:
            self.recorder.write_epoch(self.guard)
        return position

    def _warn_of_other_arithmetic(self) -> None:
        if changes := self.run.arithmetic_changes():
            _log.warning(
                "%s: continues with other arithmetic than it started with, so its weights will differ in rounding from "
                "those of an uninterrupted run (%s)",
                self.run.path,
                "; ".join(changes),
            )

    def _apply_changes(self, position: Position) -> Position:
        """Store the changes of a resume in the run; the position, whose step another batch size changes."""
        if not self._changes:
            return position
        (epoch, step), job = position, self.prepared.job
        old, new, images = self.run.config.recipe, job.recipe, len(self.prepared.data.train)
        if epoch > new.epochs or (epoch == new.epochs and step):
            raise RecipeError(f"epochs {new.epochs}: {epoch} are done already; give more")
        changes = (f"epoch {epoch}, step {step}: {change}" for change in self._changes)
        resumed_with = (*self.run.config.resumed_with, *changes)
        with self.recorder.writing():
            self.run.change(msgspec.structs.replace(job, resumed_with=resumed_with))
        steps = steps_per_epoch(new, images)
        if step == steps_per_epoch(old, images):
            return Position(epoch, steps)
        return Position(epoch, min(step * old.batch_size // new.batch_size, steps))

    def _out_of_memory(self) -> str:
        batch, largest = self.prepared.recipe.batch_size, self._largest_batch
        # Where the forecast promised enough memory and there was too little, half the batch is the next to try.
        remedy = smaller(batch // 2 if largest is None or largest >= batch else largest)
        resume = (
            f"; or free some memory, then continue from the checkpoint: mlpconv train --out {self.run.path} --resume"
        )
        saved = self.recorder.saved_position != BEGINNING
        return f"{self.run.path}: no memory left in training with batch size {batch}: {remedy}{resume * saved}"
