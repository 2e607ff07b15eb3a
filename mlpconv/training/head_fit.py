"""Fit the head of a network on frozen features: multinomial logistic regression with weight decay, by L-BFGS in NumPy.

The features of an image are the means of the maps that the head reads, which are computed once. So a fit takes
milliseconds to seconds, and its weight decay can be chosen by cross-validation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Labels

Array = npt.NDArray[np.float64]

STRENGTHS = tuple(float(value) for value in np.geomspace(10.0, 1e-4, 11))
"""Weight decays to choose from, for standardized features, strongest first."""
FOLDS = 5
CHOICE_IMAGES = 4000
"""The most images on which the weight decay is chosen."""
ITERATIONS, MEMORY = 200, 10
"""Of L-BFGS: the most iterations, and the iterations that it remembers."""
EXACT, ROUGH = 1e-5, 1e-3
"""The largest slope at the end: of the fit of a head, and of fits that are only compared with each other."""


class Examples(NamedTuple):
    """Images as a head sees them."""

    features: Array
    """float64 (V, N, D): the features of each image in V views, such as the image and its mirror image; the first view
    is the image as predictions see it."""
    labels: Labels
    """int64 (N,)."""
    classes: int
    """The number of classes."""

    def subset(self, indices: npt.NDArray[np.int64]) -> "Examples":
        """The images at these positions."""
        return self._replace(features=self.features[:, indices], labels=self.labels[indices])


class HeadWeights(NamedTuple):
    """A linear head: logits = features · weightᵀ + bias."""

    weight: Array
    """float64 (classes, D)."""
    bias: Array
    """float64 (classes,)."""

    def logits(self, features: Array) -> Array:
        """The logits (N, classes) of features (N, D)."""
        return features @ self.weight.T + self.bias


def fit(
    examples: Examples,
    strength: float,
    prior: HeadWeights | None = None,
    balance: float = 0.0,
    tolerance: float = EXACT,
) -> HeadWeights:
    """Fit a head.

    Args:
        examples: The images.
        strength: The weight decay: half of it times the squared distance of the weights from ``prior``, for features
            with standard deviation 1, is added to the mean cross entropy.
        prior: The weights from which the decay starts; by default zeros.
        balance: How evenly the classes count: see ``Recipe.balance``.
        tolerance: The largest slope at the end.
    """
    problem = _Problem(examples, prior, balance)
    return problem.weights(problem.minimize(strength, tolerance=tolerance))


def choose_strength(
    examples: Examples, prior: HeadWeights | None = None, balance: float = 0.0, folds: int = FOLDS
) -> float:
    """The weight decay of ``STRENGTHS`` with the smallest cross entropy on images that were held out.

    Args:
        examples: The images; at most ``CHOICE_IMAGES`` of them are used.
        prior: As for ``fit``.
        balance: As for ``fit``.
        folds: Each image is held out in one of so many fits, or in the first one only where there are many images.
    """
    parts = fold_numbers(examples.labels, folds)
    if len(parts) > CHOICE_IMAGES:
        chosen = np.random.Generator(np.random.Philox(key=[0, 1])).permutation(len(parts))[:CHOICE_IMAGES]
        examples, parts = examples.subset(chosen), parts[chosen]
    used = range(folds if len(parts) < CHOICE_IMAGES else 1)
    held_out = [examples.subset(np.flatnonzero(parts == part)) for part in used]
    problems = [_Problem(examples.subset(np.flatnonzero(parts != part)), prior, balance) for part in used]
    points: list[Array | None] = [None] * len(problems)
    losses: list[float] = []
    for strength in STRENGTHS:
        points = [problem.minimize(strength, at, ROUGH) for problem, at in zip(problems, points, strict=True)]
        heads = [problem.weights(at) for problem, at in zip(problems, points, strict=True) if at is not None]
        pairs = zip(heads, held_out, strict=True)
        losses.append(sum(_loss(head.logits(part.features[0]), part.labels) for head, part in pairs))
        if len(losses) - 1 - int(np.argmin(losses)) == 2:  # weaker ones would fit more and more of the noise
            break
    return STRENGTHS[int(np.argmin(losses))]


def fold_numbers(labels: Labels, folds: int, groups: Sequence[int] | None = None, seed: int = 0) -> npt.NDArray[Any]:
    """A fold for each image, int64 (N,) from 0 to folds - 1, with each class spread evenly over them.

    Args:
        labels: The labels, int64 (N,).
        folds: The number of folds.
        groups: A number for each image; images with the same number, such as copies, are in one fold.
        seed: The seed of the choice.
    """
    kin = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    first = np.unique(kin, return_index=True)[1]
    draw = np.random.Generator(np.random.Philox(key=[seed, 0]))
    order = draw.permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[kin]


class _Problem:
    """The objective of one fit, on standardized features; a point is a flat array of weights and biases."""

    def __init__(self, examples: Examples, prior: HeadWeights | None, balance: float) -> None:
        views, count, width = examples.features.shape
        flat = examples.features.reshape(views * count, width)
        self.mean = flat.mean(0)
        std = flat.std(0)
        # A feature that never changes is no evidence; dividing by its rounding errors would make it some.
        self.std = np.where(std > 1e-6 * max(float(std.max(initial=0)), 1e-30), std, np.inf)
        self.x = (flat - self.mean) / self.std
        self.classes = examples.classes
        self.labels = np.tile(examples.labels, views)
        sizes = np.bincount(examples.labels, minlength=self.classes).astype(float)
        each = (np.where(sizes > 0, sizes, 1) ** -balance)[self.labels]
        self.each = each / each.sum()
        self.width = width
        self.prior = np.zeros((self.classes, width + 1))
        if prior is not None:
            changing = np.isfinite(self.std)
            self.prior[:, :width][:, changing] = prior.weight[:, changing] * self.std[changing]
            self.prior[:, width] = prior.bias + prior.weight @ self.mean

    def minimize(self, strength: float, start: Array | None = None, tolerance: float = EXACT) -> Array:
        """The point of the minimum, searched from ``start``."""
        begin = self.prior.ravel() if start is None else start
        return minimize(lambda point: self._objective(point, strength), begin, tolerance)

    def weights(self, point: Array) -> HeadWeights:
        """The head at a point, for features that are not standardized."""
        rows = point.reshape(self.classes, self.width + 1)
        weight = rows[:, : self.width] / self.std
        return HeadWeights(weight, rows[:, self.width] - weight @ self.mean)

    def _objective(self, point: Array, strength: float) -> tuple[float, Array]:
        rows = point.reshape(self.classes, self.width + 1)
        logits = self.x @ rows[:, : self.width].T + rows[:, self.width]
        logits -= logits.max(1, keepdims=True)
        exponents = np.exp(logits)
        sums = exponents.sum(1, keepdims=True)
        numbers = np.arange(len(self.labels))
        loss = float(self.each @ (np.log(sums[:, 0]) - logits[numbers, self.labels]))
        slopes = exponents / sums
        slopes[numbers, self.labels] -= 1
        slopes *= self.each[:, None]
        away = rows - self.prior
        away[:, self.width] = 0  # the bias is free
        gradient = np.empty_like(rows)
        gradient[:, : self.width] = slopes.T @ self.x
        gradient[:, self.width] = slopes.sum(0)
        gradient += strength * away
        return loss + strength / 2 * float((away**2).sum()), gradient.ravel()


def minimize(objective: Callable[[Array], tuple[float, Array]], start: Array, tolerance: float = EXACT) -> Array:
    """The minimum of a convex function by L-BFGS (Liu, Nocedal 1989) with a backtracking line search.

    Args:
        objective: Returns the value and the gradient at a point.
        start: The point from which to search.
        tolerance: The search ends where no slope is larger.
    """
    point = start.copy()
    value, gradient = objective(point)
    pairs: list[tuple[Array, Array, float]] = []
    for _ in range(ITERATIONS):
        if np.abs(gradient).max() < tolerance:
            break
        direction = -_times_inverse_hessian(gradient, pairs)
        slope, length = float(direction @ gradient), 1.0
        if slope >= 0:  # rounding
            break
        for _ in range(30):
            step = length * direction
            new_value, new_gradient = objective(point + step)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        change = new_gradient - gradient
        if (product := float(change @ step)) > 0:
            pairs = [*pairs[1 - MEMORY :], (step, change, 1 / product)]
        point, value, gradient = point + step, new_value, new_gradient
    return point


def _times_inverse_hessian(gradient: Array, pairs: list[tuple[Array, Array, float]]) -> Array:
    """The gradient times the approximated inverse Hessian: L-BFGS's two loops over (step, change, 1/product)."""
    result, factors = gradient.copy(), []
    for step, change, inverse in reversed(pairs):
        factors.append(inverse * float(step @ result))
        result -= factors[-1] * change
    if pairs:
        step, change, inverse = pairs[-1]
        result /= inverse * float(change @ change)
    for (step, change, inverse), factor in zip(pairs, reversed(factors), strict=True):
        result += (factor - inverse * float(change @ result)) * step
    return result


def _loss(logits: Array, labels: Labels) -> float:
    """The sum of the cross entropies."""
    peak = logits.max(1)
    log_sums = peak + np.log(np.exp(logits - peak[:, None]).sum(1))
    return float((log_sums - logits[np.arange(len(labels)), labels]).sum())
