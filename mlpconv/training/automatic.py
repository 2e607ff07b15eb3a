"""The network, image size and batch size for a folder of images, chosen by a fixed rule."""

from typing import NamedTuple

import msgspec

from mlpconv.training.recipe import Recipe

AUTO = "auto"
"""The value of ``Recipe.model`` that asks for a choice."""
MIN_BATCH = 8
MIN_STEPS_PER_EPOCH = 40
"""If an epoch has fewer steps, batches become smaller, down to ``MIN_BATCH``."""


class Choice(NamedTuple):
    """A network for images of a size."""

    model: str
    image_size: int
    """The side in pixels of the network's input."""


RULE = (
    (30, Choice("nin_28", 28)),
    (48, Choice("nin_32", 32)),
    (112, Choice("nin_32", 64)),
    (None, Choice("nin_32", 96)),
)
"""(largest typical side, choice): the typical side is the median of the images' shorter sides in pixels.

Each network has batch normalization, sees images at about the size in which they are stored, and is small enough for a
CPU.
"""


def choose_model(side: int) -> Choice:
    """The network for images whose shorter side is typically ``side`` pixels."""
    return next(choice for largest, choice in RULE if largest is None or side <= largest)


def resolve(recipe: Recipe, side: int, count: int) -> tuple[Recipe, str]:
    """Choose the network, image size and batch size of a recipe whose model is "auto".

    Args:
        recipe: The recipe. If it names its network, it does not change; nor does an image size that it has.
        side: The typical shorter side of the images in pixels.
        count: The number of training images.

    Returns:
        The recipe, and a description of the choice for people; empty if there was no choice.
    """
    if recipe.model != AUTO:
        return recipe, ""
    choice = choose_model(side)
    size = recipe.image_size or choice.image_size
    batch = recipe.batch_size
    while batch > MIN_BATCH and count < MIN_STEPS_PER_EPOCH * batch:
        batch //= 2
    description = f"{choice.model} at {size}×{size}, for images of typically {side} pixels"
    if batch < recipe.batch_size:
        description += f"; batches of {batch}, for {count:,} images"
    return msgspec.structs.replace(recipe, model=choice.model, image_size=size, batch_size=batch), description
