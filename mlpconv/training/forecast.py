"""Forecasts: how long a run will take, and whether it fits the memory.

The time comes from a few real steps on a model that is discarded. Steps that would take too long are timed on smaller
batches, so a forecast takes a few seconds for every network.
"""

import time
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import NamedTuple

import msgspec

from mlpconv.backends.base import Images, Model
from mlpconv.training.plan import plan_step, steps_per_epoch
from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import image_size
from mlpconv.training.training_data import BEGINNING, Position, TrainingData

STEPS_SECONDS, EVALUATION_SECONDS = 3.0, 1.0
"""About how many seconds a forecast times steps, and evaluation, at most."""
TIMED_SHARE, LEAST_SECONDS = 0.1, 0.2
"""Of a short run, only this share of its steps and of its evaluations is timed, and at least so many seconds."""
SHAPES_IN_EVALUATION = 2
"""Batches of different shapes in an evaluation: whole ones, and the last one."""
SMALL_BATCH = 8
"""Images of the first timed step; it and a step of twice as many determine how large a step fits the time."""
CPU_ALLOWANCE, DEVICE_ALLOWANCE = 1.75, 1.2
"""Memory used for each byte of tensors, as measured (docs/costs.md): the rest is unused memory between them in the C
library's heap, or in the pool of an accelerator's allocator."""
SCRATCH_BYTES = 128 * 2**20
"""Memory for everything but tensors: threads, compiled kernels and their work space."""


class Fit(NamedTuple):
    """Whether a run fits the memory."""

    tensor_bytes: int
    """The bytes of tensors at the peak, as predicted."""
    needed_bytes: int
    """The bytes of memory needed for them."""
    available_bytes: int | None
    """The free bytes of the device; None if unknown."""
    largest_batch: int | None
    """The most images a step that fit, at most the whole training set; 0 if not even one fits, None if unknown."""

    @property
    def fits(self) -> bool:
        """Whether the needed memory is available, or the available memory is unknown."""
        return self.available_bytes is None or self.needed_bytes <= self.available_bytes


class Forecast(NamedTuple):
    """How long a run will take, and the memory that it needs.

    The fields from ``tensor_bytes`` on are those of ``Fit``; None in a run of an earlier version.
    """

    seconds: float
    """Seconds of the whole run, or of the rest of it, including evaluations, checkpoints and the report."""
    images_per_second: float
    """The speed of training at the last epoch's image size."""
    tensor_bytes: int | None = None
    available_bytes: int | None = None
    largest_batch: int | None = None


def fit(
    tensor_bytes: Callable[[int], int],
    batch: int,
    images: int,
    available: int | None,
    *,
    allowance: float = CPU_ALLOWANCE,
    apart: int = 0,
) -> Fit:
    """Predict whether steps of a batch fit the memory, and the largest batch that does.

    Args:
        tensor_bytes: Returns the bytes of tensors at the peak for a batch; never fewer for a larger one.
        batch: The images of a step.
        images: The number of training images.
        available: The free bytes of the device; None if unknown.
        allowance: The bytes of memory used for each byte of tensors.
        apart: The bytes of the data set, if it is in the memory of the device too.
    """

    def needed(size: int) -> int:
        return int(allowance * tensor_bytes(size)) + SCRATCH_BYTES + apart

    largest = None
    if available is not None:
        low, high = 0, images  # low fits, or is 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if needed(middle) <= available else (low, middle - 1)
        largest = low
    return Fit(tensor_bytes(batch), needed(batch), available, largest)


def smaller(batch: int | None) -> str:
    """Advice for a step that needs too much memory. batch: the largest that fits, None if unknown."""
    if not batch:
        return "not even one image a step fits: take a smaller network or --image-size"
    return f"the largest batch that fits is about {batch}: --batch-size {batch}"


class Saving(NamedTuple):
    """What a run saves, and how often."""

    save: Callable[[Model], object] = lambda model: None
    """Called after every epoch, and every ``seconds``."""
    seconds: float = inf


NOT_SAVED = Saving()


def forecast(
    make_model: Callable[[], Model],
    recipe: Recipe,
    data: TrainingData,
    *,
    start: Position = BEGINNING,
    saving: Saving = NOT_SAVED,
) -> Forecast:
    """Time a few steps at each image size that the recipe uses, an evaluation and a save.

    The first step of a shape may take far longer than the others, as frameworks compile it. It is never taken for the
    time of a step, but added once for each shape that the run will have.

    Args:
        make_model: Returns a new model.
        recipe: The recipe of the run.
        data: The images of the run.
        start: What is done already; the rest of the run is forecast.
        saving: What the run saves, and how often.
    """
    images, labels = data.train
    model = make_model()
    batch = min(recipe.batch_size, len(images))
    model.attach(images[:batch], labels[:batch])
    steps = steps_per_epoch(recipe, len(images))
    sizes = [image_size(recipe, step / steps, data.image_size) for step in range(steps * recipe.epochs)]
    first = min(steps * start.epoch + start.step, len(sizes))
    different = list(dict.fromkeys(sizes[first:] or sizes[-1:]))
    seconds = STEPS_SECONDS / len(different)
    counted = Counter(sizes[first:] or different)
    cost = {size: _time_steps(model, recipe, batch, data.side, size, seconds, counted[size]) for size in different}
    last = len(images) - (steps - 1) * batch
    counts = [last if (step + 1) % steps == 0 else batch for step in range(first, len(sizes))]
    shapes = list(zip(sizes[first:], counts, strict=True))
    training = sum(cost[size].per_image * count for size, count in shapes)
    warm_up = sum(cost[size].warm_up for size, _ in set(shapes))
    epochs = recipe.epochs - start.epoch
    evaluation = _time_evaluation(model, images, epochs * data.evaluated)
    if epochs:
        warm_up += SHAPES_IN_EVALUATION * evaluation.warm_up
    saves = epochs + training // saving.seconds
    seconds_per_save = _seconds_of(lambda: saving.save(model))
    total = warm_up + training + epochs * evaluation.per_image * data.evaluated + saves * seconds_per_save
    return Forecast(total, 1 / cost[sizes[-1]].per_image)


def forecast_fit(make_model: Callable[[], Model], data: TrainingData, *, views: int, computation: float) -> Forecast:
    """Time an evaluation, for a run whose last block is fitted on frozen features.

    Args:
        make_model: Returns a new model.
        data: The images of the run.
        views: How often the features of each training image are computed.
        computation: The seconds of the fit itself.
    """
    images = len(data.train.images)
    evaluated = (views + 1) * images + data.evaluated
    cost = _time_evaluation(make_model(), data.train.images, evaluated)
    return Forecast(cost.warm_up + cost.per_image * evaluated + computation, 1 / cost.per_image)


class _Cost(NamedTuple):
    """What was measured at one image size."""

    per_image: float
    """Seconds for each image."""
    warm_up: float
    """Seconds that the first use of a shape takes in addition."""


def _seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _enough(most: float, run: float) -> float:
    """The seconds for timing a part of a run that takes about ``run`` seconds; at most ``most``."""
    return min(most, max(LEAST_SECONDS, TIMED_SHARE * run))


def _time_steps(
    model: Model, recipe: Recipe, batch: int, side: tuple[int, int], size: int, most: float, steps: int
) -> _Cost:
    """The cost of steps of ``batch`` images.

    It is measured in at most about ``most`` seconds, besides the first steps of each shape, and in fewer if ``steps``
    steps do not take long.
    """

    def step(images: int) -> float:
        smaller = msgspec.structs.replace(recipe, batch_size=images)

        def work() -> None:
            model.train_step(plan_step(smaller, batch, side, size, 0, 0).at_size(size))
            model.read_metrics()

        return _seconds_of(work)

    def timed(images: int) -> tuple[float, float]:
        """The seconds of a step, and of the first one."""
        first, second = step(images), step(images)
        return second if second > most / 6 else min(second, step(images)), first

    def line(few: int, few_seconds: float, many: int, many_seconds: float) -> tuple[float, float]:
        """The seconds of a step that do not depend on its images, such as those of its update, and those per image."""
        per_image = many_seconds / many
        if many > few:
            per_image = min(max((many_seconds - few_seconds) / (many - few), 0.0), per_image)
        return many_seconds - per_image * many, per_image

    small, twice = min(batch, SMALL_BATCH), min(batch, 2 * SMALL_BATCH)
    small_seconds, first = timed(small)
    twice_seconds = small_seconds
    if twice > small:
        twice_seconds, first = timed(twice)
    warm_up = first - twice_seconds
    fixed, per_image = line(small, small_seconds, twice, twice_seconds)
    seconds = _enough(most, steps * (fixed + per_image * batch))
    affordable = (seconds / 4 - fixed) / per_image if per_image else batch
    large = int(max(twice, min(batch, affordable)))
    if large > twice:
        first, times = step(large), [step(large)]
        while sum(times) < seconds and len(times) < 20 and (len(times) < 3 or sum(times) < seconds / 2):
            times.append(step(large))
        mean = sum(times) / len(times)
        warm_up = first - mean
        fixed, per_image = line(twice, twice_seconds, large, mean)
    return _Cost(fixed / batch + per_image, max(warm_up, 0.0))


def _time_evaluation(model: Model, images: Images, evaluated: int) -> _Cost:
    """The cost of evaluating an image, if the run evaluates so many in all."""

    def seconds(count: int) -> float:
        return _seconds_of(lambda: model.logits(images[:count]))

    small = min(len(images), 4 * SMALL_BATCH)
    first = seconds(small)
    small_seconds = min(seconds(small), seconds(small))
    enough = _enough(EVALUATION_SECONDS, small_seconds / small * evaluated)
    large = max(small, min(len(images), 32 * SMALL_BATCH, int(small * enough / (2 * small_seconds))))
    if large > small:
        first = seconds(large)
    large_seconds = seconds(large)
    return _Cost(large_seconds / large, max(first - large_seconds, 0.0))
