"""What the reader of a report has to know before its numbers: problems of a run, and what to do about each."""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlpconv.explain import border
from mlpconv.formatting import format_number
from mlpconv.runs.evaluation import StoredEvaluation
from mlpconv.runs.run import Result, Run

_MAX_CONFUSED = 3


class ClassResult(NamedTuple):
    """The result of one class on the test set."""

    name: str
    accuracy: float | None
    """The share of its images that were classified correctly; None without images."""
    correct: int
    images: int
    predicted: int
    """The number of images that were classified as this class."""


def class_results(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[ClassResult]:
    """The result of each class.

    Args:
        names: The classes.
        matrix: The confusion matrix: rows are true classes, columns predicted ones.
    """
    predicted = [sum(row[k] for row in matrix) for k in range(len(matrix))]
    return [
        ClassResult(name, row[k] / sum(row) if sum(row) else None, row[k], sum(row), predicted[k])
        for k, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]


def warnings(
    run: Run,
    result: Result | None,
    history: list[dict[str, Any]],
    matrix: Sequence[Sequence[int]] | None,
    skipped: list[tuple[str, str]],
    stored: StoredEvaluation | None = None,
    conflicts: int = 0,
) -> list[str]:
    """What is wrong with a run and what to do, one sentence or two for each problem.

    Args:
        run: The run.
        result: How it ended; None if it has not ended.
        history: The lines of its history.
        matrix: The confusion matrix on the test set, if there is one.
        skipped: The path and reason of each file that was skipped.
        stored: The newest evaluation, if it is stored.
        conflicts: The number of copies of pictures that are in different classes.
    """
    sentences = []
    done, planned = len(history), run.config.recipe.epochs
    failure = run.failure
    if failure is not None:
        sentences.append(f"Training failed: {failure.message}.")
    elif result is None:
        shown = "the results below are of the last of them" if done else "there are no results yet"
        sentences.append(
            f"This run is not finished: {done} of {planned} epochs are done; {shown}. "
            f"To resume it: mlpconv train --out {shlex.quote(str(run.path))} --resume"
        )
    if skipped:
        files = "file in the folder was" if len(skipped) == 1 else "files in the folder were"
        sentences.append(f"{len(skipped):,} {files} skipped; see Setup for the reasons.")
    if conflicts:
        copies = format_number(conflicts, "picture is", "pictures are")
        sentences.append(f"{copies} in more than one class of the folder; see Likely label errors.")
    updates = sum(line["skipped"] for line in history)
    if updates:
        sentences.append(
            f"{updates:,} update{'s were' if updates > 1 else ' was'} skipped because the loss or a gradient was not "
            "finite; a lower learning rate makes training more stable."
        )
    if matrix is not None:
        sentences += _class_warnings(run, history, matrix)
    found = border.from_array(stored.border if stored else None)
    if text := border.warning(found, run.config.data.class_names):
        sentences.append(text)
    return sentences


def _class_warnings(run: Run, history: list[dict[str, Any]], matrix: Sequence[Sequence[int]]) -> list[str]:
    """Classes that are dead, never predicted, or without test images."""
    sentences, recipe = [], run.config.recipe
    classes = class_results(run.config.data.class_names, matrix)
    # None where no class of the network can die, because no ReLU follows its class maps.
    dead = (history[-1].get("dead_classes") if history else None) or []
    if dead:
        maps = "maps of these classes are" if len(dead) > 1 else "map of this class is"
        remedies = [] if recipe.on_trouble == "repair" else ["let the guard repair the run (--on-trouble repair)"]
        if not recipe.initializer.open_last:
            remedies.append("start with weights that keep every class alive (--set initializer=open)")
        advice = f" To train without that, {' or '.join(remedies)}." if remedies else ""
        sentences.append(
            f"Dead classes: {', '.join(dead)}. The {maps} zero at every position, so that no gradient passes.{advice}"
        )
    never = [each for each in classes if not each.predicted and each.images]
    if never:
        names = ", ".join(each.name for each in never)
        sentence = (
            f"Never predicted, although the test set has images of {'them' if len(never) > 1 else 'it'}: {names}."
        )
        if alive := [each for each in never if each.name not in dead]:
            sentence += _instead(classes, alive, matrix)
            whose = "this class" if len(alive) == 1 else "these classes"
            more = "" if recipe.balance == 1 else ", show all classes equally often (--set balance=1)"
            sentence += f" Add training images of {whose}{more} or train longer."
        sentences.append(sentence)
    without = [each.name for each in classes if not each.images]
    if without:
        sentences.append(f"The test set has no images of: {', '.join(without)}.")
    return sentences


def _instead(classes: Sequence[ClassResult], never: Sequence[ClassResult], matrix: Sequence[Sequence[int]]) -> str:
    """The classes that the images of classes which are never predicted are most often classified as."""
    rows = [row for row, each in zip(matrix, classes, strict=True) if each in never]
    counts = [sum(column) for column in zip(*rows, strict=True)]
    most = sorted(range(len(counts)), key=lambda k: -counts[k])[:_MAX_CONFUSED]
    names = [classes[k].name for k in most if counts[k]]
    whose = "Its" if len(never) == 1 else "Their"
    return f" {whose} images are most often classified as {', '.join(names)}."
