"""What a run will take, from a few real steps on a model that is thrown away."""

import time
from collections.abc import Callable
from typing import NamedTuple

from mlpconv.backends.base import Images, Labels, Model
from mlpconv.training.plan import plan_step, steps_per_epoch
from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import image_size


class Forecast(NamedTuple):
    """seconds: of the whole run, evaluations included. images_per_second: of training, at the last epoch's image
    size."""

    seconds: float
    images_per_second: float


def forecast(
    make_model: Callable[[], Model], recipe: Recipe, images: Images, labels: Labels, test_count: int, size: int
) -> Forecast:
    """Time three steps at each image size that the recipe uses (the first not counted), and one evaluation batch."""
    model = make_model()
    seen = min(len(images), 4 * recipe.batch_size)
    model.attach(images[:seen], labels[:seen])
    steps, side = steps_per_epoch(recipe, len(images)), (images.shape[1], images.shape[2])
    sizes = [image_size(recipe, step / steps, size) for step in range(steps * recipe.epochs)]
    cost = {each: _seconds_per_step(model, recipe, seen, side, each) for each in dict.fromkeys(sizes)}
    few = images[: min(seen, 256)]
    model.logits(few)
    began = time.perf_counter()
    model.logits(few)
    evaluation = (time.perf_counter() - began) / len(few) * test_count
    seconds = sum(cost[each] for each in sizes) + recipe.epochs * evaluation
    return Forecast(seconds, min(recipe.batch_size, len(images)) / cost[sizes[-1]])


def _seconds_per_step(model: Model, recipe: Recipe, count: int, side: tuple[int, int], size: int) -> float:
    full = [step for step in range(steps_per_epoch(recipe, count)) if (step + 1) * recipe.batch_size <= count] or [0]
    times = []
    for index in range(3):
        plan = plan_step(recipe, count, side, size, 0, full[index % len(full)])
        model.read_metrics()
        began = time.perf_counter()
        model.train_step(plan.at_size(size))
        model.read_metrics()
        times.append(time.perf_counter() - began)
    return min(times[1:])
