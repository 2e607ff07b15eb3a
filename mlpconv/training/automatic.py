"""What fits images of one's own, by a rule that is stated: the network, its image size, the batch."""

from typing import NamedTuple

import msgspec

from mlpconv.training.recipe import Recipe

AUTO = "auto"
SMALLEST_BATCH = 8
STEPS = 40
"""An epoch of fewer steps than this takes smaller batches."""


class Choice(NamedTuple):
    """A network and the side in pixels at which it sees images."""

    model: str
    image_size: int


RULE = (
    (30, Choice("nin_28", 28)),
    (48, Choice("nin_32", 32)),
    (112, Choice("nin_32", 64)),
    (None, Choice("nin_32", 96)),
)
"""Up to which typical side (the median of the shorter sides, in pixels) which network is chosen. Each has batch
normalisation, sees images at about their own size, and is small enough for a processor."""


def choose_model(side: int) -> Choice:
    """The network for images whose shorter side is typically ``side`` pixels."""
    return next(choice for most, choice in RULE if most is None or side <= most)


def resolve(recipe: Recipe, side: int, count: int) -> tuple[Recipe, str]:
    """The recipe with the network, image size and batch size that fit, and why in a sentence; empty where the recipe
    names its network. side: as for ``choose_model``. count: training images. An image size that was given stays."""
    if recipe.model != AUTO:
        return recipe, ""
    choice = choose_model(side)
    size = recipe.image_size or choice.image_size
    batch = recipe.batch_size
    while batch > SMALLEST_BATCH and count < STEPS * batch:
        batch //= 2
    said = f"{choice.model} at {size}×{size}, for images of typically {side} pixels"
    if batch < recipe.batch_size:
        said += f"; batches of {batch}, for {count:,} images"
    return msgspec.structs.replace(recipe, model=choice.model, image_size=size, batch_size=batch), said
