"""What a run will take: its time from a few real steps on a model that is thrown away, and whether it has room.

Steps that would take too long are timed on smaller batches, so a forecast takes a few seconds whatever the network.
"""

import time
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
"""About how long a forecast times steps, and evaluation."""
FEW = 8
"""Images of the first, small step; it and one of twice as many say how large a step can be afforded."""
CPU_ALLOWANCE, DEVICE_ALLOWANCE = 1.75, 1.2
"""Memory taken for each byte of tensors, as measured (docs/costs.md): what lies idle between them in the C library's
heap, or in the pool of an accelerator's allocator."""
SCRATCH_BYTES = 128 * 2**20
"""For what is no tensor: threads, compiled kernels and their work space."""


class Fit(NamedTuple):
    """Whether a run has room. tensor_bytes: alive at the peak, as predicted. needed_bytes: resident for them.
    available_bytes: what the device has left, None where that is not known. largest_batch: the most images a step that
    fit, at most the whole training set; 0 where not even one does, None where it is not known."""

    tensor_bytes: int
    needed_bytes: int
    available_bytes: int | None
    largest_batch: int | None

    @property
    def fits(self) -> bool:
        return self.available_bytes is None or self.needed_bytes <= self.available_bytes


class Forecast(NamedTuple):
    """seconds: of the whole run, or of what is left of it; evaluations, checkpoints and the report included.
    images_per_second: of training, at the last epoch's image size. The others are Fit's; None in a run of an earlier
    version."""

    seconds: float
    images_per_second: float
    tensor_bytes: int | None = None
    available_bytes: int | None = None
    largest_batch: int | None = None


def fit(
    tensor_bytes: Callable[[int], int],
    batch: int,
    most: int,
    available: int | None,
    *,
    allowance: float = CPU_ALLOWANCE,
    apart: int = 0,
) -> Fit:
    """Whether steps of ``batch`` images fit, and how many would.

    tensor_bytes: the peak for a batch, never less for a larger one. most: images there are. allowance: bytes taken for
    each byte of tensors. apart: bytes of the data set, where it takes room on the device too.
    """

    def needed(size: int) -> int:
        return int(allowance * tensor_bytes(size)) + SCRATCH_BYTES + apart

    largest = None
    if available is not None:
        low, high = 0, most  # low fits, or is 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if needed(middle) <= available else (low, middle - 1)
        largest = low
    return Fit(tensor_bytes(batch), needed(batch), available, largest)


def smaller(batch: int | None) -> str:
    """What to do where a step needs too much memory."""
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
    """Time a few steps at each image size that the recipe uses (the first is not counted), an evaluation and a save.

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
    cost = {size: _seconds_per_image(model, recipe, batch, data.side, size, seconds) for size in different}
    last = len(images) - (steps - 1) * batch
    training = sum(
        cost[size] * (last if (step + 1) % steps == 0 else batch) for step, size in enumerate(sizes[first:], first)
    )
    epochs = recipe.epochs - start.epoch
    evaluation = _seconds_per_evaluated(model, images) * data.evaluated
    saves = epochs + training // saving.seconds
    seconds_per_save = _seconds_of(lambda: saving.save(model))
    return Forecast(training + epochs * evaluation + saves * seconds_per_save, 1 / cost[sizes[-1]])


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _seconds_per_image(
    model: Model, recipe: Recipe, batch: int, side: tuple[int, int], size: int, seconds: float
) -> float:
    """Of steps of ``batch`` images, found in about ``seconds``."""

    def step(images: int) -> float:
        smaller = msgspec.structs.replace(recipe, batch_size=images)

        def work() -> None:
            model.train_step(plan_step(smaller, batch, side, size, 0, 0).at_size(size))
            model.read_metrics()

        return _seconds_of(work)

    def timed(images: int) -> float:
        # The first of a size fills caches, and touches memory for the first time.
        first = step(images)
        return first if first > seconds / 6 else min(step(images), step(images))

    def line(few: int, small: float, many: int, large: float) -> tuple[float, float]:
        """What a step costs by itself, such as its update, and what by the image."""
        each = min(max((large - small) / (many - few), 0.0), large / many) if many > few else large / many
        return large - each * many, each

    few, twice = min(batch, FEW), min(batch, 2 * FEW)
    small = timed(few)
    large = timed(twice) if twice > few else small
    fixed, each = line(few, small, twice, large)
    affordable = (seconds / 4 - fixed) / each if each else batch
    taken = int(max(twice, min(batch, affordable)))
    if taken > twice:
        spent, times = step(taken), []
        while spent < seconds and len(times) < 20 and (len(times) < 3 or spent < seconds / 2):
            times.append(step(taken))
            spent += times[-1]
        mean = sum(times) / len(times) if times else spent
        fixed, each = line(twice, large, taken, mean)
    return fixed / batch + each


def _seconds_per_evaluated(model: Model, images: Images) -> float:
    def seconds(count: int) -> float:
        return _seconds_of(lambda: model.logits(images[:count]))

    few = min(len(images), 4 * FEW)
    seconds(few)
    small = min(seconds(few), seconds(few))
    taken = max(few, min(len(images), 32 * FEW, int(few * EVALUATION_SECONDS / (2 * small))))
    if taken > few:
        seconds(taken)
    return seconds(taken) / taken
