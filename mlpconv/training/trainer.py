"""The training loop. It gives a model one step plan after another and yields what happens; it never writes a file."""

import time
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from mlpconv.backends.base import Floats, Images, Metrics, Model, StepPlan
from mlpconv.data.memory_mapped import Prefetcher
from mlpconv.training.ending import ending
from mlpconv.training.guard_runner import GuardRunner, Repaired
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.recipe import Recipe
from mlpconv.training.training_data import BEGINNING, LabelledImages, Position, TrainingData

EVALUATION_BATCH = 256
"""Images evaluated between two checks of ``should_stop``: seconds even on a slow processor at the chapter's size."""
MARKS_PER_EPOCH = 5
"""Points of an epoch at which the chapter's curve has a value and the guard checks the run."""


class Progress(NamedTuple):
    """Progress within an epoch."""

    epoch: int
    step: int
    """Steps of the epoch that are done."""
    steps: int
    """Steps of a whole epoch."""
    loss: float
    """Mean training loss of the epoch so far."""
    accuracy: float
    """Training accuracy of the epoch so far."""
    images_per_second: float
    mark: bool
    """Whether this is one of the five points of an epoch that the chapter's curve shows, always at the same steps; the
    other events depend on the clock."""


class EpochEnded(NamedTuple):
    """An epoch and its evaluation."""

    epoch: int
    loss: float
    """Mean training loss over the epoch, as the chapter computes it."""
    accuracy: float
    """Training accuracy over the epoch."""
    test: Evaluation
    learning_rate: float
    image_size: int
    skipped: int
    """Updates that were skipped because the loss or a gradient was not finite."""
    seconds: float
    """Time of training alone."""
    evaluation_seconds: float
    images_per_second: float
    """Speed of training alone."""
    validation: Evaluation | None = None
    """None where no images are held out."""
    dead_classes: list[int] | None = None
    """None where no class of the network can die, or classes were not checked."""


class Stopped(NamedTuple):
    """``should_stop`` returned True: ``step`` steps of ``epoch`` are done, all of them if it was being evaluated."""

    epoch: int
    step: int


Event = Progress | EpochEnded | Stopped | Repaired


class ReportEvery(NamedTuple):
    """How often a ``Progress`` event is due, in addition to the five marks of an epoch."""

    seconds: float = 0.5
    steps: int | None = None
    """Also after this many steps of an epoch, and its multiples."""


EVERY_HALF_SECOND = ReportEvery()


class Loop:
    """Trains a model to the end of its recipe; iterate over it to train and to receive the events.

    One round is ``train_step`` and ``report``, or ``end_epoch`` after an epoch's last step. The guard checks the run at
    the five marks of each epoch; where it repairs the run, training may go back to an earlier position.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        data: TrainingData,
        *,
        start: Position = BEGINNING,
        validation_accuracies: Sequence[float | None] = (),
        guard: GuardRunner | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        report_every: ReportEvery = EVERY_HALF_SECOND,
    ) -> None:
        """
        Args:
            model: The model, to which the training images are already attached.
            recipe: What to do.
            data: The images to train on and to evaluate on.
            start: The position from which to train. From an epoch's last step on, that epoch is evaluated first.
            validation_accuracies: The validation accuracy after each epoch before ``start``; None where it is unknown.
            guard: Checks and repairs the run; by default a guard that does not check class maps.
            should_stop: Called between steps, and between parts of an evaluation.
            report_every: How often to yield ``Progress``.
        """
        self.model, self.recipe, self.data = model, recipe, data
        self.guard = guard or GuardRunner(model, recipe, data.train.labels)
        self.should_stop, self.report_every = should_stop, report_every
        self.epoch, self.step = start
        self.steps = steps_per_epoch(recipe, len(data.train.images))
        self._accuracies = [*validation_accuracies, *[None] * (start.epoch - len(validation_accuracies))]
        self._prefetcher = Prefetcher(data.train.images)
        self._plan: StepPlan | None = None
        self._reported = 0.0
        self._restart_clock()

    def __iter__(self) -> Iterator[Event]:
        """Train.

        Raises:
            TrainingFailed: The guard gives the run up.
        """
        self.guard.start(self.epoch, self.step)
        self._restart_clock()
        self._reported = self._epoch_started
        while self.epoch < self.recipe.epochs:
            if self.step < self.steps:
                if self.should_stop():
                    yield Stopped(self.epoch, self.step)
                    return
                self.train_step()
                yield from self.report()
                continue
            for event in self.end_epoch():
                yield event
                if isinstance(event, Stopped):
                    return
                if isinstance(event, EpochEnded) and ending(self.recipe, self._accuracies):
                    return

    def train_step(self) -> None:
        """Execute the next step of the epoch, without waiting for its result."""
        count = len(self.data.train.images)
        self._plan = self._step_plan(self.step)
        self._prefetcher.prefetch(self.guard.indices(count, self.epoch, self.step + 1))
        self.model.train_step(self._plan)
        self._trained_images += len(self._plan.indices)
        self.step += 1

    def report(self) -> Iterator[Event]:
        """After a step: the progress, if it is due, and the guard's repair, if it makes one."""
        now, every = time.perf_counter(), self.report_every
        mark = self.step % max(self.steps // MARKS_PER_EPOCH, 1) == 0
        due = mark or (every.steps and self.step % every.steps == 0) or now - self._reported >= every.seconds
        if not due:
            return
        self._reported, metrics = now, self.model.read_metrics()
        # At the end of an epoch, end_epoch checks the run before it evaluates.
        repaired = self.check(metrics) if mark and self.step < self.steps else None
        if repaired is None or not repaired.moved:
            speed = self._trained_images / (time.perf_counter() - self._epoch_started)
            yield Progress(self.epoch, self.step, self.steps, *_means(metrics), speed, mark)
        if repaired is not None:
            yield repaired
            self._go_on_from(repaired)

    def check(self, metrics: Metrics) -> Repaired | None:
        """Let the guard check the run and repair it.

        Args:
            metrics: Sums over the epoch so far.

        Raises:
            TrainingFailed: The guard gives the run up.
        """
        assert self._plan is not None
        return self.guard.check(metrics, self.epoch, self.step, self.steps, self._plan.image_size)

    def end_epoch(self) -> Iterator[Event]:
        """After an epoch's last step: check it, evaluate it, and move to the next epoch."""
        if self._plan is None:  # the run was stopped in this epoch's evaluation, and resumed
            self._plan = self._step_plan(self.steps - 1)
        plan, metrics = self._plan, self.model.read_metrics()
        trained = time.perf_counter()
        repaired = self.check(metrics)
        if repaired is not None:
            yield repaired
            if repaired.moved:
                self._go_on_from(repaired)
                return
        evaluations = self.evaluate()
        if evaluations is None:
            # The metrics were read but not reset, so a resume reads them again.
            yield Stopped(self.epoch, self.steps)
            return
        test, validation = evaluations
        if not all(isfinite(evaluation.loss) for evaluation in evaluations if evaluation):
            repaired = self.guard.evaluation_not_finite(self.epoch, self.steps)
            if repaired is not None:
                yield repaired
                self._go_on_from(repaired)
                return
        self.model.read_metrics(reset=True)
        self.guard.end_epoch(self.epoch + 1)
        self._accuracies.append(validation and validation.accuracy)
        seconds = trained - self._epoch_started
        ended = EpochEnded(
            self.epoch,
            *_means(metrics),
            test,
            plan.learning_rate,
            plan.image_size,
            metrics.skipped,
            seconds,
            time.perf_counter() - trained,
            self._trained_images / seconds,
            validation,
            self.guard.guard.state.tally.dead,
        )
        yield ended
        self.epoch, self.step = self.epoch + 1, 0
        self._restart_clock()

    def evaluate(self) -> tuple[Evaluation, Evaluation | None] | None:
        """Evaluate the model on the test images and on the validation images; None if it was stopped meanwhile."""
        test = self._evaluate(self.data.test)
        if test is None:
            return None
        if self.data.validation is None:
            return test, None
        validation = self._evaluate(self.data.validation)
        return None if validation is None else (test, validation)

    def _evaluate(self, data: LabelledImages) -> Evaluation | None:
        logits = logits_of(self.model, data.images, self.should_stop)
        return None if logits is None else evaluate(logits, data.labels)

    def _step_plan(self, step: int) -> StepPlan:
        data = self.data
        return self.guard.plan(len(data.train.images), data.side, data.image_size, self.epoch, step)

    def _go_on_from(self, repaired: Repaired) -> None:
        """Continue from the position to which the guard went back, if it did."""
        if not repaired.moved:
            return
        epoch, step = repaired.to
        if epoch != self.epoch:
            self._restart_clock()
        self.epoch, self.step = epoch, step
        del self._accuracies[epoch:]

    def _restart_clock(self) -> None:
        self._epoch_started, self._trained_images = time.perf_counter(), 0


def logits_of(model: Model, images: Images, should_stop: Callable[[], bool]) -> Floats | None:
    """The logits of all images, float32 (N, classes); None if it was stopped before the last of them."""
    parts = []
    for start in range(0, max(len(images), 1), EVALUATION_BATCH):
        if start and should_stop():
            return None
        parts.append(model.logits(images[start : start + EVALUATION_BATCH]))
    return np.concatenate(parts)


def _means(metrics: Metrics) -> tuple[float, float]:
    return metrics.loss / max(metrics.examples, 1), metrics.correct / max(metrics.examples, 1)
