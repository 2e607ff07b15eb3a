"""A recipe is everything that a training run is told."""

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from mlpconv.backends.base import Precision
from mlpconv.backends.weights import INITIALIZERS, Initializer, named_initializer
from mlpconv.errors import RecipeError, unknown
from mlpconv.optimizers import Optimizer


class Augmentation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How training images vary. flip: mirror half of them. shift: up to that many pixels each way. erase: a square of
    that many pixels at a random place. mixup: α of the Beta distribution of Zhang et al. 2017 (arXiv:1710.09412), drawn
    once a batch; 0 is off. Pixels are those of the images at their own size."""

    flip: bool = False
    shift: int = 0
    erase: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.erase < 0 or not 0 <= self.mixup < float("inf"):
            raise RecipeError("augmentation: shift, erase and mixup must be at least 0 and finite")


class Recipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to train, on what, and how.

    model: a registered name, a JSON file, module:function, or "auto", chosen from the images (training/automatic.py).
    data: a known data set, a folder of images, or a CSV file of path and label. pretrained: a run or a classifier's
    file whose weights, all but the last block's, it starts with. balance: 0 shows each image once an epoch, 1 each
    class equally often; between them a class of n images is seen in proportion to n to the power 1 − balance.
    image_size: side in pixels of the network's input; None is the network's own. image_sizes: (epoch, size) pairs, from
    that epoch on (whole or not) the images are enlarged to that size in training; evaluation uses image_size.
    normalize: "none" leaves values in 0..1 as the chapter does, "data" subtracts the training set's mean and divides by
    its standard deviation. learning_rate: the peak of the schedule: "constant"; "one-cycle", up linearly over the first
    ``warmup`` of all steps and down by a cosine to nothing; "linear", the same with a straight descent; "steps", a
    tenth after three fifths of all steps and a hundredth after four fifths. initializer: a name or a table. seed: of
    weights, order, augmentation and dropout. precision: None takes the fastest that the device computes in.

    on_trouble: what happens when training diverges, learns nothing or loses a class: "repair" it, "stop" with
    TrainingFailed, or "ignore" it but for the record. validation: the share of the training images that is held out,
    the same ones for every seed; the run's weights are of the epoch that does best on them, else of the last.
    target_accuracy: training ends with the epoch that reaches it on the validation images. patience: it ends after so
    many epochs without a better accuracy on them; 0 waits for ever. min_steps: where the images are so few that
    ``epochs`` have fewer steps, there are more epochs, and ``patience`` grows with them.
    """

    model: str = "nin"
    data: str = "fashion-mnist"
    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = Optimizer()
    learning_rate: float = 0.1
    schedule: Literal["constant", "one-cycle", "linear", "steps"] = "constant"
    warmup: float = 0.25
    image_size: int | None = None
    image_sizes: tuple[tuple[float, int], ...] = ()
    normalize: Literal["none", "data"] = "none"
    fit: Literal["squash", "crop", "pad"] = "squash"
    antialias: bool = True
    initializer: Initializer = INITIALIZERS["xavier"]
    augmentation: Augmentation = Augmentation()
    label_smoothing: float = 0.0
    balance: float = 0.0
    pretrained: str = ""
    seed: int = 0
    precision: Precision | None = None
    on_trouble: Literal["repair", "stop", "ignore"] = "repair"
    validation: float = 0.0
    target_accuracy: float | None = None
    patience: int = 0
    min_steps: int = 0

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("patience", 0), ("min_steps", 0)):
            if getattr(self, field) < least:
                raise RecipeError(f"{field} must be at least {least}, not {getattr(self, field)}")
        if self.image_size is not None and self.image_size < 1:
            raise RecipeError(f"image_size must be at least 1, not {self.image_size}")
        if not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"learning_rate must be above 0 and finite, not {self.learning_rate}")
        if not 0 <= self.warmup <= 1:
            raise RecipeError(f"warmup is a share of all steps, 0 to 1, not {self.warmup}")
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        if not 0 <= self.balance <= 1:
            raise RecipeError(f"balance must be 0 to 1, not {self.balance}")
        if self.seed >= 2**63:
            raise RecipeError(f"seed must be below 2**63, not {self.seed}")
        if not 0 <= self.validation < 1:
            raise RecipeError(
                f"validation is a share of the training images, at least 0 and below 1, not {self.validation}"
            )
        if self.target_accuracy is not None and not 0 < self.target_accuracy <= 1:
            raise RecipeError(f"target_accuracy must be above 0 and at most 1, not {self.target_accuracy}")
        for field in ("target_accuracy", "patience"):
            if getattr(self, field) and not self.validation:
                raise RecipeError(
                    f"{field} needs validation images, since the test set chooses nothing; add validation = 0.1"
                )
        starts = [start for start, _ in self.image_sizes]
        if starts != sorted(set(starts)) or any(not start >= 0 or size < 1 for start, size in self.image_sizes):
            raise RecipeError(f"image_sizes are (epoch, size) pairs with rising epochs, not {self.image_sizes}")


def change(recipe: Recipe, changes: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """The recipe with some fields exchanged; nested fields are tables. Raises RecipeError naming what is wrong.

    ``initializer`` and ``optimizer`` also take a name; another optimiser starts from its own defaults. Another model
    drops ``image_size`` and ``image_sizes`` unless they are given too: they were chosen for the model before. Epochs
    that are given are meant: ``min_steps`` no longer adds to them. No validation images, no ``patience``.
    """
    # Field by field: to_builtins leaves a default table out, and a change of one of its keys would lose the others.
    values = {name: msgspec.to_builtins(getattr(recipe, name)) for name in recipe.__struct_fields__}
    if changes.get("model", recipe.model) != recipe.model:
        for key in ("image_size", "image_sizes"):
            values.pop(key, None)
    if "epochs" in changes:
        values.pop("min_steps", None)
    if "validation" in changes and not changes["validation"]:
        values.pop("patience", None)
    _merge(values, changes, Recipe, place)
    try:
        return msgspec.convert(values, Recipe)
    except (msgspec.ValidationError, RecipeError) as error:
        raise RecipeError(f"{place}: {error}") from None


def _merge(values: dict[str, Any], changes: Mapping[str, Any], kind: type, place: str) -> None:
    hints = get_type_hints(kind)
    for key, value in changes.items():
        if key not in hints:
            raise RecipeError(f"{place}: {unknown('key', key, hints)}")
        if isinstance(value, str) and (choices := _choices(hints[key])) and value not in choices:
            raise RecipeError(f"{place}: {unknown(key, value, choices)}")
        if key == "initializer" and isinstance(value, str):
            values[key] = msgspec.to_builtins(named_initializer(value))
            continue
        if key == "optimizer":
            value = {"name": value} if isinstance(value, str) else value
            # Momentum means nothing to adam.
            before = values.get(key, {}).get("name", "sgd")
            if isinstance(value, Mapping) and value.get("name", before) != before:
                values[key] = {}
        if isinstance(hints[key], type) and issubclass(hints[key], msgspec.Struct):
            if not isinstance(value, Mapping):
                raise RecipeError(
                    f"{place}: {key} is a table of {', '.join(get_type_hints(hints[key]))}, not {value!r}"
                )
            values[key] = dict(values.get(key, {}))
            _merge(values[key], value, hints[key], f"{place}: {key}")
        else:
            values[key] = value


def _choices(hint: Any) -> tuple[str, ...]:
    """The texts that a field takes where it takes only some."""
    kinds = (hint, *get_args(hint))
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def parse_settings(settings: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """The changes that ``--set key=value`` asks for; keys may be dotted, values are TOML (text needs no quotes)."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"{option} {setting}: expected key=value, such as optimizer.momentum=0.9")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        table = changes
        *parents, last = key.strip().split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise RecipeError(f"{option} {setting}: {parent} was already given a value")
        table[last] = value
    return changes


def describe(recipe: Recipe, name: str) -> str:
    """A recipe in one line."""
    start = next(
        (key for key, value in INITIALIZERS.items() if value == recipe.initializer), recipe.initializer.weights
    )
    momentum = f" momentum {recipe.optimizer.momentum:g}" if recipe.optimizer.momentum else ""
    change = recipe.augmentation
    augmentation = ["flips"] * change.flip + [f"shifts ±{change.shift}"] * bool(change.shift)
    augmentation += [f"erasing {change.erase}"] * bool(change.erase) + [f"mixup {change.mixup:g}"] * bool(change.mixup)
    smoothing = [f"label smoothing {recipe.label_smoothing:g}"] * bool(recipe.label_smoothing)
    enlarged = [f"{recipe.image_size}×{recipe.image_size}"] * bool(recipe.image_size)
    patience = [f"ends {recipe.patience} epochs behind the best"] * bool(recipe.patience)
    parts = [
        f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)}",
        *enlarged,
        f"batch {recipe.batch_size}",
        f"{recipe.optimizer.rule.label}{momentum} {recipe.learning_rate:g} {recipe.schedule}",
        f"{start} start",
        *augmentation,
        *smoothing,
        *patience,
        f"seed {recipe.seed}",
    ]
    return f"{name}: {', '.join(parts)}"


def differences(old: Recipe, new: Recipe) -> dict[str, str]:
    """What differs, by field: "0.1, now 0.05"."""
    return {
        field: f"{as_text(getattr(old, field))}, now {as_text(getattr(new, field))}"
        for field in Recipe.__struct_fields__
        if getattr(old, field) != getattr(new, field)
    }


def to_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML text that ``read_recipe`` takes; fields that are None are left out."""
    lines, tables = [], []
    for field in Recipe.__struct_fields__:
        value = getattr(recipe, field)
        if isinstance(value, msgspec.Struct):
            inner = [f"{name} = {as_text(getattr(value, name))}" for name in value.__struct_fields__]
            tables += ["", f"[{field}]", *inner]
        elif value is not None:
            lines.append(f"{field} = {as_text(value)}")
    return "\n".join(lines + tables) + "\n"


def as_text(value: Any) -> str:
    """A value of a field as ``--set`` takes it."""
    # JSON's numbers, text, booleans and lists are TOML's.
    return "none" if value is None else msgspec.json.encode(value).decode()


def fields(recipe: Recipe) -> dict[str, str]:
    """Every field with its value as text, those of tables with a dot: "optimizer.momentum": "0.9"."""
    return dict(_fields(recipe, ""))


def _fields(value: msgspec.Struct, prefix: str) -> Iterable[tuple[str, str]]:
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if isinstance(inner, msgspec.Struct):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner if isinstance(inner, str) else as_text(inner)
