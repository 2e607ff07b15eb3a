"""Where a run happens: a directory of its own, held by one process, gone on with by the same settings alone."""

import shlex
from collections.abc import Collection

import msgspec

from mlpconv.arch.network import Network
from mlpconv.errors import RecipeError, RunError
from mlpconv.runs.run import Config, Run
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
"""What a run may go on with otherwise than it began, where that is said to be meant."""


SHAPING = ("model", "data", "image_size", "normalize", "fit", "antialias")
"""Fields of a recipe from which network and preprocessing follow."""


def check_same_job(run: Run, config: Config, meant: Collection[str] = ()) -> list[str]:
    """Raise RunError, with every difference, unless ``run`` was told what ``config`` says.

    meant: of CHANGEABLE, what may differ. Returns those differences, a line each. Raises RecipeError for a name that is
    not of CHANGEABLE.
    """
    if fixed := [name for name in meant if name not in CHANGEABLE]:
        raise RecipeError(
            f"--resume-with {fixed[0]}: a run goes on with its own; what may change: {', '.join(CHANGEABLE)}; "
            f"for the rest begin another: mlpconv train --from {run.path} --set {fixed[0]}=…"
        )
    old = run.config
    changes = dict(differences(old.recipe, config.recipe))
    told = set(changes)
    if told.isdisjoint(SHAPING):
        changes |= _network(old.make_network(), config.make_network())
        changes |= _fields("preprocess", old.preprocess, config.preprocess)
    changes |= _fields("data", old.data, config.data)
    for name in ("backend", "device", "precision", "deterministic", "start"):
        before, now = getattr(old, name), getattr(config, name)
        # What the recipe already explains is not said again.
        if before != now and name not in told:
            changes[name] = f"{before}, now {now}"
    unmeant = {name: text for name, text in changes.items() if name not in meant}
    if unmeant:
        lines = "\n  ".join(f"{name}: {text}" for name, text in unmeant.items())
        mean = " ".join(f"--resume-with {shlex.quote(setting)}" for setting in _settings(old, config, unmeant))
        also = f", or say that they are meant: {mean}" if mean else ""
        raise RunError(f"{run.path}: cannot go on with other settings:\n  {lines}\nleave them out{also}")
    return [f"{name}: {text}" for name, text in changes.items()]


def _settings(old: Config, new: Config, names: Collection[str]) -> list[str]:
    """What ``--resume-with`` takes for the changes of ``names``."""
    before, now = fields(old.recipe) | {"device": old.device}, fields(new.recipe) | {"device": new.device}
    return [
        f"{field}={value}"
        for field, value in now.items()
        if value != before[field] and (name := field.partition(".")[0]) in names and name in CHANGEABLE
    ]


def _network(old: Network, new: Network) -> dict[str, str]:
    layers = [{name: repr(layer) for name, layer in network.walk()} for network in (old, new)]
    found = {
        f"network.{name}": f"{layers[0].get(name, 'not there')}, now {layers[1].get(name, 'not there')}"
        for name in {**layers[0], **layers[1]}
        if layers[0].get(name) != layers[1].get(name)
    }
    for name in ("input_channels", "input_size", "name"):
        if getattr(old, name) != getattr(new, name):
            found[f"network.{name}"] = f"{getattr(old, name)}, now {getattr(new, name)}"
    if not found and old != new:
        found["network"] = "the same layers in another order"
    return found


def _fields(name: str, old: msgspec.Struct, new: msgspec.Struct) -> dict[str, str]:
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in old.__struct_fields__]
    return {f"{name}.{field}": f"{as_text(a)}, now {as_text(b)}" for field, a, b in pairs if a != b}
