"""The runner of every study: arms × seeds, each in a separate run directory, so that a study can be continued."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlpconv.arch.cost import count
from mlpconv.data import Splits
from mlpconv.errors import RecipeError, TrainingFailed
from mlpconv.executors import Workers
from mlpconv.formatting import format_duration, format_number
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware
from mlpconv.runs.job import CONFIG
from mlpconv.runs.run import Run
from mlpconv.studies import earlier
from mlpconv.studies.summary import summarize
from mlpconv.training.problems import is_repair
from mlpconv.training.recipe import Recipe, change

PROVENANCE = ("precision", "hardware", "versions", "date")
"""The keys of a result that state where and when it was measured."""


class Arm(NamedTuple):
    """One side of a comparison: a changed recipe, which is trained with every seed."""

    name: str
    """Its name, which is also that of its directory."""
    changes: Mapping[str, Any] = {}
    """The fields of the recipe that it changes, as ``training.recipe.change`` takes them."""
    about: str = ""
    """A description for people."""
    images: int | None = None
    """The number of its training images; None is that of the study."""
    seed_factor: int = 1
    """How many times the study's number of seeds it is trained with: more than once for an arm whose runs are short and
    vary much."""

    def seeds(self, count: int) -> range:
        """Its seeds in a study of ``count`` seeds."""
        return range(count * self.seed_factor)


Measure = Callable[[Run, Splits], dict[str, Any]]
"""Returns the measures of a finished run by name, from the run and its images. ``Run.result`` is None if training
failed."""


class StudyOptions(NamedTuple):
    """How to execute the runs of a study."""

    backend: str | None = None
    """The name of the back end."""
    device: str | None = None
    """The device; None is the back end's choice."""
    progress: Callable[[str], None] = lambda line: None
    """Called with a line about the time that the study will take, and with one for each finished run."""
    should_stop: Callable[[], bool] = lambda: False
    """Called between steps; where it returns True, the current run is saved and the study stops."""
    previous: Mapping[str, Any] | None = None
    """A result of an earlier call. Runs that are in it, with the same settings, are not trained again."""
    workers: Workers | None = None
    """Train several runs at once; None trains one after another in this process."""


DEFAULT_OPTIONS = StudyOptions()


class ReadyArm(NamedTuple):
    """An arm with everything that training it takes."""

    arm: Arm
    recipe: Recipe
    """The changed recipe."""
    data: Splits
    """Its images."""
    prepared: PreparedJob
    """Its job, with the recipe's seed."""

    @property
    def settings(self) -> str:
        """A digest of all that determines a run except its seed: recipe, network, images, back end and precision.

        Where the images are stored does not count, only what they are.
        """
        job = msgspec.to_builtins(self.prepared.job)
        del job["recipe_name"], job["data"]["name"]
        for key in ("seed", "data"):
            job["recipe"].pop(key, None)
        text = json.dumps([job, self.data.test.fingerprint()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def flops(self) -> float:
        """The floating-point operations of a run, about: a training step takes three times those of a prediction."""
        job = self.prepared.job
        images = 3 * job.data.train + job.data.test
        return float(count(self.prepared.network).flops * images * job.recipe.epochs)


Train = Callable[[Sequence[tuple[ReadyArm, int]]], Iterable[tuple[ReadyArm, int]]]
"""Trains arms with seeds into the directory of a study, and yields them as they are finished or stopped."""


def ready(
    base: Recipe, arms: Sequence[Arm], data: Callable[[Arm], Splits], options: StudyOptions = DEFAULT_OPTIONS
) -> list[ReadyArm]:
    """Prepare the arms of a study; nothing is written.

    Args:
        base: The recipe that all arms change.
        arms: The arms.
        data: Returns the images of an arm.
        options: Back end and device.

    Raises:
        RecipeError: A change of an arm is not valid.
    """
    assert len({arm.name for arm in arms}) == len(arms), "arms need different names"
    recipes = [_recipe(base, arm) for arm in arms]
    return [
        ReadyArm(arm, recipe, images, _prepare(arm, recipe, images, options))
        for arm, recipe in zip(arms, recipes, strict=True)
        for images in [data(arm)]
    ]


def _recipe(base: Recipe, arm: Arm) -> Recipe:
    try:
        return change(base, arm.changes)
    except RecipeError as error:
        raise RecipeError(f"arm {arm.name}: {error}") from None


def _prepare(arm: Arm, recipe: Recipe, data: Splits, options: StudyOptions) -> PreparedJob:
    return prepare(Request(recipe=recipe, recipe_name=arm.name, backend=options.backend, device=options.device), data)


def carry_out(made: ReadyArm, seed: int, directory: Path, options: StudyOptions = DEFAULT_OPTIONS) -> Run | None:
    """Train one seed of an arm into ``directory/ARM/seed-N``; a finished run there is reused.

    Args:
        made: The arm.
        seed: The seed.
        directory: The directory of the study.
        options: Back end and device, and when to stop.

    Returns:
        The run once it is finished, even if training failed; None if it was stopped before.

    Raises:
        RunError: The directory has a run with other settings.
    """
    job = _prepare(made.arm, change(made.recipe, {"seed": seed}), made.data, options)
    path = run_path(directory, made.arm, seed)
    resume = ExecuteOptions(resume=(path / CONFIG).exists())
    execution = execute(job, path, resume, should_stop=options.should_stop)
    run = execution.run
    if run.result is None and run.failure is None:
        try:
            for _ in execution:
                pass
        except TrainingFailed:
            assert run.failure is not None  # a failure is an outcome of the study
    return None if run.result is None and run.failure is None else run


def run_path(directory: Path, arm: Arm, seed: int) -> Path:
    """The run directory of one seed of an arm. directory: that of the study."""
    return directory / arm.name / f"seed-{seed}"


def measure(run: Run) -> dict[str, Any]:
    """The measures of every study.

    Accuracies and loss are None if training failed before the end of its first epoch; ``test_accuracies`` are those
    after each epoch. ``dead_classes``, the number of classes that are dead in the end, is None if no class can die.
    ``repairs`` is the number of the guard's repairs.
    """
    history = run.history
    last = history[-1] if history else {}
    dead, events = last.get("dead_classes"), [event for line in history for event in line.get("repairs", ())]
    events += run.failure.repairs if run.failure else []
    return {
        "test_accuracy": run.result.test_accuracy if run.result else last.get("test_accuracy"),
        "train_accuracy": last.get("train_accuracy"),
        "loss": last.get("loss"),
        "test_accuracies": [line["test_accuracy"] for line in history],
        "dead_classes": None if dead is None else len(dead),
        "repairs": sum(is_repair(event["action"]) for event in events),
        "seconds": run.result.seconds if run.result else sum(line["seconds"] for line in history),
        # A result is read on other machines than its runs: paths are relative to the study's directory.
        "failed": run.failure and run.failure.message.replace(str(run.path), "/".join(run.path.parts[-2:])),
    }


def study(
    name: str,
    arms: Sequence[ReadyArm],
    seeds: int,
    directory: Path,
    options: StudyOptions = DEFAULT_OPTIONS,
    *,
    measure: Measure = lambda run, data: measure(run),
    train: Train | None = None,
) -> dict[str, Any]:
    """Run a study and summarize it.

    All arms are finished with a seed before the next seed starts, so that a study that is stopped has about as many
    runs of each arm.

    Args:
        name: The name of the study.
        arms: The arms, from ``ready``.
        seeds: The number of seeds; an arm may take several times as many.
        directory: The directory of the study.
        options: Back end and device, what to call with the progress, when to stop, and the earlier result.
        measure: Returns the measures of a run.
        train: Trains the missing runs by the workers of ``options``; None trains them here.

    Returns:
        Plain values, ready to be written as JSON. ``arms`` is a list in the order given, each with ``name``,
        ``about``, ``changes``, ``settings`` (a digest by which a later call recognizes what it need not train again),
        ``seeds`` (the measures of each finished seed) and ``summary`` (the statistics of each measure that all seeds
        have). ``complete`` is whether no run is missing. ``earlier`` lists where and when the runs were measured that
        the earlier result has.

    Raises:
        RunError: The directory has runs with other settings.
    """
    previous = options.previous or {}
    known = earlier.known(previous, {made.arm.name: made.settings for made in arms})
    of_arm = {made.arm.name: made.arm.seeds(seeds) for made in arms}
    pairs = [(made, seed) for seed in max(of_arm.values(), key=len) for made in arms if seed in of_arm[made.arm.name]]
    # What is here is read again: its extra measures may be new.
    here = {(made.arm.name, seed) for made, seed in pairs if _is_finished(directory, made.arm, seed)}
    missing = [(made, seed) for made, seed in pairs if (made.arm.name, seed) not in {*here, *known}]
    if missing and train is not None:
        assert options.workers is not None
        by = format_number(options.workers.count, "worker")
        options.progress(f"{format_number(len(missing), 'run')} to train by {by}")
        for number, (made, seed) in enumerate(train(missing), start=1):
            options.progress(f"{made.arm.name}, seed {seed}: trained; {number} of {len(missing)}")
        here = {(made.arm.name, seed) for made, seed in pairs if _is_finished(directory, made.arm, seed)}
        missing = []
    remaining = _Remaining([made for made, _ in missing])
    if missing:
        options.progress(f"{format_number(len(missing), 'run')} to train: {remaining.first()}")
    rows: dict[str, list[dict[str, Any]]] = {made.arm.name: [] for made in arms}
    newest: Run | None = None
    reused = False
    for made, seed in pairs:
        arm = made.arm
        row = known.get((arm.name, seed)) if (arm.name, seed) not in here else None
        reused |= row is not None
        if row is None:
            if train is not None and (arm.name, seed) not in here:  # stopped
                continue
            run = carry_out(made, seed, directory, options)
            if run is None:
                break
            newest, row = run, {"seed": seed, **measure(run, made.data)}
            if (arm.name, seed) not in here:
                remaining.subtract(made, row["seconds"])
        rows[arm.name].append(row)
        options.progress(f"{arm.name}, seed {seed}: {_describe(row)}{remaining}")
    done = sum(map(len, rows.values()))
    return {
        "format": 1,
        "study": name,
        "complete": done == len(pairs),
        "arms": [
            {
                "name": made.arm.name,
                "about": made.arm.about,
                "changes": dict(made.arm.changes),
                "images": made.arm.images,
                "settings": made.settings,
                "seeds": rows[made.arm.name],
                "summary": _summaries(rows[made.arm.name]),
            }
            for made in arms
        ],
        "data": arms[0].prepared.job.data.name,
        **_provenance(newest, previous, reused=reused),
    }


def _is_finished(directory: Path, arm: Arm, seed: int) -> bool:
    path = run_path(directory, arm, seed)
    if not (path / CONFIG).exists():
        return False
    run = Run(path)
    return run.result is not None or run.failure is not None


def _provenance(newest: Run | None, previous: Mapping[str, Any], *, reused: bool) -> dict[str, Any]:
    """Where and when the newest run was measured, and, under ``earlier``, those that an earlier result has."""
    before = [{key: previous.get(key) for key in PROVENANCE}, *previous.get("earlier", ())] if reused else []
    if newest is None:
        latest = before.pop(0) if before else {"precision": None, "hardware": {}, "versions": {}, "date": None}
        return latest | {"earlier": before}
    trained_in = newest.environment
    latest = {
        "precision": newest.config.precision,
        "hardware": hardware(trained_in, HARDWARE_OF_DEVICE),
        "versions": trained_in.get("versions", {}),
        "date": trained_in.get("date"),
    }

    def machine(measured: Mapping[str, Any]) -> tuple[Any, ...]:
        return measured["precision"], measured["hardware"], measured["versions"]

    # A machine is named once, though a study was continued on it.
    return latest | {"earlier": [each for each in before if machine(each) != machine(latest)]}


class _Remaining:
    """The time that the rest of a study takes: by a forecast of one run and the costs of the others, then measured."""

    def __init__(self, missing: Sequence[ReadyArm]) -> None:
        self._missing = list(missing)
        self._rate = 0.0
        self._took: dict[str, list[float]] = {}

    def first(self) -> str:
        """A forecast of all runs, from a few steps of the first one."""
        first = self._missing[0]
        self._rate = first.prepared.forecast().seconds / first.flops
        return f"about {format_duration(self._seconds())} in {first.prepared.job.precision} on this machine"

    def subtract(self, made: ReadyArm, seconds: float) -> None:
        """Take off a run that took ``seconds``."""
        self._missing.remove(made)
        self._took.setdefault(made.arm.name, []).append(seconds)

    def _seconds(self) -> float:
        def expected(made: ReadyArm) -> float:
            took = self._took.get(made.arm.name)
            return sum(took) / len(took) if took else self._rate * made.flops

        return sum(map(expected, self._missing))

    def __str__(self) -> str:
        return f"; about {format_duration(self._seconds())} left" if self._missing else ""


def _describe(row: Mapping[str, Any]) -> str:
    if row.get("failed"):
        return "training failed"
    shown = {key: value for key, value in row.items() if key not in ("seed", "failed") and _is_number(value)}
    return ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in shown.items())


def _summaries(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    keys = [key for key in (rows[0] if rows else {}) if key != "seed" and all(_is_number(row.get(key)) for row in rows)]
    return {key: summarize([row[key] for row in rows])._asdict() for key in keys}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
