"""Curves that grow in a notebook while a network trains."""

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlpconv.formatting import format_duration
from mlpconv.jobs.execute import Event, Execution, Resumed
from mlpconv.notebook.chart import curves_html
from mlpconv.notebook.page import Html, element, page
from mlpconv.runs.history import validation_accuracies
from mlpconv.training.ending import ending_words
from mlpconv.training.guard_runner import Repaired
from mlpconv.training.recipe import Recipe
from mlpconv.training.trainer import EpochEnded, Progress, Stopped

Publish = Callable[[Html, str], None]
"""Shows HTML, or the text where there is no page, in the place of what it showed before."""

SHARE = 0.01
"""The share of the time that drawing may take."""


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, which can show pictures; nothing is imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def watch(execution: Execution, publish: Publish | None = None) -> Iterator[Event]:
    """A run's events, passed on, while its curves are drawn in one output; then the chapter's last lines are printed.

    publish: by default the output of the cell that runs.
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
        if why := ending_words(prepared.recipe, validation_accuracies(recorder.run.history)):
            print(why)


def _status(event: Event, recipe: Recipe) -> str:
    if isinstance(event, Repaired):
        met = event.event
        return f"epoch {met.epoch}, step {met.step}: {met.what}; {met.action}: {met.done}"
    place = f"epoch {event.epoch + 1} of {recipe.epochs}"
    match event:
        case Progress():
            steps = (recipe.epochs - event.epoch) * event.steps - event.step
            left = steps * recipe.batch_size / max(event.images_per_second, 1e-9)
            return (
                f"{place}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, "
                f"{event.images_per_second:,.0f} images/s, about {format_duration(left)} left"
            )
        case EpochEnded():
            return (
                f"{place}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, test acc {event.test.accuracy:.3f}, "
                f"{event.images_per_second:,.0f} images/s"
            )
        case Stopped():
            return f"stopped in {place}, and saved"
        case Resumed():
            return f"resuming from epoch {event.epoch}, step {event.step}"


class LiveCurves:
    """The curves of one run in one output, drawn anew as often as 1 % of the time allows.

    epochs: how far the axis reaches. publish: shows a page in the place of the one before. clock: seconds.
    """

    def __init__(self, epochs: int, publish: Publish, clock: Callable[[], float] = time.perf_counter) -> None:
        self._epochs, self._publish, self._clock = epochs, publish, clock
        self._began = clock()
        self._spent = self._longest = 0.0

    def draw(
        self, history: Sequence[dict[str, Any]], curve: Sequence[Sequence[float]], status: str, *, always: bool = False
    ) -> bool:
        """Show the curves with a line of text below; whether it was done. always: whatever time it takes.

        history, curve: as ``curves_html`` takes them.
        """
        began = self._clock()
        if not always and self._spent + self._longest > SHARE * (began - self._began):
            return False
        figure = curves_html(history, curve, self._epochs)
        self._publish(page(figure, element("p", status)), status)
        cost = self._clock() - began
        self._spent += cost
        self._longest = max(self._longest, cost)
        return True


class _Output:
    """One output of the cell that runs; what is shown later takes its place."""

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
