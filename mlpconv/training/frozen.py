"""Training with frozen layers: the last block was fitted before, so that what is left is to evaluate it."""

import time
from collections.abc import Callable, Iterator

from mlpconv.backends.base import Model
from mlpconv.training.metrics import evaluate
from mlpconv.training.recipe import Recipe
from mlpconv.training.trainer import EpochEnded, Stopped, logits_of
from mlpconv.training.training_data import LabelledImages, Position, TrainingData


def evaluate_fit(
    model: Model,
    recipe: Recipe,
    data: TrainingData,
    start: Position,
    seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[EpochEnded | Stopped]:
    """Evaluate a model whose last block was fitted, as the one epoch of its run.

    Args:
        model: The model.
        recipe: What was done.
        data: The images.
        start: The position; after the epoch, nothing is left to do.
        seconds: The time that the fit took.
        should_stop: Called between parts of an evaluation.
    """
    if start.epoch:
        return
    started = time.perf_counter()
    parts: list[LabelledImages] = [data.train, data.test, *([data.validation] if data.validation else [])]
    evaluations = []
    for part in parts:
        logits = None if should_stop() else logits_of(model, part.images, should_stop)
        if logits is None:
            yield Stopped(0, 0)
            return
        evaluations.append(evaluate(logits, part.labels))
    train, test, *validation = evaluations
    yield EpochEnded(
        0,
        train.loss,
        train.accuracy,
        test,
        recipe.learning_rate,
        data.image_size,
        0,
        seconds,
        time.perf_counter() - started,
        len(data.train.images) / seconds,
        validation[0] if validation else None,
    )
