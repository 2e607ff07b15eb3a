"""The guard at work: it looks at a model, keeps the last good state in memory, and repairs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Model, State, StepPlan, Weights
from mlpconv.backends.weights import INITIALIZERS, Initializer
from mlpconv.errors import NetworkError, TrainingFailed
from mlpconv.training.guard import (
    HOPELESS_UPDATES,
    Decision,
    Event,
    Guard,
    GuardState,
    Problem,
    Tally,
    is_hopeless,
    is_repair,
    reason_to_continue,
    restart_seed,
)
from mlpconv.training.plan import plan_step, step_indices
from mlpconv.training.recipe import Recipe
from mlpconv.training.reopen import arrays_of, can_reopen, reopen


class Repaired(NamedTuple):
    """Trouble was met, as ``event`` says; training goes on from ``to``, (epoch, step) from 0. moved: whether that is
    another place than where the trouble was seen."""

    event: Event
    to: tuple[int, int]
    moved: bool


def can_die(network: Network) -> bool:
    """Whether a class of this network can die: its maps have a ReLU behind them, and global average pooling."""
    try:
        return until_class_maps(network)[1] and can_reopen(network)
    except NetworkError:
        return False


class GuardRunner:
    """Watches one run.

    labels: of the training images. network, sample: what class maps need: the network and uint8 (N, H, W, C) images;
    without them, or where no class can die, classes are not looked at. first_weights: makes the weights that training
    begins with, by seed and initialiser; without it a run cannot be started again. state, good: of a checkpoint.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        labels: Labels,
        *,
        network: Network | None = None,
        sample: Images | None = None,
        first_weights: Callable[[int, Initializer], Weights] | None = None,
        class_names: tuple[str, ...] = (),
        state: GuardState | None = None,
        good: State | None = None,
    ) -> None:
        maps = network is not None and sample is not None and can_die(network)
        classes = len(class_names) or int(labels.max()) + 1
        self.labels = labels
        self.guard = Guard(recipe, labels, classes, maps=maps, sample=0 if sample is None else len(sample))
        self.guard.state = state or GuardState()
        self.good = good
        self.model, self.recipe, self.network, self.sample = model, recipe, network, sample
        self.first_weights = first_weights
        self.seconds = 0.0
        self.class_names = class_names or tuple(map(str, range(classes)))

    def begin(self, epoch: int, step: int) -> None:
        """Before the first step."""
        if self.good is None:
            self._keep(epoch, step)

    def plan(self, count: int, side: tuple[int, int], image_size: int, epoch: int, step: int) -> StepPlan:
        """``plan_step`` with what the guard has changed."""
        rate = self.guard.state.rate
        return plan_step(self._told(), count, side, image_size, epoch, step, self.labels, rate=rate)

    def indices(self, count: int, epoch: int, step: int) -> np.ndarray:
        """The images of a step, int64 (B,); empty behind the last."""
        return step_indices(self._told(), count, epoch, step, self.labels)

    def _told(self) -> Recipe:
        restarts = self.guard.state.restarts
        if not restarts:
            return self.recipe
        return msgspec.structs.replace(self.recipe, seed=restart_seed(self.recipe.seed, restarts))

    def look(self, metrics: Metrics, epoch: int, step: int, steps: int, image_size: int) -> Repaired | None:
        """Look at the run after ``step`` steps of ``epoch``, and do what is to be done; None where nothing is.

        Raises TrainingFailed where the run is given up.
        """
        with self._timed():
            return self._look(metrics, epoch, step, steps, image_size)

    def _look(self, metrics: Metrics, epoch: int, step: int, steps: int, image_size: int) -> Repaired | None:
        ended = step == steps
        if ended and self.guard.state.tally.step == steps:  # before the run was stopped in the evaluation
            return None
        found = self.guard.check(
            metrics,
            image_size,
            step,
            ended=ended,
            class_maps=self._class_maps,
            last=ended and epoch == self.recipe.epochs - 1,
        )
        if found.problem is not None:
            return self._act(found.problem, found.loss, epoch, step, steps, metrics)
        # At the end of an epoch the evaluation has a word too.
        if found.sound and not ended:
            self._keep(epoch, step)
        return None

    def grown(self, epoch: int, steps: int) -> Repaired | None:
        """The evaluation after an epoch gave a loss that is not finite."""
        what = "the loss of the evaluation is not finite, the weights have grown without bounds"
        return self._act(Problem("not-finite", what), None, epoch, steps, steps, Metrics(skipped=HOPELESS_UPDATES))

    def end_epoch(self, epoch: int) -> None:
        """``epoch`` epochs are over."""
        self.guard.begin_epoch()
        with self._timed():
            self._keep(epoch, 0)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

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
        to, words = self._carry_out(decision, problem, (epoch, step), ended=step == steps)
        event = Event(
            epoch=epoch + 1,
            step=step,
            place=round(done / steps, 4),
            trouble=problem.type,
            what=what,
            classes=problem.classes,
            action=decision.action,
            done=words,
            back_to=round(to[0] + to[1] / steps, 4),
            rate=state.rate,
            loss=loss,
        )
        state.events.append(event)
        return Repaired(event, to, decision.action in ("rolled back", "started again"))

    def _carry_out(
        self, decision: Decision, problem: Problem, place: tuple[int, int], *, ended: bool
    ) -> tuple[tuple[int, int], str]:
        """Where training goes on, and what was done."""
        state = self.guard.state
        slower = f"; learning rate × {state.rate:g}" if decision.rate != 1 else ""
        match decision.action:
            case "ignored":
                return place, "nothing: on_trouble is ignore"
            case "went on":
                if not self.guard.maps:
                    self._keep(*place)
                return place, reason_to_continue(problem.type)
            case "reopened":
                assert self.network is not None
                draw = np.random.Generator(np.random.Philox(key=[self.recipe.seed, 2**62 + len(state.events)]))
                opened, words = reopen(self.model.training_state(), self.network, problem.classes, self._outputs, draw)
                self.model.load_training_state(opened)
                state.tally.dead = []
                if not ended:  # the evaluation, which comes now, may find that there is nothing to go back to here
                    self._keep(*place)
                return place, words + slower
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
    fresh = {key: np.zeros_like(value) for key, value in state.items() if key.startswith(("optimizer", "metrics"))}
    for name, value in weights.items():
        fresh |= {key: value for key in arrays_of(state, name) if key not in fresh}
    assert fresh.keys() == state.keys()
    return fresh
