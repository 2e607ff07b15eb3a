"""The problems that the guard recognizes, what it does about them, and what it remembers and records.

To add a problem type, add its name to ``ProblemType``, at the position of its precedence, and a case to each ``match``
over it, here and in ``guard.py``. The type checker lists the cases that are missing.
"""

from typing import Literal, NamedTuple, assert_never, get_args

import msgspec

from mlpconv.backends.base import Metrics

HOPELESS_UPDATES = 20
"""Updates skipped in an epoch after which a run ends if it is not to be repaired."""

ProblemType = Literal["not-finite", "loss-spike", "dead-class", "nothing-learned", "update-left-out"]
"""The problems that the guard recognizes; the names are stored in histories and checkpoints."""
PRECEDENCE: tuple[ProblemType, ...] = get_args(ProblemType)
"""The order in which the guard looks for problems; it acts on the first one that it finds."""
Action = Literal["went on", "rolled back", "reopened", "started again", "ignored"]
"""What the guard does about a problem; the names are stored in histories and checkpoints."""


class Problem(NamedTuple):
    """A problem that the guard found."""

    type: ProblemType
    text: str
    """A description for people."""
    classes: tuple[int, ...] = ()
    """The classes concerned, if any."""


class Decision(NamedTuple):
    """What to do about a problem."""

    action: Action
    rate: float = 1.0
    """The factor by which the learning rate changes from here on."""


class Tally(msgspec.Struct, kw_only=True):
    """What the guard has seen so far."""

    loss: float = 0.0
    """The epoch's summed loss at the last check."""
    examples: int = 0
    """The epoch's training images at the last check."""
    skipped: int = 0
    """The epoch's skipped updates at the last check."""
    best: float | None = None
    """The lowest mean loss between two checks, at this image size."""
    learned: bool = False
    """Whether the network has learned something."""
    image_size: int = 0
    """The side in pixels of the training images at the last check."""
    step: int = 0
    """The steps of the epoch that were done at the last check."""
    steps: int = 0
    """The steps since training started, or last started again."""
    unchecked: int = 0
    """The training images since the class maps were last checked."""
    dead: list[int] | None = None
    """The classes that were dead at that check; None if there was none."""


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A problem and what was done about it, as histories and checkpoints store it."""

    epoch: int
    """The epoch in which the problem was found, from 1."""
    step: int
    """The steps of that epoch that were done."""
    place: float
    """The same position in epochs."""
    trouble: ProblemType
    """The type of the problem."""
    what: str
    """The problem for people."""
    classes: tuple[int, ...] = ()
    """The classes concerned, if any."""
    action: Action
    """What was done."""
    done: str
    """The same for people."""
    back_to: float
    """The position in epochs from which training continued."""
    rate: float
    """The factor on the recipe's learning rate from there on."""
    loss: float | None = None
    """The mean training loss since the check before; None if no update was made."""


class GuardState(msgspec.Struct, kw_only=True):
    """All that the guard remembers."""

    rate: float = 1.0
    """The factor on the recipe's learning rate."""
    restarts: int = 0
    """How often training started again from new weights."""
    tally: Tally = msgspec.field(default_factory=Tally)
    good: tuple[int, int] | None = None
    """(epoch, step) of the state that is kept to roll back to."""
    good_tally: Tally = msgspec.field(default_factory=Tally)
    """The tally at that state."""
    events: list[Event] = []

    @property
    def repairs(self) -> int:
        """How often the guard changed the run."""
        return sum(is_repair(event.action) for event in self.events)


def is_minor(problem_type: ProblemType) -> bool:
    """Whether training continues without a repair, under every policy."""
    match problem_type:
        case "update-left-out":
            return True
        case "not-finite" | "loss-spike" | "dead-class" | "nothing-learned":
            return False
        case _:
            assert_never(problem_type)


def is_hopeless(problem_type: ProblemType, metrics: Metrics) -> bool:
    """Whether a run with this problem must end if it is not to be repaired.

    Args:
        problem_type: The type of the problem.
        metrics: The epoch's sums so far.
    """
    match problem_type:
        case "not-finite":
            return metrics.skipped >= HOPELESS_UPDATES or not metrics.examples
        case "loss-spike" | "dead-class" | "nothing-learned" | "update-left-out":
            return False
        case _:
            assert_never(problem_type)


def reason_to_continue(problem_type: ProblemType) -> str:
    """Why the guard continued without a repair, for people."""
    match problem_type:
        case "update-left-out":
            return "the update was left out"
        case "not-finite" | "loss-spike" | "dead-class" | "nothing-learned":
            return "too few steps for a repair"
        case _:
            assert_never(problem_type)


def is_repair(action: Action) -> bool:
    """Whether an action changes the run."""
    match action:
        case "rolled back" | "reopened" | "started again":
            return True
        case "went on" | "ignored":
            return False
        case _:
            assert_never(action)
