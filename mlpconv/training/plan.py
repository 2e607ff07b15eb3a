"""The step plan: (recipe, epoch, step) → everything that a step needs, as a pure function.

All random numbers come from a counter-based generator (Philox, Salmon et al. 2011) whose key is the seed and whose
counter is the epoch and step. So any step can be planned without the steps before it, and a resume needs only its
number.
"""

from functools import lru_cache

import numpy as np

from mlpconv.backends.base import Labels, StepPlan
from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import image_size, learning_rate

_ORDER, _STEP, _FLIP = 1, 2, 3
CROP_RATIO = 4 / 3
"""The largest aspect ratio of a random crop, relative to that of the image; its inverse is the smallest."""


def steps_per_epoch(recipe: Recipe, count: int) -> int:
    """The number of steps that show each of ``count`` images once; the last step may be smaller."""
    return -(-count // recipe.batch_size)


def epochs_of(recipe: Recipe, count: int) -> int:
    """The number of epochs for ``count`` training images: more than ``recipe.epochs`` if ``min_steps`` requires it."""
    return max(recipe.epochs, -(-recipe.min_steps // steps_per_epoch(recipe, count)))


def step_indices(recipe: Recipe, count: int, epoch: int, step: int, labels: Labels | None = None) -> np.ndarray:
    """The indices of a step's images, int64 (B,); empty after the last step.

    Args:
        recipe: The recipe of the run.
        count: The number of training images.
        epoch: The epoch, from 0.
        step: The step of the epoch, from 0.
        labels: The labels of all training images, for a recipe that balances the classes.
    """
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
    """Plan a step.

    Args:
        recipe: The recipe of the run.
        count: The number of training images.
        side: Their (height, width) in pixels.
        final_size: The side of the network's input if the recipe's ``image_sizes`` give none.
        epoch: The epoch, from 0.
        step: The step of the epoch, from 0.
        labels: The labels of all training images, for a recipe that balances the classes.
        rate: The guard's factor on the learning rate.
    """
    per_epoch = steps_per_epoch(recipe, count)
    indices = step_indices(recipe, count, epoch, step, labels)
    draw = _generator(recipe.seed, _STEP, epoch, step)
    dropout_seed = int(draw.integers(2**63))
    size, augmentation = len(indices), recipe.augmentation
    done = epoch * per_epoch + step
    flip = _flips(recipe, count, epoch, indices, draw)
    shift = None
    if most := augmentation.shift:
        shift = draw.integers(-most, most, (size, 2), endpoint=True)
    erase = _boxes(draw, size, side, augmentation.erase) if augmentation.erase else None
    partner = draw.permutation(size) if augmentation.mixup or augmentation.cutmix else None
    alpha = augmentation.mixup or augmentation.cutmix
    mix = float(draw.beta(alpha, alpha)) if alpha else 1.0
    # What was added later is drawn last, so that the plans of older recipes stay as they are.
    crop = _crops(draw, size, side, augmentation.crop) if augmentation.crop else None
    color = None
    if augmentation.color:
        color = np.rint(256 * (1 + augmentation.color * draw.uniform(-1, 1, (size, 3)))).astype(np.int64)
    cut = None
    if augmentation.cutmix:
        cut = _cut(draw, side, mix)
        mix = 1 - float(cut[2] * cut[3]) / (side[0] * side[1])
    return StepPlan(
        indices=indices,
        image_size=image_size(recipe, done / per_epoch, final_size),
        learning_rate=rate * learning_rate(recipe, done, recipe.epochs * per_epoch),
        dropout_seed=dropout_seed,
        flip=flip,
        shift=shift,
        erase=erase,
        partner=partner,
        mix=mix,
        label_smoothing=recipe.label_smoothing,
        crop=crop,
        color=color,
        cut=cut,
    )


def _flips(recipe: Recipe, count: int, epoch: int, indices: np.ndarray, draw: np.random.Generator) -> np.ndarray | None:
    """Which images of a step are mirrored, bool (B,); None without flips."""
    match recipe.augmentation.flip:
        case False:
            return None
        case True:
            return draw.random(len(indices)) < 0.5
        case "alternate":
            return _first_flips(recipe.seed, count)[indices] ^ (epoch % 2 == 1)


def _generator(seed: int, stream: int, epoch: int, step: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, step]))


class _Labels:
    """Labels as a key of a cache: equal if they are the same array."""

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


@lru_cache(maxsize=2)
def _first_flips(seed: int, count: int) -> np.ndarray:
    """Which images are mirrored in the first epoch of alternating flips, bool (count,)."""
    return _generator(seed, _FLIP, 0).random(count) < 0.5


def _balanced(draw: np.random.Generator, labels: Labels, balance: float) -> np.ndarray:
    """The order of an epoch that shows each class in proportion to the power 1 − balance of its number of images.

    The epoch has as many images as the set. A class that is shown more often than it has images starts from its
    beginning again.
    """
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
    """Squares whose centres are anywhere in the image, so that some extend over its edge (DeVries, Taylor 2017)."""
    centres = np.stack([draw.integers(side[0], size=count), draw.integers(side[1], size=count)], axis=1)
    return np.concatenate([centres - erase // 2, np.full((count, 2), erase)], axis=1)


def _crops(draw: np.random.Generator, count: int, side: tuple[int, int], least: float) -> np.ndarray:
    """Boxes within the image that keep at least this share of its area, int64 (count, 4)."""
    area, ratio = draw.uniform(least, 1, count), np.exp(draw.uniform(-1, 1, count) * np.log(CROP_RATIO))
    sides = np.array(side)
    lengths = np.sqrt(np.stack([area / ratio, area * ratio], 1))
    lengths = np.clip(np.rint(np.minimum(lengths, 1) * sides).astype(np.int64), 1, sides)
    starts = np.floor(draw.random((count, 2)) * (sides - lengths + 1)).astype(np.int64)
    return np.concatenate([starts, lengths], 1)


def _cut(draw: np.random.Generator, side: tuple[int, int], mix: float) -> np.ndarray:
    """A box around a random center, without the part beyond the edges, of about a share 1 − mix of the image."""
    sides = np.array(side)
    lengths = np.rint(sides * np.sqrt(1 - mix)).astype(np.int64)
    starts = draw.integers(sides) - lengths // 2
    ends = np.minimum(starts + lengths, sides)
    starts = np.maximum(starts, 0)
    return np.concatenate([starts, ends - starts])
