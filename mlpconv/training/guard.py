"""How the guard finds problems, and how it decides to repair them. Nothing here touches a model.

The guard checks at fixed steps, five times an epoch, so its actions are a function of the run alone, and a resumed run
acts in the same way. All that it remembers is a ``GuardState``, which is stored in the checkpoint.
"""

from collections.abc import Callable
from typing import NamedTuple, assert_never

import numpy as np

from mlpconv.backends.base import Floats, Labels, Metrics
from mlpconv.training.problems import PRECEDENCE, Decision, GuardState, Problem, ProblemType, is_minor
from mlpconv.training.recipe import Recipe, TroublePolicy

DEAD_CLASS_OPEN_SHARE = 0.001
"""A class is dead if its map is above 0 at no larger share of positions."""
IMAGES_PER_CHECKED_IMAGE = 60
"""Class maps are checked after this many training images for each image of the sample: a check is one forward pass, a
third of a training step, so it takes 1 / (3 · 60) of the time."""
MIN_IMAGES_PER_CHECK = 64
"""Training images that a mean loss needs before it is checked."""
NOT_FINITE_UPDATES = 3
"""Skipped updates between two checks from which the weights, and not a batch, are the cause."""
MIN_STEPS_TO_DIE = 50
"""Steps before which no class is called dead: the first steps close some maps that the layers before them reopen."""
STEPS_TO_LEARN = 200
"""Steps after which a network must have learned something, at the end of an epoch; three times as many within one."""
MIN_REMAINING_TO_REOPEN = 0.05
"""The share of a run's steps that a reopened class needs to be learned."""
MAX_REPAIRS = 8
"""Repairs after which the guard gives a run up."""
CHANCE_LEVEL = 0.98
"""A loss above this multiple of the loss of guessing is no better than guessing."""
LEARNED_LEVEL = 0.9
"""A network has learned something once its loss is below this multiple of the loss of guessing."""


class Check(NamedTuple):
    """The result of a check."""

    problem: Problem | None
    loss: float | None
    """The mean training loss since the last check; None if nothing was trained."""
    sound: bool
    """Whether nothing is wrong. If classes of the network can die, they were checked too."""


class Interval(NamedTuple):
    """The steps since the last check."""

    loss: float | None
    """The mean training loss; None if no update was made."""
    examples: int
    """Training images."""
    steps: int
    skipped: int
    """Skipped updates."""
    ended: bool
    """Whether the epoch ended."""
    last: bool
    """Whether the last epoch ended."""
    class_maps: Callable[[], Floats]
    """Returns the class maps of the sample, float32 (N, classes, h, w)."""


class Guard:
    """Looks for problems in a training run, and decides what to do about them."""

    state: GuardState

    def __init__(self, recipe: Recipe, labels: Labels, classes: int, *, maps: bool = False, sample: int = 0) -> None:
        """
        Args:
            recipe: The recipe of the run.
            labels: The labels of the training images, int64 (N,).
            classes: The number of classes.
            maps: Whether the network has class maps that end in a ReLU, so that a class can die.
            sample: The number of images on which class maps are checked.
        """
        counts = np.bincount(labels, minlength=classes)
        shares = counts[counts > 0] / len(labels)
        self.present = np.flatnonzero(counts)
        # The loss of guessing, the best that a constant answer can reach: the entropy of the labels.
        self.chance = float(-(shares * np.log(shares)).sum())
        self.classes = classes
        self.policy: TroublePolicy = recipe.on_trouble
        # Whether a new start can have every class open, which the recipe's own start does not ensure.
        self.opens = maps and not recipe.initializer.open_last
        self.maps, self.sample = maps, sample
        self.state = GuardState()

    def check(
        self,
        metrics: Metrics,
        image_size: int,
        step: int,
        *,
        ended: bool,
        class_maps: Callable[[], Floats],
        last: bool = False,
    ) -> Check:
        """Look for problems in the steps since the last check.

        Args:
            metrics: The epoch's sums after ``step`` of its steps.
            image_size: The side in pixels of the last step's images.
            step: The steps of the epoch that are done.
            ended: Whether the epoch ended.
            class_maps: Returns the class maps of the sample, float32 (N, classes, h, w). It is called only if the
                classes are due to be checked.
            last: Whether the last epoch ended.
        """
        tally = self.state.tally
        examples, skipped = metrics.examples - tally.examples, metrics.skipped - tally.skipped
        if not ended and not skipped and examples < MIN_IMAGES_PER_CHECK:
            return Check(None, None, False)
        loss = (metrics.loss - tally.loss) / examples if examples else None
        steps = step - tally.step
        tally.loss, tally.examples, tally.skipped = metrics.loss, metrics.examples, metrics.skipped
        tally.step, tally.steps = step, tally.steps + steps
        tally.unchecked += examples
        if tally.image_size != image_size:
            # Another size is another task: its loss starts higher.
            tally.image_size, tally.best = image_size, None
        interval = Interval(loss, examples, steps, skipped, ended, last, class_maps)
        found = (self._find(problem_type, interval) for problem_type in PRECEDENCE)
        problem = next((problem for problem in found if problem is not None), None)
        if loss is not None and examples >= MIN_IMAGES_PER_CHECK and (problem is None or is_minor(problem.type)):
            tally.best = loss if tally.best is None else min(tally.best, loss)
            tally.learned = tally.learned or loss < LEARNED_LEVEL * self.chance
        classes_unknown = self.maps and tally.unchecked and tally.steps >= MIN_STEPS_TO_DIE
        return Check(problem, loss, problem is None and not classes_unknown)

    def _find(self, problem_type: ProblemType, interval: Interval) -> Problem | None:
        match problem_type:
            case "not-finite":
                return self._find_not_finite(interval)
            case "loss-spike":
                return self._find_loss_spike(interval)
            case "dead-class":
                return self._find_dead_class(interval)
            case "nothing-learned":
                return self._find_nothing_learned(interval)
            case "update-left-out":
                return self._find_update_left_out(interval)
            case _:
                assert_never(problem_type)

    def _find_not_finite(self, interval: Interval) -> Problem | None:
        skipped = interval.skipped
        if skipped < NOT_FINITE_UPDATES and interval.loss is not None:
            return None
        if not skipped:  # the epoch had no steps left
            return None
        return Problem("not-finite", f"the loss or a gradient was not finite in {skipped} of {interval.steps} steps")

    def _find_loss_spike(self, interval: Interval) -> Problem | None:
        loss, best, chance = self._checked_loss(interval), self.state.tally.best, self.chance
        if loss is None or best is None:  # the first check has nothing to compare with, and a start may be rough
            return None
        if loss > best + chance / 2:
            return Problem("loss-spike", f"the training loss rose from {best:.3f} to {loss:.3f}")
        if loss > CHANCE_LEVEL * chance and best < 0.8 * chance:
            return Problem("loss-spike", f"the training loss fell back from {best:.3f} to chance, {loss:.3f}")
        if loss > 10 * chance:
            return Problem("loss-spike", f"the training loss is {loss:.3g}, chance is {chance:.3f}")
        return None

    def _find_dead_class(self, interval: Interval) -> Problem | None:
        tally = self.state.tally
        if not self.maps or (tally.steps < MIN_STEPS_TO_DIE and not interval.last):
            return None
        if not interval.ended and tally.unchecked < IMAGES_PER_CHECKED_IMAGE * self.sample:
            return None
        tally.unchecked = 0
        dead = [k for k in dead_classes(interval.class_maps()) if k in self.present]
        before, tally.dead = tally.dead, dead
        if not dead or (self.policy == "ignore" and dead == before):
            return None
        subject = "one class is" if len(dead) == 1 else f"{len(dead)} classes are"
        return Problem("dead-class", f"{subject} dead: no position of the map is open", tuple(dead))

    def _find_nothing_learned(self, interval: Interval) -> Problem | None:
        loss, tally, chance = self._checked_loss(interval), self.state.tally, self.chance
        late = tally.steps >= 3 * STEPS_TO_LEARN or (interval.ended and tally.steps >= STEPS_TO_LEARN)
        if loss is None or not late or tally.learned or loss <= CHANCE_LEVEL * chance:
            return None
        return Problem(
            "nothing-learned", f"after {tally.steps} steps the training loss is {loss:.3f}, chance is {chance:.3f}"
        )

    def _find_update_left_out(self, interval: Interval) -> Problem | None:
        skipped = interval.skipped
        if not skipped:
            return None
        return Problem(
            "update-left-out", f"in {skipped} step{'s' * (skipped > 1)} the loss or a gradient was not finite"
        )

    def _checked_loss(self, interval: Interval) -> float | None:
        """The loss, if it is of enough images and there is more than one class."""
        return interval.loss if interval.examples >= MIN_IMAGES_PER_CHECK and self.chance else None

    def decide(self, problem: Problem, remaining: float) -> Decision | None:
        """Decide what to do about a problem.

        Args:
            problem: The problem.
            remaining: The share of the run's steps that is still to come.

        Returns:
            The decision; None to give the run up.
        """
        match self.policy:
            case "ignore":
                return Decision("ignored")
            case "stop":
                max_repairs = 0
            case "repair":
                max_repairs = MAX_REPAIRS
            case _:
                assert_never(self.policy)
        if is_minor(problem.type) or self._too_short(problem, remaining):
            return Decision("went on")
        if self.state.repairs >= max_repairs:
            return None
        return self._repair(problem, remaining)

    def _too_short(self, problem: Problem, remaining: float) -> bool:
        """Whether the run ends before its classes can be judged."""
        return problem.type == "dead-class" and remaining <= 0 and self.state.tally.steps < MIN_STEPS_TO_DIE

    def _repair(self, problem: Problem, remaining: float) -> Decision:
        learned = self.state.tally.learned
        match problem.type:
            case "dead-class":
                return self._repair_classes(problem, remaining)
            case "not-finite":
                return Decision("rolled back", 0.5) if learned else self._start_again(rate_is_the_cause=True)
            case "loss-spike" | "nothing-learned":
                return Decision("rolled back", 0.5) if learned else self._start_again()
            case "update-left-out":
                return Decision("went on")
            case _:
                assert_never(problem.type)

    def _repair_classes(self, problem: Problem, remaining: float) -> Decision:
        state = self.state
        before = state.events[-1] if state.events else None
        enough_time = remaining >= MIN_REMAINING_TO_REOPEN
        # Weights that have learned nothing are worth less than new ones with every class open.
        new_start_is_better = self.opens and not state.restarts and not state.tally.learned
        if len(problem.classes) < len(self.present) - 1 and enough_time and not new_start_is_better:
            reopened: set[int] = set()
            for event in state.events:
                if event.action == "started again":
                    reopened = set()
                elif event.action == "reopened":
                    reopened.update(event.classes)
            return Decision("reopened", 0.5 if reopened & set(problem.classes) else 1.0)
        # Too late to learn them again: roll back to where they were open, unless they died after that too.
        died_again = before is not None and (before.trouble, before.action) == (problem.type, "rolled back")
        if not died_again and (state.tally.learned or not enough_time):
            return Decision("rolled back", 0.5)
        return self._start_again()

    def _start_again(self, *, rate_is_the_cause: bool = False) -> Decision:
        # If new weights with every class open end in the same way, the rate is the cause.
        rates = (1.0, 0.5, 0.1) if self.opens and not rate_is_the_cause else (0.5, 0.1)
        return Decision("started again", rates[min(self.state.restarts, len(rates) - 1)])

    def begin_epoch(self) -> None:
        """Call this when an epoch starts, as its sums start at 0."""
        tally = self.state.tally
        tally.loss, tally.examples, tally.skipped, tally.step = 0.0, 0, 0, 0


def dead_classes(class_maps: Floats) -> list[int]:
    """The classes whose map, before its last ReLU, is ≤ 0 at 99.9 % of positions or more. class_maps: (N, K, h, w)."""
    return np.flatnonzero((class_maps > 0).mean((0, 2, 3)) <= DEAD_CLASS_OPEN_SHARE).tolist()


def sample_size(images: int, classes: int) -> int:
    """How many images to check class maps on.

    Ten of each class and at least 256, fewer if there are few in all.

    Args:
        images: The number of training images.
        classes: The number of classes.
    """
    return min(max(256, 10 * classes), max(images // 100, 4 * classes), images)


def restart_seed(seed: int, restarts: int) -> int:
    """The seed of the run after ``restarts`` new starts."""
    return (seed + restarts * 1_000_003) % 2**63
