"""The two functions for Python programs: train a run, load a run."""

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpconv.data import Splits
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.session import Session
from mlpconv.jobs.stop import Stop
from mlpconv.notebook.live import in_notebook, watch
from mlpconv.runs.directory import check_directory
from mlpconv.runs.run import Run
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.trainer import EpochEnded, Repaired

_log = logging.getLogger(__name__)


def train(
    recipe: str | Recipe = "quick",
    *,
    data: Splits | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    resume_with: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    backend: str = "torch",
    device: str | None = None,
    deterministic: bool = False,
    live: bool = True,
    force: bool = False,
    **changes: Any,
) -> Run:
    """Train a network and return its run.

    recipe: a name, a TOML file or a Recipe. data: images of one's own; by default the data set that the recipe names.
    out: the run directory, by default a new one under ./runs. resume: go on with the run in ``out``; resume_with: from
    here on with other values of these (``{"epochs": 20}``). weights: a run or classifier, of any back end, with whose
    weights to begin. deterministic: only deterministic
    algorithms, in this whole process. changes: fields of the recipe to exchange (``epochs=1, optimizer={"momentum":
    0.9}``). live: in a notebook, show curves that grow and
    then the result; elsewhere nothing is shown. Progress goes to the logger "mlpconv.api". force: begin
    even where the memory left will not do.

    Raises MlpconvError for what cannot be carried out; TrainingFailed where training does not come to an end;
    KeyboardInterrupt after Ctrl-C (a notebook's stop button), once the run is saved: a second one does not wait for it.
    """
    name = recipe if isinstance(recipe, str) else "custom"
    chosen = change(get_recipe(recipe) if isinstance(recipe, str) else recipe, changes)
    meant = dict(resume_with or {})
    device = meant.get("device", device)
    chosen = change(chosen, {key: value for key, value in meant.items() if key != "device"}, "resume_with")
    check_directory(Path(out) if out is not None else None, resume=resume)
    goes_on = Path(out) if resume and out is not None else None
    if goes_on is not None:
        weights = weights or Run(goes_on).config.start
    session = Session(
        chosen,
        recipe_name=name,
        data=data,
        backend=backend,
        device=device,
        deterministic=deterministic,
        start=weights,
        goes_on=goes_on,
    )
    # Only SIGINT: to save at another signal is up to the program that this is part of.
    with Stop(signals=[signal.SIGINT]) as stop:
        recorder = session.run(
            out, resume=resume, resume_with=meant, should_stop=stop.wanted, report_every=2.0, force=force
        )
        for event in watch(recorder) if live and in_notebook() else recorder:
            if isinstance(event, EpochEnded):
                _log.info(
                    "epoch %d of %d: loss %.3f, train acc %.3f, test acc %.3f, %.1f examples/sec",
                    event.epoch + 1,
                    session.recipe.epochs,
                    event.loss,
                    event.accuracy,
                    event.test.accuracy,
                    event.images_per_second,
                )
            if isinstance(event, Repaired):
                met = event.event
                _log.warning("epoch %d, step %d: %s; %s: %s", met.epoch, met.step, met.what, met.action, met.done)
    if stop.seen:
        path = str(recorder.run.path)
        raise KeyboardInterrupt(
            f"{path}: the run was just finished"
            if recorder.run.result
            else f"stopped, and saved in {path}; the same call with out={path!r}, resume=True goes on with it"
        )
    return recorder.run


def load(run: str | Path | Run, *, backend: str | None = None, device: str | None = None) -> Classifier:
    """The trained network of a run directory or of one ``.safetensors`` file, ready to predict.

    Raises RunError where there is none.
    """
    return Classifier(run, backend=backend, device=device)
