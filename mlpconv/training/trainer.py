"""The only training loop. It tells a model one step plan after the other and yields what happens."""

import time
from collections.abc import Callable, Iterator
from math import isfinite
from typing import NamedTuple

from mlpconv.backends.base import Images, Labels, Metrics, Model
from mlpconv.data.mapped import Ahead
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.recipe import Recipe
from mlpconv.training.watch import Repaired, Watch


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
    them. seconds and images_per_second are of training alone, evaluation_seconds of the evaluation. validation: None
    where no images are held out. dead_classes: None where no class can die, or nobody looked."""

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
    validation: Evaluation | None = None
    dead_classes: list[int] | None = None


class Stopped(NamedTuple):
    """``should_stop`` said so: ``step`` steps of ``epoch`` are done."""

    epoch: int
    step: int


Event = Progress | EpochEnded | Stopped | Repaired


class LabelledImages(NamedTuple):
    """Images, uint8 (N, H, W, C), with their labels, int64 (N,)."""

    images: Images
    labels: Labels


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
    validation: LabelledImages | None = None,
    watch: Watch | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    report_every: float = 0.5,
) -> Iterator[Event]:
    """Train from ``step`` of ``epoch`` on (both from 0) to the end of the recipe, or to its target accuracy.

    The model must have been given the training images. watch: the guard at work, by default one that knows nothing of
    class maps. report_every: seconds between two Progress events. Raises TrainingFailed where the guard gives the run
    up.
    """
    side, count = (images.shape[1], images.shape[2]), len(images)
    steps = steps_per_epoch(recipe, count)
    watch = watch or Watch(model, recipe, labels)
    watch.begin(epoch, step)
    ahead = Ahead(images)
    began = reported = time.perf_counter()
    executed = 0
    while epoch < recipe.epochs:
        plan = watch.plan(count, side, image_size, epoch, min(step, steps - 1))
        if step < steps:
            if should_stop():
                yield Stopped(epoch, step)
                return
            ahead.want(watch.indices(count, epoch, step + 1))
            model.train_step(plan)
            executed += len(plan.indices)
            step += 1
            now = time.perf_counter()
            mark = step % max(steps // 5, 1) == 0
            if not mark and now - reported < report_every:
                continue
            reported, metrics = now, model.read_metrics()
            # What is wrong at the end of an epoch is found there.
            repaired = watch.look(metrics, epoch, step, steps, plan.image_size) if mark and step < steps else None
            if repaired is None or not repaired.moved:
                speed = executed / (time.perf_counter() - began)
                yield Progress(epoch, step, steps, *_means(metrics), speed, mark)
        else:
            metrics = model.read_metrics()
            looked = time.perf_counter()
            seconds = looked - began
            repaired = watch.look(metrics, epoch, steps, steps, plan.image_size)
            if repaired is None or not repaired.moved:
                if repaired:
                    yield repaired
                test = evaluate(model.logits(test_images), test_labels)
                held = evaluate(model.logits(validation.images), validation.labels) if validation else None
                finite = isfinite(test.loss) and (held is None or isfinite(held.loss))
                repaired = None if finite else watch.grown(epoch, steps)
                if repaired is None:
                    model.read_metrics(reset=True)
                    watch.end_epoch(epoch + 1)
                    yield EpochEnded(
                        epoch,
                        *_means(metrics),
                        test,
                        plan.learning_rate,
                        plan.image_size,
                        metrics.skipped,
                        seconds,
                        time.perf_counter() - looked,
                        executed / seconds,
                        held,
                        watch.guard.state.tally.dead,
                    )
                    epoch, step = epoch + 1, 0
                    began, executed = time.perf_counter(), 0
                    if recipe.target_accuracy is not None and held and held.accuracy >= recipe.target_accuracy:
                        return
        if repaired:
            yield repaired
            if repaired.moved:
                if repaired.to[0] != epoch:
                    began, executed = time.perf_counter(), 0
                epoch, step = repaired.to


def _means(metrics: Metrics) -> tuple[float, float]:
    return metrics.loss / max(metrics.examples, 1), metrics.correct / max(metrics.examples, 1)
