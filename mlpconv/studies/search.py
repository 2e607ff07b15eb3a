"""A search for a better recipe: thin over Optuna, whose own are sampling, pruning, storage, resuming and workers.

The test set chooses nothing: each trial is judged on images that are held out of the training set, and trains on the
rest; the winner's accuracy there is too good by as much as the search was long.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpconv.data import Splits
from mlpconv.data.dataset import hold_out
from mlpconv.errors import MissingDependency, RunError, TrainingFailed
from mlpconv.formatting import format_number, markdown_table
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.studies.search_space import Field, first_value
from mlpconv.training.recipe import Recipe, change, differences, to_toml
from mlpconv.training.trainer import EpochEnded

if TYPE_CHECKING:
    import optuna

TASK = "told"
"""The attribute of an Optuna study that names what is searched; its name must not change."""


def candidate(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """The recipe with the values of one trial, by their full names. Raises RecipeError where they do not fit."""
    changes: dict[str, Any] = {}
    for name, value in values.items():
        table = changes
        *parents, last = name.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return change(recipe, changes)


class _Stopped(Exception):
    """The trial was not brought to its end, which says nothing about its recipe."""


class SearchSettings(NamedTuple):
    """How to search."""

    directory: Path
    """Where each trial's run goes."""
    storage: str | None
    """The address of an Optuna storage; processes with the same one share the work. None: only in memory."""
    validation: int
    """Number of images held out of the training set, on which trials are judged."""
    trials: int = 30
    """Number of trials, including those that the storage holds already."""
    name: str = "tune"
    seed: int = 0
    """Seed of Optuna's sampler."""
    backend: str | None = None
    device: str | None = None


class Search(NamedTuple):
    """A search that is finished, or was stopped."""

    study: Any
    """Optuna's study."""
    recipe: Recipe
    """The best recipe."""
    accuracy: float
    """The accuracy of the best trial on the images held out."""
    images: int
    """The number of these images."""
    values: dict[str, Any]
    """The best values of the fields searched."""
    importance: dict[str, float]
    """The share of the spread of accuracies that each field explains (PED-ANOVA, Watanabe et al. 2023,
    arXiv:2304.10255); empty if too few trials are finished."""


def search(
    recipe: Recipe,
    space: Sequence[Field],
    data: Splits,
    settings: SearchSettings,
    *,
    progress: Callable[[str], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Search:
    """Search ``space`` around ``recipe``.

    Args:
        recipe: The recipe to start from.
        space: The fields to search.
        data: The images. The test images take no part.
        settings: How to search.
        progress: Called with a line for each trial.
        should_stop: Called between steps; where it returns True, the search stops.

    Raises:
        MissingDependency: Optuna is not installed.
        RecipeError: The recipe does not have a field of the space.
        RunError: Not one trial was completed, or the storage holds a search for something else.
    """
    optuna = load()
    candidate(recipe, {field.name: first_value(field) for field in space})
    train, judges = hold_out(data.train, settings.validation, seed=0)
    splits = Splits(train, judges)
    with _storing(settings.storage):
        return _search(optuna, recipe, space, splits, settings, progress, should_stop)


def _search(
    optuna: Any,
    recipe: Recipe,
    space: Sequence[Field],
    splits: Splits,
    settings: SearchSettings,
    progress: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Search:
    name, storage = settings.name, settings.storage
    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True, direction="maximize")
    # A search that continues must not start with the same samples again.
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    task = json.dumps(
        {
            "recipe": to_toml(recipe),
            "space": [field._asdict() for field in space],
            "held_out": settings.validation,
        }
    )
    if study.user_attrs.get(TASK, task) != task:
        raise RunError(f"the study {name!r} in {storage} searches something else; give another --name")
    study.set_user_attr(TASK, task)

    def objective(trial: "optuna.Trial") -> float:
        chosen = candidate(recipe, {field.name: field.draw(trial) for field in space})
        request = Request(recipe=chosen, recipe_name=name, backend=settings.backend, device=settings.device)
        job, accuracy = prepare(request, data=splits), 0.0
        try:
            for event in execute(job, settings.directory / f"trial-{trial.number}", should_stop=should_stop):
                if isinstance(event, EpochEnded):
                    accuracy = event.test.accuracy
                    trial.report(accuracy, event.epoch)
                    if event.epoch + 1 < chosen.epochs and trial.should_prune():
                        raise optuna.TrialPruned
        except TrainingFailed as error:
            progress(f"trial {trial.number}: {error}")
            raise optuna.TrialPruned from None
        if should_stop():
            study.stop()
            raise _Stopped
        return accuracy

    def after(_: Any, trial: Any) -> None:
        outcome = f"{trial.value:.4f}" if trial.value is not None else trial.state.name.lower()
        shown = ", ".join(f"{key} {_short(value)}" for key, value in trial.params.items())
        progress(f"trial {trial.number}: {outcome} with {shown}")
        if len(_over(study)) >= settings.trials:
            study.stop()

    if len(_over(study)) < settings.trials and not should_stop():
        study.optimize(objective, n_trials=settings.trials, callbacks=[after], catch=[_Stopped])
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        raise RunError(f"not one trial of {name} was completed; the same command continues the search")
    best = study.best_trial
    return Search(
        study,
        candidate(recipe, best.params),
        float(best.value),
        settings.validation,
        dict(best.params),
        _importance(study, complete),
    )


@contextmanager
def _storing(storage: str | None) -> Iterator[None]:
    """Errors of the storage become RunError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise RunError(
            f"--storage {storage}: {error}; give the address of an Optuna storage, such as sqlite:///tune.db"
        ) from None
    except (StorageInternalError, SQLAlchemyError) as error:
        cause: BaseException = error
        while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
            cause = inner
        raise RunError(
            f"the storage {storage} cannot be read or written: {cause}; free some space, check its permissions, or "
            "give another --storage; then the same command continues the search"
        ) from None


def _over(study: Any) -> list[Any]:
    """The trials that are over: those that run elsewhere, or broke off, are not."""
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _importance(study: Any, complete: Sequence[Any]) -> dict[str, float]:
    optuna = load()
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return {
        key: float(value) for key, value in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def load() -> Any:
    """Optuna, quiet. Raises MissingDependency where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'tune: the package {error.name!r} is not installed; pip install "mlpconv[tune]"'
        ) from error
    optuna.logging.set_verbosity(logging.ERROR)  # of a trial that fails, Optuna would print a traceback
    return optuna


def report(found: Search, recipe: Recipe, command: str) -> str:
    """The search as a page in Markdown: the best trials, what mattered, the recipe that won."""
    over = _over(found.study)
    complete = sorted(
        (trial for trial in over if trial.value is not None and trial.state.name == "COMPLETE"),
        key=lambda trial: -trial.value,
    )
    names = list(found.values)
    table = [
        [str(trial.number), f"{trial.value:.4f}", *(_short(trial.params[name]) for name in names)]
        for trial in complete[:10]
    ]
    weights = [[key, f"{value:.2f}"] for key, value in found.importance.items()]
    importance = ["Too few trials are finished to estimate it."]
    if weights:
        importance = markdown_table(["field", "importance"], weights, left=None)
    return "\n".join(
        [
            f"# Search {found.study.study_name}",
            "",
            f"{len(over)} trials, {len(over) - len(complete)} of them given up early; the best has "
            f"{found.accuracy:.4f} on the {format_number(found.images, 'image')} held out of the training set. It was "
            "chosen by them, so expect less on others.",
            "",
            "## The best trials",
            "",
            *markdown_table(["trial", "accuracy", *names], table, left=None),
            "",
            "## What mattered",
            "",
            *importance,
            "",
            "## The best recipe",
            "",
            *(f"- {line}" for line in differences(recipe, found.recipe)),
            "",
            "```toml",
            to_toml(found.recipe).rstrip(),
            "```",
            "",
            f"Command: `{command}`",
            "",
        ]
    )
