"""Schedules: the learning rate and the image size at a step."""

from math import cos, pi
from typing import assert_never

from mlpconv.training.recipe import Recipe

START_SHARE = 0.04
"""The share of the peak learning rate at which a cycle starts (Smith 2018, arXiv:1803.09820)."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        recipe: The recipe of the run.
        step: The step, from 0.
        steps: The number of steps in the run.
    """
    peak, done = recipe.learning_rate, (step + 0.5) / steps
    match recipe.schedule:
        case "constant":
            return peak
        case "steps":
            return peak * (1.0 if done < 0.6 else 0.1 if done < 0.8 else 0.01)
        case "one-cycle":
            return peak * (_rise(recipe, done) if done < recipe.warmup else (1 + cos(pi * _fallen(recipe, done))) / 2)
        case "linear":
            return peak * (_rise(recipe, done) if done < recipe.warmup else 1 - _fallen(recipe, done))
        case _:
            assert_never(recipe.schedule)


def _rise(recipe: Recipe, done: float) -> float:
    """The share of the peak during the warm-up, when this share of all steps is done."""
    return START_SHARE + (1 - START_SHARE) * done / recipe.warmup


def _fallen(recipe: Recipe, done: float) -> float:
    """The share of the descent that is done, when this share of all steps is done."""
    return (done - recipe.warmup) / (1 - recipe.warmup)


def image_size(recipe: Recipe, epoch: float, final: int) -> int:
    """The side in pixels of training images.

    Args:
        recipe: The recipe of the run.
        epoch: The position in the run in epochs.
        final: The side if the recipe's ``image_sizes`` give none.
    """
    sizes = [size for start, size in recipe.image_sizes if start <= epoch]
    return sizes[-1] if sizes else final
