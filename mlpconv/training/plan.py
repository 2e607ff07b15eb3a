"""The step plan: (recipe, epoch, step) → everything that this step is told, as a pure function.

Each draw comes from a counter-based generator (Philox, Salmon et al. 2011) that is keyed by the seed and set to the
epoch and step, so any step can be planned without the steps before it, and a resume needs nothing but its number.
"""

from functools import lru_cache

import numpy as np

from mlpconv.backends.base import Labels, StepPlan
from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import image_size, learning_rate

_ORDER, _STEP = 1, 2


def steps_per_epoch(recipe: Recipe, count: int) -> int:
    """Steps that see each of ``count`` images once; the last may be smaller."""
    return -(-count // recipe.batch_size)


def epochs_of(recipe: Recipe, count: int) -> int:
    """The epochs that a recipe means for ``count`` training images: more than its own where they are few."""
    return max(recipe.epochs, -(-recipe.min_steps // steps_per_epoch(recipe, count)))


def step_indices(recipe: Recipe, count: int, epoch: int, step: int, labels: Labels | None = None) -> np.ndarray:
    """The images of a step, int64 (B,); empty behind the last. labels: of all images, for a recipe that balances."""
    start = step * recipe.batch_size
    balanced = None if labels is None or not recipe.balance else _Labels(labels)
    return _order(recipe.seed, count, epoch, recipe.balance, balanced)[start : start + recipe.batch_size].copy()


def plan_step(
    recipe: Recipe,
    count: int,
    side: tuple[int, int],
    final_size: int,
    epoch: int,
    step: int,
    labels: Labels | None = None,
    *,
    rate: float = 1.0,
) -> StepPlan:
    """What step ``step`` of epoch ``epoch`` (both from 0) does.

    count: training images. side: their (height, width) in pixels. final_size: the network's input where the recipe's
    image_sizes say nothing. labels: of all images, for a recipe that balances the classes. rate: the guard's factor on
    the learning rate.
    """
    per_epoch = steps_per_epoch(recipe, count)
    indices = step_indices(recipe, count, epoch, step, labels)
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


class _Labels:
    """Labels as a key of a cache: known by which array they are."""

    def __init__(self, labels: Labels) -> None:
        self.array = labels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Labels) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


@lru_cache(maxsize=2)
def _order(seed: int, count: int, epoch: int, balance: float, labels: _Labels | None) -> np.ndarray:
    draw = _generator(seed, _ORDER, epoch)
    order = draw.permutation(count) if labels is None else _balanced(draw, labels.array, balance)
    order.setflags(write=False)
    return order


def _balanced(draw: np.random.Generator, labels: Labels, balance: float) -> np.ndarray:
    """As many images as there are, of each class in proportion to the power 1 − balance of its own number; a class that
    is to be seen more often than it has images is gone through again from its start."""
    sizes = np.bincount(labels).astype(float)
    shares = np.where(sizes > 0, sizes, 1) ** (1 - balance) * (sizes > 0)
    exact = shares / shares.sum() * len(labels)
    quotas = exact.astype(np.int64)
    quotas[np.argsort(quotas - exact, kind="stable")[: len(labels) - quotas.sum()]] += 1
    parts = []
    for label, quota in enumerate(quotas.tolist()):
        members = np.flatnonzero(labels == label)
        while quota > 0:
            parts.append(draw.permutation(members)[:quota])
            quota -= len(members)
    return draw.permutation(np.concatenate(parts))


def _boxes(draw: np.random.Generator, count: int, side: tuple[int, int], erase: int) -> np.ndarray:
    """Squares whose centres are anywhere in the image, so that some hang over its edge (DeVries, Taylor 2017)."""
    centres = np.stack([draw.integers(side[0], size=count), draw.integers(side[1], size=count)], axis=1)
    return np.concatenate([centres - erase // 2, np.full((count, 2), erase)], axis=1)
