"""Curves that grow in a notebook while a network trains."""

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

from mlpconv.formatting import format_duration
from mlpconv.jobs.execute import Event, Execution, Resumed
from mlpconv.notebook.chart import curves_html
from mlpconv.notebook.page import Html, render
from mlpconv.runs.history import validation_accuracies
from mlpconv.training.ending import ending_words
from mlpconv.training.guard_runner import Repaired
from mlpconv.training.recipe import Recipe
from mlpconv.training.trainer import EpochEnded, Progress, Stopped

Publish = Callable[[Html, str], None]
"""Shows HTML, or the text in a terminal, in place of what it showed before."""

MAX_TIME_SHARE = 0.01
"""The share of the training time that drawing may take."""


def in_notebook() -> bool:
    """Whether this code runs in the kernel of a notebook. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def watch(execution: Execution, publish: Publish | None = None) -> Iterator[Event]:
    """Draw the curves of a run while it trains, and print the last lines of the chapter's training at its end.

    Args:
        execution: The run.
        publish: Shows the curves; by default in the output of the running cell.

    Yields:
        The events of the run.
    """
    prepared, recorder = execution.prepared, execution.recorder
    live = LiveCurves(prepared.recipe.epochs, publish or _Output())
    status = "preparing the first step"
    live.draw(recorder.history, recorder.curve, status)
    try:
        for event in execution:
            status = _status(event, prepared.recipe)
            live.draw(recorder.history, recorder.curve, status)
            yield event
    finally:
        live.draw(recorder.history, recorder.curve, status, always=True)
    if result := recorder.run.result:
        print(f"loss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}")
        device = prepared.backend.describe_device(prepared.job.device)
        print(f"{result.examples_per_second:.1f} examples/sec on {device}")
        if reason := ending_words(prepared.recipe, validation_accuracies(recorder.run.history)):
            print(reason)


def _status(event: Event, recipe: Recipe) -> str:
    if isinstance(event, Repaired):
        repair = event.event
        return f"epoch {repair.epoch}, step {repair.step}: {repair.what}; {repair.action}: {repair.done}"
    epoch = f"epoch {event.epoch + 1} of {recipe.epochs}"
    match event:
        case Progress():
            steps = (recipe.epochs - event.epoch) * event.steps - event.step
            left = steps * recipe.batch_size / max(event.images_per_second, 1e-9)
            return (
                f"{epoch}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, "
                f"{event.images_per_second:,.0f} images/s, about {format_duration(left)} left"
            )
        case EpochEnded():
            return (
                f"{epoch}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, test acc {event.test.accuracy:.3f}, "
                f"{event.images_per_second:,.0f} images/s"
            )
        case Stopped():
            return f"stopped in {epoch}; the run is saved"
        case Resumed():
            return f"resuming from epoch {event.epoch}, step {event.step}"
        case _:
            assert_never(event)


class LiveCurves:
    """The curves of one run in one output, drawn again as often as ``MAX_TIME_SHARE`` allows.

    Args:
        epochs: The x axis reaches this far.
        publish: Shows the curves in place of the previous ones.
        clock: Returns the time in seconds.
    """

    def __init__(self, epochs: int, publish: Publish, clock: Callable[[], float] = time.perf_counter) -> None:
        self._epochs, self._publish, self._clock = epochs, publish, clock
        self._started = clock()
        self._spent = self._longest = 0.0

    def draw(
        self,
        history: Sequence[dict[str, Any]],
        unfinished: Sequence[Sequence[float]],
        status: str,
        *,
        always: bool = False,
    ) -> bool:
        """Draw the curves if there is time for it.

        Args:
            history: The lines of the run's history.
            unfinished: The points (epoch, loss, accuracy) of the epoch that is not finished.
            status: A line of text below the curves.
            always: Draw regardless of the time.

        Returns:
            Whether the curves were drawn.
        """
        start = self._clock()
        if not always and self._spent + self._longest > MAX_TIME_SHARE * (start - self._started):
            return False
        curves = curves_html(history, unfinished, self._epochs)
        self._publish(render("live", curves=curves, status=status), status)
        cost = self._clock() - start
        self._spent += cost
        self._longest = max(self._longest, cost)
        return True


class _Output:
    """One output of the running cell, which each call replaces."""

    def __init__(self) -> None:
        self._id: str | None = None

    def __call__(self, html: Html, text: str) -> None:
        from IPython import display

        data = {"text/html": str(html), "text/plain": text}
        if self._id is None:
            self._id = uuid.uuid4().hex
            display.display(data, raw=True, display_id=self._id)
        else:
            display.update_display(data, raw=True, display_id=self._id)
