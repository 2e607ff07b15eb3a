"""When training is over, from what the epochs behind it measured."""

from collections.abc import Sequence
from typing import Literal

from mlpconv.training.recipe import Recipe

Ending = Literal["", "epochs", "target", "patience"]


def ending(recipe: Recipe, held: Sequence[float | None]) -> Ending:
    """What ends training behind the last of these epochs: all are done, ``target_accuracy`` is reached, or ``patience``
    at its end; empty where it goes on. held: the validation accuracy after each epoch so far, from the first; None
    where no images are held out."""
    if len(held) >= recipe.epochs:
        return "epochs"
    measured = [accuracy for accuracy in held if accuracy is not None]
    if not measured:
        return ""
    if recipe.target_accuracy is not None and measured[-1] >= recipe.target_accuracy:
        return "target"
    # The first of equals is the best: an accuracy that is reached again is no better.
    waited = len(measured) - 1 - measured.index(max(measured))
    return "patience" if recipe.patience and waited >= recipe.patience else ""


def ending_words(recipe: Recipe, held: Sequence[float | None]) -> str:
    """Why training ended before its last epoch, as one reads it; empty where it did not."""
    done = f"after {len(held)} of {recipe.epochs} epochs"
    match ending(recipe, held):
        case "target":
            return f"ended {done}: the validation accuracy that was asked for is reached ({recipe.target_accuracy:g})"
        case "patience":
            since = "epoch" if recipe.patience == 1 else f"{recipe.patience} epochs"
            return f"ended early, {done}: no better validation accuracy for {since}"
    return ""
