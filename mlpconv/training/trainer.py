"""The only training loop. It tells a model one step plan after the other and yields what happens."""

import time
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from mlpconv.backends.base import Floats, Images, Labels, Metrics, Model
from mlpconv.data.memory_mapped import Prefetcher
from mlpconv.training.ending import ending
from mlpconv.training.guard_runner import GuardRunner, Repaired
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.plan import steps_per_epoch
from mlpconv.training.recipe import Recipe

EVALUATED_AT_ONCE = 256
"""Test images between two questions whether to stop: seconds even on a slow processor and at the chapter's size."""


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
    """``should_stop`` said so: ``step`` steps of ``epoch`` are done, all of them where it was being evaluated."""

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
    held: Sequence[float | None] = (),
    watch: GuardRunner | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    report_every: float = 0.5,
    report_steps: int | None = None,
) -> Iterator[Event]:
    """Train from ``step`` of ``epoch`` on (both from 0) to where the recipe ends it (see ``ending``).

    From behind an epoch's last step on, it begins with the evaluation of that epoch.

    The model must have been given the training images. held: the validation accuracy after each of the ``epoch`` epochs
    that are done, None where it is not known. watch: the guard at work, by default one that knows nothing of
    class maps. report_every: seconds between two Progress events; report_steps: one comes after each so many steps of
    an epoch too. Raises TrainingFailed where the guard gives the run up.
    """
    side, count = (images.shape[1], images.shape[2]), len(images)
    steps = steps_per_epoch(recipe, count)
    watch = watch or GuardRunner(model, recipe, labels)
    watch.begin(epoch, step)
    prefetcher = Prefetcher(images)
    began = reported = time.perf_counter()
    executed, plan = 0, None
    accuracies = [*held, *[None] * (epoch - len(held))]
    while epoch < recipe.epochs:
        if step < steps:
            if should_stop():
                yield Stopped(epoch, step)
                return
            plan = watch.plan(count, side, image_size, epoch, step)
            prefetcher.prefetch(watch.indices(count, epoch, step + 1))
            model.train_step(plan)
            executed += len(plan.indices)
            step += 1
            now = time.perf_counter()
            mark = step % max(steps // 5, 1) == 0
            asked = report_steps and step % report_steps == 0
            if not (mark or asked or now - reported >= report_every):
                continue
            reported, metrics = now, model.read_metrics()
            # What is wrong at the end of an epoch is found there.
            repaired = watch.look(metrics, epoch, step, steps, plan.image_size) if mark and step < steps else None
            if repaired is None or not repaired.moved:
                speed = executed / (time.perf_counter() - began)
                yield Progress(epoch, step, steps, *_means(metrics), speed, mark)
        else:
            # A run that was stopped in this epoch's evaluation has no plan yet.
            plan = plan or watch.plan(count, side, image_size, epoch, steps - 1)
            metrics = model.read_metrics()
            looked = time.perf_counter()
            seconds = looked - began
            repaired = watch.look(metrics, epoch, steps, steps, plan.image_size)
            if repaired is None or not repaired.moved:
                if repaired:
                    yield repaired
                both = [LabelledImages(test_images, test_labels), *([validation] if validation else [])]
                logits = [_logits(model, each.images, should_stop) for each in both]
                found = [
                    evaluate(said, each.labels) for said, each in zip(logits, both, strict=True) if said is not None
                ]
                if len(found) < len(both):
                    # The sums were read; a resume reads them again.
                    yield Stopped(epoch, steps)
                    return
                test, seen = found[0], found[1] if validation else None
                finite = isfinite(test.loss) and (seen is None or isfinite(seen.loss))
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
                        seen,
                        watch.guard.state.tally.dead,
                    )
                    epoch, step = epoch + 1, 0
                    began, executed = time.perf_counter(), 0
                    accuracies.append(seen and seen.accuracy)
                    if ending(recipe, accuracies):
                        return
        if repaired:
            yield repaired
            if repaired.moved:
                if repaired.to[0] != epoch:
                    began, executed = time.perf_counter(), 0
                epoch, step = repaired.to
                del accuracies[epoch:]


def _logits(model: Model, images: Images, should_stop: Callable[[], bool]) -> Floats | None:
    """Of all images, None where it was to stop before the end."""
    parts = []
    for start in range(0, max(len(images), 1), EVALUATED_AT_ONCE):
        if start and should_stop():
            return None
        parts.append(model.logits(images[start : start + EVALUATED_AT_ONCE]))
    return np.concatenate(parts)


def _means(metrics: Metrics) -> tuple[float, float]:
    return metrics.loss / max(metrics.examples, 1), metrics.correct / max(metrics.examples, 1)
