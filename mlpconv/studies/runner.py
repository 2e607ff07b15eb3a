"""The runner of every study: arms × seeds, each in a separate run directory, so that a study can be continued."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from mlpconv.data import Splits
from mlpconv.errors import RecipeError, TrainingFailed
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware
from mlpconv.runs.job import CONFIG
from mlpconv.runs.run import Run
from mlpconv.training.problems import is_repair
from mlpconv.training.recipe import Recipe, change

# 97.5 % quantiles of Student's t for 1, 2, 3 … degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
_STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)


class Arm(NamedTuple):
    """One side of a comparison: a changed recipe, which is trained with every seed."""

    name: str
    """Its name, which is also that of its directory."""
    changes: Mapping[str, Any] = {}
    """The fields of the recipe that it changes, as ``training.recipe.change`` takes them."""
    about: str = ""
    """A description for people."""


class Summary(NamedTuple):
    """Statistics of one measure over seeds."""

    runs: int
    mean: float
    low: float
    """The lower end of the mean's 95 % confidence interval by Student's t; the mean if there is only one seed.

    The interval of a measure with a bounded range may extend beyond it.
    """
    high: float
    """The upper end."""
    median: float
    least: float
    most: float


Measure = Callable[[Run], dict[str, Any]]
"""Returns the measures of a finished run by name. ``Run.result`` is None if training failed."""


def summarize(values: Sequence[float]) -> Summary:
    """The statistics of at least one value."""
    mean, freedom = fmean(values), len(values) - 1
    # Beyond the table: the first term of Cornish and Fisher's expansion.
    quantile = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.95996 + 2.3722 / freedom
    half = quantile * stdev(values) / sqrt(len(values)) if freedom else 0.0
    return Summary(len(values), mean, mean - half, mean + half, median(values), min(values), max(values))


class StudyOptions(NamedTuple):
    """How to execute the runs of a study."""

    backend: str | None = None
    """The name of the back end."""
    device: str | None = None
    """The device; None is the back end's choice."""
    progress: Callable[[str], None] = lambda line: None
    """Called with a line for each finished run."""
    should_stop: Callable[[], bool] = lambda: False
    """Called between steps; where it returns True, the current run is saved and the study stops."""


DEFAULT_OPTIONS = StudyOptions()


def carry_out(
    base: Recipe,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    directory: Path,
    data: Splits,
    options: StudyOptions = DEFAULT_OPTIONS,
) -> Iterator[tuple[Arm, int, Run]]:
    """Train each arm with each seed into ``directory/ARM/seed-N``; finished runs there are reused.

    Args:
        base: The recipe that all arms change.
        arms: The arms.
        seeds: The seeds.
        directory: The directory of the study.
        data: The images.
        options: Back end and device, and when to stop.

    Yields:
        (arm, seed, run) once the run is finished, even if it failed. All arms are finished with a seed before the next
        seed starts, so that a study that is stopped has about as many runs of each arm.

    Raises:
        RecipeError: A change of an arm is not valid.
        RunError: The directory has runs with other settings.
    """
    for arm, seed, recipe in study_recipes(base, arms, seeds):
        request = Request(recipe=recipe, recipe_name=arm.name, backend=options.backend, device=options.device)
        job = prepare(request, data)
        path = directory / arm.name / f"seed-{seed}"
        resume = ExecuteOptions(resume=(path / CONFIG).exists())
        execution = execute(job, path, resume, should_stop=options.should_stop)
        run = execution.run
        if run.result is None and run.failure is None:
            try:
                for _ in execution:
                    pass
            except TrainingFailed:
                assert run.failure is not None  # a failure is an outcome of the study
        if run.result is None and run.failure is None:
            return
        yield arm, seed, run


def study_recipes(base: Recipe, arms: Sequence[Arm], seeds: Sequence[int]) -> list[tuple[Arm, int, Recipe]]:
    """The runs of a study, in the order in which they are executed: each arm has a seed before the next seed starts.

    Raises:
        RecipeError: A change of an arm is not valid.
    """
    recipes = {arm.name: _recipe(base, arm) for arm in arms}
    assert len(recipes) == len(arms), "arms need different names"
    return [(arm, seed, change(recipes[arm.name], {"seed": seed})) for seed in seeds for arm in arms]


def _recipe(base: Recipe, arm: Arm) -> Recipe:
    try:
        return change(base, arm.changes)
    except RecipeError as error:
        raise RecipeError(f"arm {arm.name}: {error}") from None


def measure(run: Run) -> dict[str, Any]:
    """The measures of every study.

    Accuracies and loss are None if training failed before the end of its first epoch; ``dead_classes``, the number of
    classes that are dead in the end, is None if no class can die. ``repairs`` is the number of the guard's repairs.
    """
    history = run.history
    last = history[-1] if history else {}
    dead, events = last.get("dead_classes"), [event for line in history for event in line.get("repairs", ())]
    events += run.failure.repairs if run.failure else []
    return {
        "test_accuracy": run.result.test_accuracy if run.result else last.get("test_accuracy"),
        "train_accuracy": last.get("train_accuracy"),
        "loss": last.get("loss"),
        "dead_classes": None if dead is None else len(dead),
        "repairs": sum(is_repair(event["action"]) for event in events),
        "seconds": run.result.seconds if run.result else sum(line["seconds"] for line in history),
        # A result is read on other machines than its runs: paths are relative to the study's directory.
        "failed": run.failure and run.failure.message.replace(str(run.path), "/".join(run.path.parts[-2:])),
    }


def study(
    name: str,
    base: Recipe,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    directory: Path,
    data: Splits,
    options: StudyOptions = DEFAULT_OPTIONS,
    *,
    measure: Measure = measure,
) -> dict[str, Any]:
    """Run a study and summarize it.

    Args:
        name: The name of the study.
        base: The recipe that all arms change.
        arms: The arms.
        seeds: The seeds.
        directory: The directory of the study.
        data: The images.
        options: Back end and device, what to call with the progress, and when to stop.
        measure: Returns the measures of a run.

    Returns:
        Plain values, ready to be written as JSON. ``arms`` is a list in the order given, each with ``name``,
        ``about``, ``changes``, ``seeds`` (the measures of each finished seed) and ``summary`` (the statistics of each
        measure that all seeds have). ``complete`` is whether no run is missing.
    """
    rows: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    newest: Run | None = None
    for arm, seed, run in carry_out(base, arms, seeds, directory, data, options):
        newest = run
        rows[arm.name].append({"seed": seed, **measure(run)})
        options.progress(f"{arm.name}, seed {seed}: {_describe(rows[arm.name][-1])}")
    done = sum(map(len, rows.values()))
    trained_in = newest.environment if newest else {}
    return {
        "format": 1,
        "study": name,
        "complete": done == len(arms) * len(seeds),
        "arms": [
            {
                "name": arm.name,
                "about": arm.about,
                "changes": dict(arm.changes),
                "seeds": rows[arm.name],
                "summary": _summaries(rows[arm.name]),
            }
            for arm in arms
        ],
        "data": newest.config.data.name if newest else base.data,
        "precision": newest.config.precision if newest else None,
        "hardware": hardware(trained_in, HARDWARE_OF_DEVICE),
        "versions": trained_in.get("versions", {}),
        "date": trained_in.get("date"),
    }


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
