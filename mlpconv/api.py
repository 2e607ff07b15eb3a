"""The two functions for Python programs: train a run, load a run."""

import logging
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.data import Splits
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.jobs.stop import Stop
from mlpconv.notebook.live import in_notebook, watch
from mlpconv.runs.directory import check_directory
from mlpconv.runs.run import Run
from mlpconv.training.guard_runner import Repaired
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.trainer import EpochEnded

_log = logging.getLogger(__name__)

DEPRECATED = {
    "resume_with": "resume={...}",
    "resume_override": "resume={...}",
    "weights": "options=TrainOptions(start_from=...)",
    "start_from": "options=TrainOptions(start_from=...)",
    "deterministic": "options=TrainOptions(deterministic=...)",
    "live": "options=TrainOptions(live=...)",
    "force": "options=TrainOptions(force=...)",
}
"""Old keywords of ``train``, which are accepted for one version, and what replaces them."""


class TrainOptions(NamedTuple):
    """Options of ``train`` that are rarely needed.

    Example:
        >>> import mlpconv
        >>> digits = mlpconv.load_dataset("digits")
        >>> short = {"data": digits, "epochs": 1, "image_size": 16}
        >>> run = mlpconv.train("fast", **short, out="first")
        >>> options = mlpconv.TrainOptions(start_from="first", live=False)
        >>> mlpconv.train("fast", **short, out="second", options=options).result.loss < run.result.loss
        True
    """

    start_from: str | Path | None = None
    """A run or classifier file, of any back end, from whose weights to start: all of them, so network and classes must
    be the same. For other classes, change the recipe's field ``pretrained`` instead."""
    deterministic: bool = False
    """Whether to use only deterministic algorithms, in the whole process."""
    live: bool = True
    """Whether to show growing curves, and then the result, in a notebook. Nothing is shown elsewhere."""
    force: bool = False
    """Whether to start even if the available memory is not enough."""


DEFAULT_OPTIONS = TrainOptions()


def train(
    recipe: str | Recipe = "quick",
    *,
    data: Splits | None = None,
    out: str | Path | None = None,
    resume: bool | Mapping[str, Any] = False,
    backend: str | None = None,
    device: str | None = None,
    options: TrainOptions = DEFAULT_OPTIONS,
    **changes: Any,
) -> Run:
    """Train a network and return its run.

    Progress is logged to "mlpconv.api".

    Args:
        recipe: A recipe, its name, or its TOML file.
        data: Your own images; by default the data set that the recipe names.
        out: The run directory; by default a new one under ./runs.
        resume: Whether to continue the run in ``out``. A mapping continues it and contains the fields of the recipe,
            and "device", that are to change: ``{"epochs": 20}``.
        backend: The name of a back end, such as "jax"; by default that of the run that is
            continued, else "torch", or the first that is installed.
        device: "cpu", "cuda", "cuda:1" and so on; by default a GPU if there is one.
        options: Start weights, determinism, curves in a notebook, and whether to start with too little memory.
        **changes: Fields of the recipe to change: ``epochs=1, optimizer={"momentum": 0.9}``.

    Returns:
        The run.

    Raises:
        MlpconvError: The request cannot be executed.
        TrainingFailed: Training failed, for example because it diverged past its retries.
        KeyboardInterrupt: After Ctrl-C or a notebook's stop button, once the run is saved; a second one does not wait
            for that.

    Example:
        >>> import mlpconv
        >>> digits = mlpconv.load_dataset("digits")
        >>> run = mlpconv.train("fast", data=digits, epochs=2, image_size=16, out="digits")
        >>> run.result.test_accuracy > 0.5
        True
    """
    for old in DEPRECATED.keys() & changes.keys():
        warnings.warn(
            f"{old}= is now {DEPRECATED[old]}; the old name will be removed", DeprecationWarning, stacklevel=2
        )
        resume, options = _replace_deprecated(old, changes.pop(old), resume, options)
    overrides = dict(resume) if isinstance(resume, Mapping) else {}
    resume = isinstance(resume, Mapping) or resume
    request = Request(
        recipe=change(get_recipe(recipe) if isinstance(recipe, str) else recipe, changes),
        recipe_name=recipe if isinstance(recipe, str) else None,
        resume_from=str(out) if resume and out is not None else None,
        resume_override=overrides,
        start_from=str(options.start_from) if options.start_from is not None else None,
        backend=backend,
        device=device,
        deterministic=options.deterministic,
    )
    check_directory(Path(out) if out is not None else None, resume=resume)
    prepared = prepare(request, data)
    how = ExecuteOptions(resume=resume, allowed_changes=tuple(overrides), report_seconds=2.0, force=options.force)
    # Only SIGINT: what to do on another signal is up to the calling program.
    with Stop(signals=[signal.SIGINT]) as stop:
        execution = execute(prepared, out, how, should_stop=stop.wanted)
        for event in watch(execution) if options.live and in_notebook() else execution:
            if isinstance(event, EpochEnded):
                _log.info(
                    "epoch %d of %d: loss %.3f, train acc %.3f, test acc %.3f, %.1f examples/sec",
                    event.epoch + 1,
                    prepared.recipe.epochs,
                    event.loss,
                    event.accuracy,
                    event.test.accuracy,
                    event.images_per_second,
                )
            if isinstance(event, Repaired):
                met = event.event
                _log.warning("epoch %d, step %d: %s; %s: %s", met.epoch, met.step, met.what, met.action, met.done)
    run = execution.run
    if stop.seen:
        path = str(run.path)
        raise KeyboardInterrupt(
            f"{path}: the run was just finished"
            if run.result
            else f"stopped, and saved in {path}; to continue, make the same call with out={path!r}, resume=True"
        )
    return run


def _replace_deprecated(
    old: str, value: Any, resume: bool | Mapping[str, Any], options: TrainOptions
) -> tuple[bool | Mapping[str, Any], TrainOptions]:
    """The arguments ``resume`` and ``options`` of ``train`` with the value of a deprecated keyword."""
    if old in ("resume_with", "resume_override"):
        return (value if resume and value else resume), options
    return resume, options._replace(**{"start_from" if old == "weights" else old: value})


def load(run: str | Path | Run, *, backend: str | None = None, device: str | None = None) -> Classifier:
    """Load a trained network, ready to predict.

    Args:
        run: A run, its directory, or a ``.safetensors`` file of a classifier.
        backend: The framework to compute in; by default that of the run.
        device: "cpu", "cuda", "cuda:1" and so on; by default a GPU if there is one.

    Raises:
        RunError: There is no trained network.

    Example:
        >>> import mlpconv
        >>> digits = mlpconv.load_dataset("digits")
        >>> mlpconv.train("fast", data=digits, epochs=1, image_size=16, out="digits")
        Run('digits')
        >>> classifier = mlpconv.load("digits")
        >>> predictions = classifier.predict(digits.test.images[:5], top=2)
        >>> [len(prediction.top) for prediction in predictions]
        [2, 2, 2, 2, 2]
        >>> best = predictions[0].top[0]  # best.label and best.probability
    """
    return Classifier(run, backend=backend, device=device)
