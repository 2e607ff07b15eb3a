"""How a finished run ended: which classes it recognizes, and what is wrong if it does not recognize all."""

from math import log
from typing import TYPE_CHECKING, Literal

from mlpconv.formatting import format_number
from mlpconv.training.cross_validation import CrossValidation
from mlpconv.training.guard import CHANCE_LEVEL
from mlpconv.training.metrics import accuracy_note

if TYPE_CHECKING:
    from mlpconv.runs.run import Result

Outcome = Literal["learns", "loses classes", "stalls"]
LOST_CLASS_RECALL = 0.01
"""A class is lost if a smaller share of its test images is recognized."""


def lost_classes(result: "Result") -> list[str]:
    """The names of the classes that are not recognized, among those that have test images."""
    return [name for name, value in result.class_accuracy.items() if value is not None and value < LOST_CLASS_RECALL]


def outcome(result: "Result") -> Outcome:
    """How a run ended.

    Returns:
        "stalls" if the last epoch's loss is that of guessing or at most one class is recognized, "loses classes" if
        some class is not recognized, else "learns".
    """
    classes = sum(value is not None for value in result.class_accuracy.values())
    if _recognized(result) <= 1 or result.loss >= CHANCE_LEVEL * log(classes):
        return "stalls"
    return "loses classes" if lost_classes(result) else "learns"


def _recognized(result: "Result") -> int:
    """The number of classes that are recognized."""
    classes = sum(value is not None for value in result.class_accuracy.values())
    return classes - len(lost_classes(result))


def what_is_wrong(result: "Result") -> str | None:
    """What is wrong with the network at the end of a run, in a sentence; None if it recognizes every class."""
    ended = outcome(result)
    if ended == "learns":
        return None
    if ended == "stalls":
        note = accuracy_note(result.test_accuracy, sum(map(sum, result.confusion)))
        accuracy = f"test accuracy is {result.test_accuracy:.3f}{note}"
        if _recognized(result) <= 1:
            return f"The network has learned nothing: its {accuracy}."
        return (
            f"The network has hardly learned anything: the training loss of its last epoch, {result.loss:.3g}, is that "
            f"of guessing, and its {accuracy}."
        )
    lost, classes = lost_classes(result), len(result.class_accuracy)
    wrong = f"The network does not recognize {len(lost)} of {classes} classes: {', '.join(lost)}"
    dead = [name for name in result.dead_classes or () if name in lost]
    if len(dead) == 1:
        wrong += f"; the class map of {dead[0]} is 0 everywhere"
    elif dead:
        wrong += f"; the class maps of {', '.join(dead)} are 0 everywhere"
    return wrong + "."


def few_images_lines(result: "Result", start: str) -> list[str]:
    """What a run with start weights or few images measured in addition, a sentence or two each.

    Args:
        result: The result of the run.
        start: The run or file of the start weights.
    """
    lines = []
    if known := result.known_classes:
        classes = format_number(len(known.names), "class that it shares", "classes that it shares")
        lines.append(
            f"on {format_number(known.images, 'test image')} of the {classes} with {start}: before "
            f"{known.before:.3f}{accuracy_note(known.before, known.images)}, after {known.after:.3f}"
        )
    if found := result.cross_validation:
        lines.append(
            f"cross-validation over all {format_number(found.images, 'image')}, {found.folds} folds: accuracy "
            f"{found.accuracy:.3f}, 95 % interval {found.interval[0]:.3f} to {found.interval[1]:.3f}"
        )
        lines += learning_curve_lines(found)
        if found.weakest:
            weak = (
                f"{each.name} ({each.recognized:,} of {each.images:,} recognized, {each.mistaken:,} taken for "
                f"{each.taken_for})"
                for each in found.weakest
            )
            lines.append(f"to photograph next, the classes that it recognizes least: {', '.join(weak)}")
    return lines


def learning_curve_lines(found: CrossValidation) -> list[str]:
    """What more images would bring, in sentences."""
    if not found.curve:
        return []
    points = ", ".join(f"{point.accuracy:.3f} with {point.images:,}" for point in found.curve)
    text = f"accuracy by the number of training images: {points}"
    if found.doubled is None:
        return [f"{text}; these do not tell what more would bring"]
    doubled = found.doubled
    return [
        text,
        f"with twice as many pictures ({doubled.images:,}): about {doubled.accuracy:.2f} ({doubled.low:.2f} to "
        f"{doubled.high:.2f}), if the curve continues",
    ]
