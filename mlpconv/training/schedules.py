"""What a schedule says at a step: the learning rate and the image size."""

from math import cos, pi

from mlpconv.training.recipe import Recipe

START = 0.04
"""One-cycle begins at this share of the peak (Smith 2018, arXiv:1803.09820)."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of step ``step`` (from 0) of ``steps`` in all."""
    peak, place = recipe.learning_rate, (step + 0.5) / steps
    if recipe.schedule == "constant":
        return peak
    if recipe.schedule == "steps":
        return peak * (1.0 if place < 0.6 else 0.1 if place < 0.8 else 0.01)
    if place < recipe.warmup:
        return peak * (START + (1 - START) * place / recipe.warmup)
    rest = (place - recipe.warmup) / (1 - recipe.warmup)
    return peak * (1 - rest if recipe.schedule == "linear" else (1 + cos(pi * rest)) / 2)


def image_size(recipe: Recipe, epoch: float, final: int) -> int:
    """The side in pixels of training images at a point of time in epochs; ``final`` where no pair speaks of it."""
    sizes = [size for start, size in recipe.image_sizes if start <= epoch]
    return sizes[-1] if sizes else final
