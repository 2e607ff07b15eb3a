"""The step plan: (recipe, epoch, step) → everything that this step is told, as a pure function.

Each draw comes from a counter-based generator (Philox, Salmon et al. 2011) that is keyed by the seed and set to the
epoch and step, so any step can be planned without the steps before it, and a resume needs nothing but its number.
"""

from functools import lru_cache

import numpy as np

from mlpconv.backends.base import StepPlan
from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import image_size, learning_rate

_ORDER, _STEP = 1, 2


def steps_per_epoch(recipe: Recipe, count: int) -> int:
    """Steps that see each of ``count`` images once; the last may be smaller."""
    return -(-count // recipe.batch_size)


def epochs_of(recipe: Recipe, count: int) -> int:
    """The epochs that a recipe means for ``count`` training images: more than its own where they are few."""
    return max(recipe.epochs, -(-recipe.min_steps // steps_per_epoch(recipe, count)))


def plan_step(
    recipe: Recipe,
    count: int,
    side: tuple[int, int],
    final_size: int,
    epoch: int,
    step: int,
    *,
    rate: float = 1.0,
) -> StepPlan:
    """What step ``step`` of epoch ``epoch`` (both from 0) does.

    count: training images. side: their (height, width) in pixels. final_size: the network's input where the recipe's
    image_sizes say nothing. rate: the guard's factor on the learning rate.
    """
    per_epoch = steps_per_epoch(recipe, count)
    start = step * recipe.batch_size
    indices = _order(recipe.seed, count, epoch)[start : start + recipe.batch_size].copy()
    draw = _generator(recipe.seed, _STEP, epoch, step)
    dropout_seed = int(draw.integers(2**63))
    size, change = len(indices), recipe.augmentation
    done = epoch * per_epoch + step
    return StepPlan(
        indices=indices,
        image_size=image_size(recipe, done / per_epoch, final_size),
        learning_rate=rate * learning_rate(recipe, done, recipe.epochs * per_epoch),
        dropout_seed=dropout_seed,
        flip=draw.random(size) < 0.5 if change.flip else None,
        shift=draw.integers(-change.shift, change.shift, (size, 2), endpoint=True) if change.shift else None,
        erase=_boxes(draw, size, side, change.erase) if change.erase else None,
        partner=draw.permutation(size) if change.mixup else None,
        mix=float(draw.beta(change.mixup, change.mixup)) if change.mixup else 1.0,
        label_smoothing=recipe.label_smoothing,
    )


def _generator(seed: int, stream: int, epoch: int, step: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, step]))


@lru_cache(maxsize=2)
def _order(seed: int, count: int, epoch: int) -> np.ndarray:
    order = _generator(seed, _ORDER, epoch).permutation(count)
    order.setflags(write=False)
    return order


def _boxes(draw: np.random.Generator, count: int, side: tuple[int, int], erase: int) -> np.ndarray:
    """Squares whose centres are anywhere in the image, so that some hang over its edge (DeVries, Taylor 2017)."""
    centres = np.stack([draw.integers(side[0], size=count), draw.integers(side[1], size=count)], axis=1)
    return np.concatenate([centres - erase // 2, np.full((count, 2), erase)], axis=1)
