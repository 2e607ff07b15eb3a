"""When training ends, from the accuracies measured after its epochs."""

from collections.abc import Sequence
from typing import Literal, assert_never

from mlpconv.training.recipe import Recipe

Ending = Literal["", "epochs", "target", "patience"]


def ending(recipe: Recipe, accuracies: Sequence[float | None]) -> Ending:
    """What ends training after the last of these epochs.

    Args:
        recipe: The recipe of the run.
        accuracies: The validation accuracy after each epoch so far; None if no images are held out.

    Returns:
        "epochs" if all epochs are done, "target" if ``target_accuracy`` is reached, "patience" if there was no better
        accuracy for ``patience`` epochs, "" if training continues.
    """
    if len(accuracies) >= recipe.epochs:
        return "epochs"
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    if not measured:
        return ""
    if recipe.target_accuracy is not None and measured[-1] >= recipe.target_accuracy:
        return "target"
    # The first of equal accuracies is the best: one that is reached again is not better.
    waited = len(measured) - 1 - measured.index(max(measured))
    return "patience" if recipe.patience and waited >= recipe.patience else ""


def ending_words(recipe: Recipe, accuracies: Sequence[float | None]) -> str:
    """Why training ended before its last epoch, for people; empty if it did not. Arguments as for ``ending``."""
    done = f"after {len(accuracies)} of {recipe.epochs} epochs"
    reason = ending(recipe, accuracies)
    match reason:
        case "target":
            return f"ended {done}: the validation accuracy that was asked for is reached ({recipe.target_accuracy:g})"
        case "patience":
            since = "epoch" if recipe.patience == 1 else f"{recipe.patience} epochs"
            return f"ended early, {done}: no better validation accuracy for {since}"
        case "" | "epochs":
            return ""
        case _:
            assert_never(reason)
