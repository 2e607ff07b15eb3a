"""The guard: what it looks at, what it calls trouble, and what it decides. Nothing here touches a model.

It looks at fixed steps, five times an epoch, so that what it does is a function of the run alone, and a resumed run
does the same. All that it remembers is a ``GuardState``, which travels in the checkpoint.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from mlpconv.backends.base import Floats, Labels, Metrics
from mlpconv.training.recipe import Recipe

OPEN = 0.001
"""A class is dead where its map is above 0 at no larger share of positions."""
SHARE = 60
"""Classes are looked at after that many times as many training images as are looked at: a look costs one forward pass,
a third of a training step, so 1 / (3 · 60) of the time."""
FEW = 64
"""Training images from which a mean loss is worth looking at."""
LEFT_OUT = 3
"""Updates left out between two looks from which the weights, and not a batch, are to blame."""
EARLY = 50
"""Steps before which no class is called dead: first steps shut some that the layers before them open again."""
PATIENCE = 200
"""Steps that a network may take to learn anything at all."""
LATE = 0.05
"""The share of a run's steps that a class needs to be learned anew."""
REPAIRS = 8
"""Repairs after which a run is given up."""

Kind = Literal["update-left-out", "not-finite", "loss-spike", "nothing-learned", "dead-class"]
Action = Literal["went on", "rolled back", "reopened", "started again", "ignored"]


class Trouble(NamedTuple):
    """What is wrong, in words, and the classes that it is about."""

    kind: Kind
    what: str
    classes: tuple[int, ...] = ()


class Check(NamedTuple):
    """loss: the mean training loss since the last look, None where nothing was trained. sound: nothing is wrong, the
    classes of a network in which they can die included."""

    trouble: Trouble | None
    loss: float | None
    sound: bool


class Decision(NamedTuple):
    """What to do. rate: the factor on the learning rate from here on, against now."""

    action: Action
    rate: float = 1.0


class Tally(msgspec.Struct, kw_only=True):
    """What was seen so far. loss, examples, skipped: the epoch's sums at the last look, which was
    after ``step`` of its steps. best: the lowest mean
    loss between two looks, at this image size. steps: done since the start, or the last new start. unchecked: training
    images since the classes were looked at. dead: the classes that were dead then."""

    loss: float = 0.0
    examples: int = 0
    skipped: int = 0
    best: float | None = None
    learned: bool = False
    image_size: int = 0
    step: int = 0
    steps: int = 0
    unchecked: int = 0
    dead: list[int] | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A trouble and what was done about it. epoch (from 1) and step: where it was seen. place: the same in epochs.
    back_to: the place that training went on from. rate: the factor on the recipe's learning rate from there on. loss:
    the mean training loss since the look before, None where no update was made."""

    epoch: int
    step: int
    place: float
    trouble: Kind
    what: str
    classes: tuple[int, ...] = ()
    action: Action
    done: str
    back_to: float
    rate: float
    loss: float | None = None


class GuardState(msgspec.Struct, kw_only=True):
    """All that the guard remembers. rate: the factor on the learning rate. restarts: how often training began again
    from new weights. good: (epoch, step) of the state that is kept to go back to, and good_tally what was seen then.
    """

    rate: float = 1.0
    restarts: int = 0
    tally: Tally = msgspec.field(default_factory=Tally)
    good: tuple[int, int] | None = None
    good_tally: Tally = msgspec.field(default_factory=Tally)
    events: list[Event] = []

    @property
    def repairs(self) -> int:
        """How often more was done than to go on."""
        return sum(event.action not in ("went on", "ignored") for event in self.events)


class Guard:
    """Looks for trouble in a training run of ``recipe``.

    labels: of the training images. maps: whether the network has class maps with a ReLU behind them, in which a class
    can die. sample: how many images the class maps are looked at of.
    """

    state: GuardState

    def __init__(self, recipe: Recipe, labels: Labels, classes: int, *, maps: bool = False, sample: int = 0) -> None:
        counts = np.bincount(labels, minlength=classes)
        shares = counts[counts > 0] / len(labels)
        self.present = np.flatnonzero(counts)
        # What a network that answers the same to every image can reach: the logarithm of the classes where they are
        # equally frequent.
        self.chance = float(-(shares * np.log(shares)).sum())
        self.classes, self.policy = classes, recipe.on_trouble
        # A new start has what the recipe's own may lack.
        self.opens = maps and not recipe.initializer.open_last
        self.maps, self.sample = maps, sample
        self.state = GuardState()

    def look(
        self,
        metrics: Metrics,
        image_size: int,
        step: int,
        *,
        ended: bool,
        class_maps: Callable[[], Floats],
        last: bool = False,
    ) -> Check:
        """What is wrong, if anything.

        metrics: the epoch's sums after ``step`` of its steps. ended, last: at the end of an epoch, of the last one.
        class_maps: makes float32 (N, classes, h, w) of the sample; called only when it is time for it.
        """
        seen = self.state.tally
        examples, skipped = metrics.examples - seen.examples, metrics.skipped - seen.skipped
        if not ended and not skipped and examples < FEW:
            return Check(None, None, False)
        loss = (metrics.loss - seen.loss) / examples if examples else None
        steps = step - seen.step
        seen.loss, seen.examples, seen.skipped = metrics.loss, metrics.examples, metrics.skipped
        seen.step, seen.steps = step, seen.steps + steps
        seen.unchecked += examples
        if seen.image_size != image_size:
            # Another size is another task: its loss begins higher.
            seen.image_size, seen.best = image_size, None
        trouble = self._in_steps(skipped, steps, loss) or (
            self._in_loss(loss, ended) if loss is not None and examples >= FEW else None
        )
        if self.maps and (trouble is None or trouble.kind == "nothing-learned"):
            trouble = self._in_classes(ended, last, class_maps) or trouble
        if loss is not None and trouble is None and examples >= FEW:
            seen.best = loss if seen.best is None else min(seen.best, loss)
            seen.learned = seen.learned or loss < 0.9 * self.chance
        if trouble is None and skipped:
            words = f"in {skipped} step{'s' * (skipped > 1)} the loss or a gradient was not finite"
            trouble = Trouble("update-left-out", words)
        return Check(trouble, loss, trouble is None and not (self.maps and seen.unchecked and seen.steps >= EARLY))

    def _in_steps(self, skipped: int, steps: int, loss: float | None) -> Trouble | None:
        if skipped < LEFT_OUT and loss is not None:
            return None
        if not skipped:  # an epoch of which nothing was left to do
            return None
        return Trouble("not-finite", f"the loss or a gradient was not finite in {skipped} of {steps} steps")

    def _in_loss(self, loss: float, ended: bool) -> Trouble | None:
        seen, chance = self.state.tally, self.chance
        if not chance:  # all images are of one class
            return None
        if seen.best is not None:  # the first look has nothing to be compared with, and a start may be rough
            if loss > seen.best + chance / 2:
                return Trouble("loss-spike", f"the training loss rose from {seen.best:.3f} to {loss:.3f}")
            if loss > 0.98 * chance and seen.best < 0.8 * chance:
                return Trouble("loss-spike", f"the training loss fell back from {seen.best:.3f} to chance, {loss:.3f}")
            if loss > 10 * chance:
                return Trouble("loss-spike", f"the training loss is {loss:.3g}, chance is {chance:.3f}")
        late = seen.steps >= 3 * PATIENCE or (ended and seen.steps >= PATIENCE)
        if late and not seen.learned and loss > 0.98 * chance:
            return Trouble(
                "nothing-learned", f"after {seen.steps} steps the training loss is {loss:.3f}, chance is {chance:.3f}"
            )
        return None

    def _in_classes(self, ended: bool, last: bool, class_maps: Callable[[], Floats]) -> Trouble | None:
        seen = self.state.tally
        early = seen.steps < EARLY and not last
        if early or (not ended and seen.unchecked < SHARE * self.sample):
            return None
        seen.unchecked = 0
        dead = [k for k in dead_classes(class_maps()) if k in self.present]
        before, seen.dead = seen.dead, dead
        if not dead or (self.policy == "ignore" and dead == before):
            return None
        what = "one class is" if len(dead) == 1 else f"{len(dead)} classes are"
        return Trouble("dead-class", f"{what} dead: no position of the map is open", tuple(dead))

    def decide(self, trouble: Trouble, remaining: float) -> Decision | None:
        """What to do about a trouble; None where the run is to be given up. remaining: the share of the run's steps
        that is still to come."""
        state = self.state
        if self.policy == "ignore":
            return Decision("ignored")
        # A run that is over after its first steps is too short to be judged.
        short = trouble.kind == "dead-class" and remaining <= 0 and state.tally.steps < EARLY
        if short or trouble.kind == "update-left-out":
            return Decision("went on")
        if self.policy == "stop" or state.repairs >= REPAIRS:
            return None
        before = state.events[-1] if state.events else None
        # Weights that have learned nothing are worth less than those with every class open.
        better = self.opens and not state.restarts and not state.tally.learned
        if trouble.kind == "dead-class":
            again = before is not None and before.trouble == trouble.kind and before.action == "rolled back"
            if len(trouble.classes) < len(self.present) - 1 and remaining >= LATE and not better:
                known: set[int] = set()
                for event in state.events:
                    known = set() if event.action == "started again" else known
                    known.update(event.classes if event.action == "reopened" else ())
                return Decision("reopened", 0.5 if known & set(trouble.classes) else 1.0)
            # Too late to learn them anew: back to where they were open, unless they were shut there too.
            if not again and (state.tally.learned or remaining < LATE):
                return Decision("rolled back", 0.5)
        elif state.tally.learned:
            return Decision("rolled back", 0.5)
        # Where new weights end alike, the rate is to blame.
        rates = (1.0, 0.5, 0.1) if self.opens and trouble.kind != "not-finite" else (0.5, 0.1)
        return Decision("started again", rates[min(state.restarts, len(rates) - 1)])

    def begin_epoch(self) -> None:
        """The sums of the next epoch begin at nothing."""
        seen = self.state.tally
        seen.loss, seen.examples, seen.skipped, seen.step = 0.0, 0, 0, 0


def dead_classes(class_maps: Floats) -> list[int]:
    """The classes whose map, before its last ReLU, is ≤ 0 at 99.9 % of positions or more. class_maps: (N, K, h, w)."""
    return np.flatnonzero((class_maps > 0).mean((0, 2, 3)) <= OPEN).tolist()


def sample_size(images: int, classes: int) -> int:
    """How many images to look at: ten of each class and at least 256, fewer where there are few in all."""
    return min(max(256, 10 * classes), max(images // 100, 4 * classes), images)


def restart_seed(seed: int, restarts: int) -> int:
    """The seed of everything after that many new starts."""
    return (seed + restarts * 1_000_003) % 2**63
