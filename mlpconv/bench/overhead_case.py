"""The same steps bare and in a run, with its progress bar or in a notebook, in turn, in one process."""

import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mlpconv.backends import allocator
from mlpconv.backends.base import Model
from mlpconv.bench.contest import DataName
from mlpconv.bench.forecast_case import first_images
from mlpconv.bench.images import splits
from mlpconv.data import Splits
from mlpconv.drawing.plots import save_curves
from mlpconv.jobs.execute import Execution, execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.notebook.live import watch
from mlpconv.reports.report import write_report
from mlpconv.training import trainer
from mlpconv.training.forecast import forecast
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.training_data import LabelledImages, TrainingData


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure: rounds of ``steps`` steps, each bare and as a run."""

    batch_size: int
    steps: int
    rounds: int
    threads: int
    image_size: int | None = None
    data: DataName = "generated"
    device: str | None = None


def measure(job: Job) -> dict[str, Any]:
    """Measure by round the seconds of the steps, bare and in a run, of the rest of the run, and of its report."""
    allocator.keep_memory()
    whole = splits(job.data)
    data = Splits(first_images(whole.train, job.steps * job.batch_size), first_images(whole.test, job.batch_size))
    size = {"image_size": job.image_size} if job.image_size else {}
    recipe = change(get_recipe("study"), {"batch_size": job.batch_size, "epochs": 1, **size})
    prepared = prepare(Request(recipe=recipe, recipe_name="study", device=job.device), data)
    found: dict[str, list[float]] = {name: [] for name in ("bare", "whole", "outside", "report", "notebook")}
    _bare(prepared)  # caches and memory
    for number in range(job.rounds):
        # The order changes, so that a machine that slows down harms both alike.
        for bare in (True, False) if number % 2 == 0 else (False, True):
            if bare:
                found["bare"].append(_bare(prepared))
            else:
                for name, seconds in _whole(prepared, _in_terminal).items():
                    found[name].append(seconds)
        shown = _whole(prepared, _in_notebook)
        found["notebook"].append(shown["outside"] / shown["whole"])
    full = change(get_recipe("study"), {"batch_size": job.batch_size, **size})
    train, test = whole
    images = TrainingData(
        LabelledImages(train.images, train.labels),
        LabelledImages(test.images, test.labels),
        prepared.job.preprocess.size,
    )
    ahead = forecast(prepared.make_model, full, images).seconds
    return found | {"recipe_seconds": ahead, "precision": prepared.job.precision}


def _bare(prepared: PreparedJob) -> float:
    model, train, size = prepared.make_model(), prepared.data.train, prepared.job.preprocess.size
    model.attach(train.images, train.labels)
    side, steps = train.image_shape[:2], len(train) // prepared.recipe.batch_size
    plans = [plan_step(prepared.recipe, len(train), side, size, 0, step) for step in range(steps)]
    started = time.perf_counter()
    for plan in plans:
        model.train_step(plan)
    model.read_metrics()
    return time.perf_counter() - started


class _Timed:
    """A Model that wraps the true one, with a clock on its steps."""

    def __init__(self, model: Model) -> None:
        self._model, self.seconds = model, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def train_step(self, plan: Any) -> None:
        started = time.perf_counter()
        self._model.train_step(plan)
        self.seconds += time.perf_counter() - started


def _in_terminal(execution: Execution) -> None:
    """Show a run as `mlpconv train` does."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
    )
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(*columns, console=screen, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("epoch 1", total=None, text="")
        for event in execution:
            if isinstance(event, trainer.Progress):
                text = f"loss {event.loss:.3f} {event.images_per_second:,.0f} images/s"
                bar.update(task, completed=event.step, total=event.steps, text=text)


def _in_notebook(execution: Execution) -> None:
    """Show a run as in a notebook: curves are drawn again and written for the page."""
    sent = io.StringIO()
    with redirect_stdout(sent):
        for _ in watch(execution, lambda html, text: json.dump({"text/html": str(html), "text/plain": text}, sent)):
            pass


def _whole(prepared: PreparedJob, show: Callable[[Execution], None]) -> dict[str, float]:
    """Execute a run with all its output.

    Returns:
        The seconds of its steps, of the part of them outside the model, and of its figures and report.
    """
    timed: list[_Timed] = []
    make = prepared.make_model

    def make_timed() -> Model:
        timed.append(_Timed(make()))
        return cast(Model, timed[-1])

    prepared.make_model = make_timed
    try:
        with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
            execution = execute(prepared, Path(folder) / "run", ExecuteOptions(force=True))
            show(execution)
            (line,) = execution.recorder.history
            started = time.perf_counter()
            save_curves(execution.recorder.history, execution.run.path / "curves.png", execution.run.name)
            write_report(execution.run)
            report = time.perf_counter() - started
    finally:
        prepared.make_model = make
    return {"whole": line["seconds"], "outside": line["seconds"] - timed[0].seconds, "report": report}
