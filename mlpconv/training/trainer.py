"""The only training loop. It tells a model one step plan after the other and yields what happens."""

import time
from collections.abc import Callable, Iterator
from math import isfinite
from typing import NamedTuple

from mlpconv.backends.base import Images, Labels, Metrics, Model
from mlpconv.data.mapped import Ahead
from mlpconv.errors import TrainingFailed
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import plan_step, step_indices, steps_per_epoch
from mlpconv.training.recipe import Recipe


class Progress(NamedTuple):
    """Within an epoch: the steps done in it, and the training metrics so far. ``mark``: one of the five points of an
    epoch that the chapter's curve shows, always at the same step; the others come by the clock."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    mark: bool


class EpochEnded(NamedTuple):
    """An epoch with its evaluation. Loss and accuracy of training are means over the epoch, as the chapter computes
    them. seconds and images_per_second are of training alone, evaluation_seconds of the evaluation."""

    epoch: int
    loss: float
    accuracy: float
    test: Evaluation
    learning_rate: float
    image_size: int
    skipped: int
    seconds: float
    evaluation_seconds: float
    images_per_second: float


class Stopped(NamedTuple):
    """``should_stop`` said so: ``step`` steps of ``epoch`` are done."""

    epoch: int
    step: int


Event = Progress | EpochEnded | Stopped


def train(
    model: Model,
    recipe: Recipe,
    images: Images,
    labels: Labels,
    test_images: Images,
    test_labels: Labels,
    *,
    image_size: int,
    epoch: int = 0,
    step: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    report_every: float = 0.5,
) -> Iterator[Event]:
    """Train from ``step`` of ``epoch`` on (both from 0) to the end of the recipe.

    The model must have been given the training images. report_every: seconds between two Progress events.
    Raises TrainingFailed where the loss has stopped being finite: in twenty steps of an epoch, in all of them, or on
    the test images.
    """
    side = (images.shape[1], images.shape[2])
    steps = steps_per_epoch(recipe, len(images))
    ahead = Ahead(images)
    for current in range(epoch, recipe.epochs):
        began = reported = time.perf_counter()
        first = step if current == epoch else 0
        before = model.read_metrics().examples
        plan = None
        for index in range(first, steps):
            if should_stop():
                yield Stopped(current, index)
                return
            plan = plan_step(recipe, len(images), side, image_size, current, index, labels)
            ahead.want(step_indices(recipe, len(images), current, index + 1, labels))
            model.train_step(plan)
            now = time.perf_counter()
            mark = (index + 1) % max(steps // 5, 1) == 0
            if mark or now - reported >= report_every:
                reported = now
                metrics = model.read_metrics()
                _check(metrics, current, index)
                speed = (metrics.examples - before) / (time.perf_counter() - began)
                yield Progress(current, index + 1, steps, *_means(metrics), speed, mark)
        metrics = model.read_metrics(reset=True)
        seconds = time.perf_counter() - began
        _check(metrics, current, steps - 1, ended=True)
        test = evaluate(model.logits(test_images), test_labels)
        evaluation_seconds = time.perf_counter() - began - seconds
        if not isfinite(test.loss):
            raise TrainingFailed(
                f"epoch {current + 1}: the loss on the test images is not finite, the weights have grown without "
                f"bounds; {_REMEDY}"
            )
        last = plan or plan_step(recipe, len(images), side, image_size, current, steps - 1, labels)
        yield EpochEnded(
            current,
            *_means(metrics),
            test,
            last.learning_rate,
            last.image_size,
            metrics.skipped,
            seconds,
            evaluation_seconds,
            (metrics.examples - before) / seconds,
        )


def _means(metrics: Metrics) -> tuple[float, float]:
    return metrics.loss / max(metrics.examples, 1), metrics.correct / max(metrics.examples, 1)


_REMEDY = "lower the learning rate (--lr), or take the recipe quick"


def _check(metrics: Metrics, epoch: int, step: int, *, ended: bool = False) -> None:
    if metrics.skipped >= 20 or (ended and not metrics.examples):
        raise TrainingFailed(
            f"epoch {epoch + 1}, step {step + 1}: the loss or a gradient was not finite in {metrics.skipped} steps of "
            "this epoch (no update was made in them); " + _REMEDY
        )
