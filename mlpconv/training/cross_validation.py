"""Cross-validation of a head on frozen features, and what more images would bring.

Every image is classified by a head that was fitted without it, so that few images give one honest accuracy. The layers
before the head must not have learned from any of them.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from mlpconv.training.head_fit import ROUGH, Examples, fit, fold_numbers
from mlpconv.training.metrics import accuracy_interval

FOLDS = 10
FRACTIONS = (0.25, 0.5, 1.0)
"""The shares of a fold's training images for which a learning curve has points."""
SHARED = 1.3
"""Heads that share images answer alike, so the accuracy varies as with fewer images that are independent: its variance
is larger by this factor (measured with tools/measure_intervals.py)."""
REPEATS = 2
"""Choices of images for each share below 1."""
RESAMPLES = 500
MIN_IMAGES_OF_A_CLASS = 8
"""Without so many, a quarter of the images may lack a class, and there is no learning curve."""
MAX_MISFIT = 0.02
"""A power law that misses a point by more than this accuracy is not extrapolated."""
WEAKEST = 3
"""The most classes that are named as weak."""
MAX_WIDTH = 0.3
"""An extrapolation whose interval is wider is not shown."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The accuracy with a number of training images."""

    images: Natural
    accuracy: Share


class Extrapolation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The accuracy to expect with twice as many training images, if the learning curve continues."""

    images: Natural
    accuracy: Share
    low: Share
    """The lower end of its 95 % interval, by resampling the images."""
    high: Share


class WeakClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class that is recognized less often than the others."""

    name: str
    images: Natural
    recognized: Natural
    """How many of them were classified correctly."""
    taken_for: str
    """The class that most of the others were taken for."""
    mistaken: Natural
    """How many were taken for it."""


class CrossValidation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The accuracy on all images, each classified by a head that was fitted without it."""

    images: Natural
    folds: Natural
    accuracy: Share
    curve: list[Point] = []
    """The learning curve, fewest training images first; empty where classes have too few images."""
    doubled: Extrapolation | None = None
    """None where no power law fits the curve, or too loosely."""
    weakest: list[WeakClass] = []
    """The classes that are recognized least, below the accuracy over all images, weakest first; at most ``WEAKEST``."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: Wilson's, for 1/``SHARED`` of the images."""
        return accuracy_interval(self.accuracy, self.images / SHARED)


def cross_validate(
    examples: Examples,
    strength: float,
    trained: int,
    class_names: Sequence[str],
    balance: float = 0.0,
    groups: Sequence[int] | None = None,
) -> CrossValidation:
    """Cross-validate a head, and extrapolate its learning curve.

    Args:
        examples: All images.
        strength: The weight decay that was chosen for ``trained`` images; for another number it changes in inverse
            proportion, as a Gaussian prior does.
        trained: The number of images for which it was chosen.
        class_names: The names of the classes.
        balance: As for ``head_fit.fit``.
        groups: A number for each image; copies of a picture have the same one, and are in one fold.
    """
    labels = examples.labels
    folds = fold_numbers(labels, FOLDS, groups)
    count = len(labels)
    smallest = int(np.bincount(labels, minlength=examples.classes).min())
    fractions = FRACTIONS if smallest >= MIN_IMAGES_OF_A_CLASS else FRACTIONS[-1:]
    right = np.zeros((len(fractions), count))
    predicted = np.zeros(count, np.int64)
    sizes = np.zeros(len(fractions))
    for fold in range(FOLDS):
        rest, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(test):
            continue
        for row, fraction in enumerate(fractions):
            repeats = REPEATS if fraction < 1 else 1
            for repeat in range(repeats):
                chosen = rest
                if fraction < 1:
                    pieces = fold_numbers(labels[rest], round(1 / fraction), seed=1 + repeat)
                    chosen = rest[pieces == fold % round(1 / fraction)]
                head = fit(examples.subset(chosen), strength * trained / len(chosen), balance=balance, tolerance=ROUGH)
                predicted[test] = head.logits(examples.features[0, test]).argmax(1)  # at last, with all others
                right[row, test] += (predicted[test] == labels[test]) / repeats
                sizes[row] += len(chosen) / repeats / FOLDS
    curve = [Point(round(size), float(row.mean())) for size, row in zip(sizes, right, strict=True)]
    accuracy = float(right[-1].mean())
    found = CrossValidation(
        count, int(folds.max()) + 1, accuracy, weakest=_weakest(labels, predicted, class_names, accuracy)
    )
    if len(fractions) < 2:
        return found
    return msgspec.structs.replace(found, curve=curve, doubled=extrapolate(right, sizes))


def _weakest(
    labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], names: Sequence[str], accuracy: float
) -> list[WeakClass]:
    found = []
    for number, name in enumerate(names):
        answers = np.bincount(predicted[labels == number], minlength=len(names))
        images, recognized = int(answers.sum()), int(answers[number])
        if not images or recognized / images >= accuracy:
            continue
        answers[number] = 0
        taken_for = int(answers.argmax())
        found.append(WeakClass(name, images, recognized, names[taken_for], int(answers[taken_for])))
    return sorted(found, key=lambda each: each.recognized / each.images)[:WEAKEST]


def extrapolate(right: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> Extrapolation | None:
    """Fit error = a · images^−b to a learning curve, and read it off at twice the largest number of images.

    Args:
        right: (P, N): for each point of the curve and each image, how often it was classified correctly, 0 to 1.
        sizes: (P,): the training images of each point, rising.

    Returns:
        The extrapolation; None where accuracy does not rise, the law misses a point, or the interval is wide.
    """
    law = _power_law(right.mean(1), sizes)
    if law is None or np.abs(1 - _errors(law, sizes) - right.mean(1)).max() > MAX_MISFIT:
        return None
    twice = 2 * sizes[-1]
    draw = np.random.Generator(np.random.Philox(key=[0, 2]))
    count = right.shape[1]
    values = []
    for _ in range(RESAMPLES):
        resampled = _power_law(right[:, draw.integers(count, size=count)].mean(1), sizes)
        # Where accuracy does not rise with the images, the best guess is that it stays.
        values.append(1 - _errors(resampled, np.array([twice]))[0] if resampled else float(right[-1].mean()))
    low, high = np.quantile(values, (0.025, 0.975))
    if high - low > MAX_WIDTH:
        return None
    accuracy = 1 - float(_errors(law, np.array([twice]))[0])
    return Extrapolation(round(twice), accuracy, min(float(low), accuracy), max(float(high), accuracy))


def _power_law(accuracies: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """(log a, b) of error = a · images^−b by least squares of the logarithms; None if the error does not fall."""
    errors = 1 - accuracies
    if errors.min() <= 0:
        return None
    slope, intercept = np.polyfit(np.log(sizes), np.log(errors), 1)
    return (float(intercept), -float(slope)) if slope < 0 else None


def _errors(law: tuple[float, float], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.minimum(np.exp(law[0]) * sizes ** -law[1], 1)
