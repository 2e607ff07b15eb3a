"""The network, image size, batch size and start weights for a folder of images, chosen by fixed rules."""

from typing import NamedTuple

import msgspec

from mlpconv.training.recipe import Recipe

AUTO = "auto"
"""The value of ``Recipe.model`` that asks for a choice."""
MIN_BATCH = 8
MIN_STEPS_PER_EPOCH = 40
"""If an epoch has fewer steps, batches become smaller, down to ``MIN_BATCH``."""
FEW = 5_000
"""With fewer training images, training starts from the weights that come with the package."""
MANY_EPOCHS = 100
"""More epochs are mentioned in the plan."""
SMALLEST = 32
"""Images whose typical side in pixels is shorter do not start from these weights, which know photographs."""
BUDGET = 120.0
"""Seconds that training on few images takes at most, unless the request says how long: then there are fewer epochs."""


class Choice(NamedTuple):
    """A network for images of a size."""

    model: str
    image_size: int
    """The side in pixels of the network's input."""


RULE = (
    (30, Choice("nin_28", 28)),
    (48, Choice("nin_32", 32)),
    (None, Choice("nin_96", 96)),
)
"""(largest typical side, choice): the typical side is the median of the images' shorter sides in pixels.

Each network has batch normalization, sees images at about the size in which they are stored, and is small enough for a
CPU. The receptive field of its last map is at least half of the image.
"""


class Wishes(NamedTuple):
    """What a request leaves to the choice."""

    few: Recipe | None = None
    """The recipe to take instead for few images; None if the request excludes that."""
    batch: bool | None = None
    """Whether the batch size may be chosen; None: if the network may be."""

    def for_few(self, count: int, side: int) -> Recipe | None:
        """The recipe for few images, if they are few and large enough. count, side: as ``resolve`` takes them."""
        return self.few if count < FEW and side >= SMALLEST else None


NO_WISHES = Wishes()


def choose_model(side: int) -> Choice:
    """The network for images whose shorter side is typically ``side`` pixels."""
    return next(choice for largest, choice in RULE if largest is None or side <= largest)


def resolve(recipe: Recipe, side: int, count: int, wishes: Wishes = NO_WISHES) -> tuple[Recipe, str]:
    """Choose the network, image size and batch size of a recipe whose model is "auto", or a recipe for few images.

    Args:
        recipe: The recipe. If it names its network, that does not change; nor does an image size that it has.
        side: The typical shorter side of the images in pixels.
        count: The number of training images.
        wishes: What else may be chosen.

    Returns:
        The recipe, and a description of the choice for people; empty if there was no choice.
    """
    said = []
    automatic = recipe.model == AUTO
    few = wishes.for_few(count, side)
    if few is not None:
        recipe = few
        said.append(
            f"{recipe.model} with the start weights that come with the package, for {count:,} images; "
            "--from-scratch starts from random weights"
        )
    if recipe.model == AUTO:
        choice = choose_model(side)
        size = recipe.image_size or choice.image_size
        recipe = msgspec.structs.replace(recipe, model=choice.model, image_size=size)
        said.insert(0, f"{choice.model} at {size}×{size}, for images of typically {side} pixels")
    if (automatic if wishes.batch is None else wishes.batch) and not recipe.freeze:
        batch = recipe.batch_size
        while batch > MIN_BATCH and count < MIN_STEPS_PER_EPOCH * batch:
            batch //= 2
        if batch < recipe.batch_size:
            recipe = msgspec.structs.replace(recipe, batch_size=batch)
            said.append(f"batches of {batch}, for {count:,} images")
    return recipe, "; ".join(said)
