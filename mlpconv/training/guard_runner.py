"""The guard applied to a model: the checks that it asks for, the last good state, and its repairs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, assert_never

import msgspec
import numpy as np

from mlpconv.arch import class_maps
from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Model, State, StepPlan, Weights
from mlpconv.backends.training_state import parse_key
from mlpconv.backends.weights import INITIALIZERS, Initializer
from mlpconv.errors import NetworkError, TrainingFailed
from mlpconv.training.guard import Guard, restart_seed
from mlpconv.training.plan import plan_step, step_indices
from mlpconv.training.problems import (
    HOPELESS_UPDATES,
    Decision,
    Event,
    GuardState,
    Problem,
    Tally,
    is_hopeless,
    is_repair,
    reason_to_continue,
)
from mlpconv.training.recipe import Recipe
from mlpconv.training.reopen import can_reopen, reopen


class Repaired(NamedTuple):
    """The guard found a problem and acted on it."""

    event: Event
    to: tuple[int, int]
    """(epoch, step), from 0, from which training continues."""
    moved: bool
    """Whether that is another position than the one where the problem was found."""


class ClassMapSample(NamedTuple):
    """What the guard needs to check class maps."""

    network: Network
    images: Images
    """uint8 (N, H, W, C)."""


class GuardMemory(NamedTuple):
    """What the guard remembers of the steps before a resume."""

    state: GuardState
    good: State | None = None
    """The training state to which it would go back; None where there is none."""


def can_die(network: Network) -> bool:
    """Whether a class of this network can die, and the guard can reopen it."""
    try:
        return class_maps.can_die(network) and can_reopen(network)
    except NetworkError:
        return False


class GuardRunner:
    """Lets the guard work on one model: measures what it asks for, keeps the last good state, executes its repairs."""

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        labels: Labels,
        *,
        class_names: tuple[str, ...] = (),
        class_maps: ClassMapSample | None = None,
        first_weights: Callable[[int, Initializer], Weights] | None = None,
        memory: GuardMemory | None = None,
    ) -> None:
        """
        Args:
            model: The model to check and repair.
            recipe: The recipe of the run.
            labels: The labels of the training images, int64 (N,).
            class_names: The names of the classes in messages; by default their numbers.
            class_maps: The network and the images on which classes are checked. Without it, or where no class of the
                network can die, they are not checked.
            first_weights: Returns the weights from which training starts, for a seed and an initializer. Without it a
                run cannot be started again.
            memory: What a checkpoint holds of the guard; None for a new run.
        """
        self.network, self.sample = class_maps or (None, None)
        classes = len(class_names) or int(labels.max()) + 1
        self.labels = labels
        self.guard = Guard(
            recipe,
            labels,
            classes,
            maps=self.network is not None and can_die(self.network),
            sample=0 if self.sample is None else len(self.sample),
        )
        self.guard.state, self.good = memory or (GuardState(), None)
        self.model, self.recipe = model, recipe
        self.first_weights = first_weights
        self.seconds = 0.0
        self.class_names = class_names or tuple(map(str, range(classes)))

    def start(self, epoch: int, step: int) -> None:
        """Call this before the first step, with its position."""
        if self.good is None:
            self._keep(epoch, step)

    def plan(self, count: int, side: tuple[int, int], image_size: int, epoch: int, step: int) -> StepPlan:
        """The plan of a step (see ``plan_step``) with the seed and learning rate that the guard has changed."""
        rate = self.guard.state.rate
        return plan_step(self._current_recipe(), count, side, image_size, epoch, step, self.labels, rate=rate)

    def indices(self, count: int, epoch: int, step: int) -> np.ndarray:
        """The indices of a step's images, int64 (B,); empty after the last step."""
        return step_indices(self._current_recipe(), count, epoch, step, self.labels)

    def _current_recipe(self) -> Recipe:
        restarts = self.guard.state.restarts
        if not restarts:
            return self.recipe
        return msgspec.structs.replace(self.recipe, seed=restart_seed(self.recipe.seed, restarts))

    def check(self, metrics: Metrics, epoch: int, step: int, steps: int, image_size: int) -> Repaired | None:
        """Check the run after ``step`` of the ``steps`` steps of ``epoch``, and repair it where it needs a repair.

        Args:
            metrics: Sums over the epoch so far.
            epoch: The epoch, from 0.
            step: The steps of it that are done.
            steps: The steps of a whole epoch.
            image_size: The side in pixels of the last step's images.

        Returns:
            What was repaired; None where nothing was wrong.

        Raises:
            TrainingFailed: The run is given up.
        """
        with self._timed():
            return self._check(metrics, epoch, step, steps, image_size)

    def _check(self, metrics: Metrics, epoch: int, step: int, steps: int, image_size: int) -> Repaired | None:
        ended = step == steps
        if ended and self.guard.state.tally.step == steps:  # checked before the run was stopped in the evaluation
            return None
        check = self.guard.check(
            metrics,
            image_size,
            step,
            ended=ended,
            class_maps=self._class_maps,
            last=ended and epoch == self.recipe.epochs - 1,
        )
        if check.problem is not None:
            return self._act(check.problem, check.loss, epoch, step, steps, metrics)
        # At the end of an epoch, the evaluation decides too whether the state is good.
        if check.sound and not ended:
            self._keep(epoch, step)
        return None

    def evaluation_not_finite(self, epoch: int, steps: int) -> Repaired | None:
        """Repair the run after an epoch whose evaluation gave a loss that is not finite.

        Raises:
            TrainingFailed: The run is given up.
        """
        what = "the loss of the evaluation is not finite; the weights have diverged"
        return self._act(Problem("not-finite", what), None, epoch, steps, steps, Metrics(skipped=HOPELESS_UPDATES))

    def end_epoch(self, epoch: int) -> None:
        """Call this after an epoch's evaluation; ``epoch`` epochs are now done."""
        self.guard.begin_epoch()
        with self._timed():
            self._keep(epoch, 0)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _keep(self, epoch: int, step: int) -> None:
        if self.recipe.on_trouble != "repair":
            return
        state = self.guard.state
        self.good, state.good = self.model.training_state(), (epoch, step)
        state.good_tally = msgspec.structs.replace(state.tally)

    def _class_maps(self) -> Floats:
        assert self.sample is not None
        return self.model.class_maps(self.sample)

    def _act(
        self, problem: Problem, loss: float | None, epoch: int, step: int, steps: int, metrics: Metrics
    ) -> Repaired | None:
        guard, state = self.guard, self.guard.state
        what = problem.text
        if problem.classes and len(problem.classes) < guard.classes:
            what += f" ({', '.join(self.class_names[k] for k in problem.classes)})"
        done = epoch * steps + step
        decision = guard.decide(problem, 1 - done / (self.recipe.epochs * steps))
        if decision is None or (decision.action == "ignored" and is_hopeless(problem.type, metrics)):
            raise TrainingFailed(f"epoch {epoch + 1}, step {step}: {what}; {self._tried()}; next: {self._next()}")
        known = any((event.trouble, event.classes) == (problem.type, problem.classes) for event in state.events)
        if decision.action == "ignored" and known:
            return None
        if decision.action == "started again" and self.first_weights is None:
            decision = Decision("rolled back", decision.rate)
        state.rate *= decision.rate
        to, done_text = self._execute(decision, problem, (epoch, step), ended=step == steps)
        event = Event(
            epoch=epoch + 1,
            step=step,
            place=round(done / steps, 4),
            trouble=problem.type,
            what=what,
            classes=problem.classes,
            action=decision.action,
            done=done_text,
            back_to=round(to[0] + to[1] / steps, 4),
            rate=state.rate,
            loss=loss,
        )
        state.events.append(event)
        return Repaired(event, to, decision.action in ("rolled back", "started again"))

    def _execute(
        self, decision: Decision, problem: Problem, position: tuple[int, int], *, ended: bool
    ) -> tuple[tuple[int, int], str]:
        """Execute a decision; the position from which training continues, and a description of what was done."""
        state = self.guard.state
        slower = f"; learning rate × {state.rate:g}" if decision.rate != 1 else ""
        match decision.action:
            case "ignored":
                return position, "not repaired, since on_trouble is ignore"
            case "went on":
                if not self.guard.maps:
                    self._keep(*position)
                return position, reason_to_continue(problem.type)
            case "reopened":
                assert self.network is not None
                draw = np.random.Generator(np.random.Philox(key=[self.recipe.seed, 2**62 + len(state.events)]))
                opened, done_text = reopen(
                    self.model.training_state(), self.network, problem.classes, self._outputs, draw
                )
                self.model.load_training_state(opened)
                state.tally.dead = []
                if not ended:  # the evaluation, which comes next, may find that this is no good state
                    self._keep(*position)
                return position, done_text + slower
            case "started again":
                assert self.first_weights is not None
                state.restarts += 1
                seed = restart_seed(self.recipe.seed, state.restarts)
                start, kind = self.recipe.initializer, "new weights"
                if self.guard.opens:
                    start, kind = INITIALIZERS["open"], "new weights with every class open"
                fresh = _fresh(self.model.training_state(), self.first_weights(seed, start))
                self.model.load_training_state(fresh)
                state.tally = Tally()
                self._keep(0, 0)
                return (0, 0), f"from {kind}, seed {seed}{slower}"
            case "rolled back":
                assert self.good is not None
                assert state.good is not None
                self.model.load_training_state(self.good)
                state.tally = msgspec.structs.replace(state.good_tally)
                epoch, step = state.good
                return state.good, f"back to epoch {epoch + 1}, step {step}{slower}"
            case _:
                assert_never(decision.action)

    def _outputs(self, layer: str) -> Floats:
        assert self.sample is not None
        return self.model.outputs(self.sample, layer)

    def _tried(self) -> str:
        if self.recipe.on_trouble != "repair":
            return f"tried: nothing, since on_trouble is {self.recipe.on_trouble}"
        tried = [event for event in self.guard.state.events if is_repair(event.action)]
        return "tried: " + ", then ".join(f"{event.action} at epoch {event.epoch} ({event.done})" for event in tried)

    def _next(self) -> str:
        rate = self.recipe.learning_rate * self.guard.state.rate
        repair = "--on-trouble repair, or " if self.recipe.on_trouble != "repair" else ""
        return f"{repair}a lower learning rate (--lr {rate / 10:.2g}), another --seed, or the recipe quick"


def _fresh(state: State, weights: Weights) -> State:
    """A training state before the first step."""
    entries = {key: parse_key(key) for key in state}
    return {
        key: weights[entry.name] if entry.role == "weight" else np.zeros_like(state[key])
        for key, entry in entries.items()
    }
