"""A resume continues the same job: every difference between the stored job and the new one is found and named."""

import shlex
from collections.abc import Collection

import msgspec

from mlpconv.arch.network import Network
from mlpconv.errors import RecipeError, RunError
from mlpconv.runs.job import DataInfo, Job
from mlpconv.runs.run import Run
from mlpconv.training.recipe import as_text, differences, fields

CHANGEABLE = (
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "schedule",
    "warmup",
    "image_sizes",
    "augmentation",
    "label_smoothing",
    "seed",
    "precision",
    "device",
)
"""What a resume may change, where the change is confirmed."""

SHAPING = ("model", "data", "image_size", "normalize", "fit", "antialias")
"""Fields of a recipe from which network and preprocessing follow."""


def check_same_job(run: Run, job: Job, allowed_changes: Collection[str] = ()) -> list[str]:
    """Compare the stored job of a run with the job that is to continue it.

    Args:
        run: The run.
        job: The job that is to continue it.
        allowed_changes: Names from ``CHANGEABLE`` that may differ.

    Returns:
        The differences that are allowed, one line each.

    Raises:
        RunError: The jobs differ in something else; the message lists every difference.
        RecipeError: ``allowed_changes`` has a name that is not in ``CHANGEABLE``.
    """
    if fixed := [name for name in allowed_changes if name not in CHANGEABLE]:
        raise RecipeError(
            f"--resume-override {fixed[0]}: a resumed run keeps its own; what may change: {', '.join(CHANGEABLE)}; "
            f"for other changes start another run: mlpconv train --from {run.path} --set {fixed[0]}=…"
        )
    old = run.config
    changes = dict(differences(old.recipe, job.recipe))
    changed_fields = set(changes)
    if changed_fields.isdisjoint(SHAPING):
        changes |= _network_differences(old.make_network(), job.make_network())
        changes |= _struct_differences("preprocess", old.preprocess, job.preprocess)
    changes |= data_differences(old.data, job.data)
    for name in ("backend", "device", "precision", "deterministic", "start"):
        before, now = getattr(old, name), getattr(job, name)
        # A difference that follows from the recipe is named once.
        if before != now and name not in changed_fields:
            changes[name] = f"{before}, now {now}"
    refused = {name: text for name, text in changes.items() if name not in allowed_changes}
    if refused:
        lines = "\n  ".join(f"{name}: {text}" for name, text in refused.items())
        options = " ".join(f"--resume-override {shlex.quote(setting)}" for setting in _settings(old, job, refused))
        remedy = f", or confirm the changes: {options}" if options else ""
        raise RunError(f"{run.path}: cannot be resumed with other settings:\n  {lines}\nleave them out{remedy}")
    return [f"{name}: {text}" for name, text in changes.items()]


def data_differences(old: DataInfo, new: DataInfo) -> dict[str, str]:
    """How the images of two jobs differ, by field: "data.train": "70, now 60"."""
    return _struct_differences("data", old, new)


def _settings(old: Job, new: Job, names: Collection[str]) -> list[str]:
    """What ``--resume-override`` takes to allow the changes of ``names``."""
    before, now = fields(old.recipe) | {"device": old.device}, fields(new.recipe) | {"device": new.device}
    return [
        f"{field}={value}"
        for field, value in now.items()
        if value != before[field] and (name := field.partition(".")[0]) in names and name in CHANGEABLE
    ]


def _network_differences(old: Network, new: Network) -> dict[str, str]:
    layers = [{name: repr(layer) for name, layer in network.walk()} for network in (old, new)]
    changes = {
        f"network.{name}": f"{layers[0].get(name, 'not there')}, now {layers[1].get(name, 'not there')}"
        for name in {**layers[0], **layers[1]}
        if layers[0].get(name) != layers[1].get(name)
    }
    for name in ("input_channels", "input_size", "name"):
        if getattr(old, name) != getattr(new, name):
            changes[f"network.{name}"] = f"{getattr(old, name)}, now {getattr(new, name)}"
    if not changes and old != new:
        changes["network"] = "the same layers in another order"
    return changes


def _struct_differences(name: str, old: msgspec.Struct, new: msgspec.Struct) -> dict[str, str]:
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in old.__struct_fields__]
    return {f"{name}.{field}": f"{as_text(a)}, now {as_text(b)}" for field, a, b in pairs if a != b}
