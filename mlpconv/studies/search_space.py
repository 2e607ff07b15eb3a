"""What `mlpconv tune` searches: fields of the recipe, and the batch sizes that fit the number of images."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlpconv.errors import RecipeError
from mlpconv.training.recipe import Recipe, parse_settings

if TYPE_CHECKING:
    import optuna

SPACE = (
    "learning_rate=1e-4..1e-2 log",
    "optimizer.weight_decay=1e-3..0.3 log",
    "batch_size=64|128|256",
    "label_smoothing=0..0.2",
    "augmentation.flip=true|false",
    "warmup=0.05..0.5",
)
"""What is searched where nothing else is asked for."""
MAX_BATCHES = 3
"""The number of batch sizes that are searched where nothing else is asked for."""
MIN_STEPS = 10
"""A batch has at most this fraction of the training images."""
FIELDS = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


class Field(NamedTuple):
    """One field of the recipe that is searched. values: to choose from, or None for the range low to high."""

    name: str
    values: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def draw(self, trial: "optuna.Trial") -> Any:
        """The value that a trial is to use."""
        if self.values is not None:
            return trial.suggest_categorical(self.name, list(self.values))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def parse_space(texts: Sequence[str]) -> list[Field]:
    """Fields as the command line writes them: ``learning_rate=1e-4..1e-2 log``, ``batch_size=64|128``,
    ``epochs=1..5``. Raises RecipeError naming what cannot be read."""
    found = []
    for text in texts:
        name, equals, said = text.partition("=")
        name, said = name.strip(), said.strip()
        if not equals or not FIELDS.fullmatch(name):
            raise RecipeError(
                f"--space {text}: expected FIELD=LOW..HIGH, optionally followed by log, or FIELD=A|B|C, such as "
                "'learning_rate=1e-4..1e-2 log'"
            )
        log = said.endswith(" log")
        bounds = said.removesuffix(" log").strip().split("..")
        if len(bounds) == 2:
            found.append(_range(text, name, bounds[0], bounds[1], log))
        else:
            values = tuple(_value(name, each.strip()) for each in said.split("|"))
            if len(values) < 2 or log:
                raise RecipeError(f"--space {text}: give a range LOW..HIGH, or two values or more: A|B")
            found.append(Field(name, values))
    names = [field.name for field in found]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"--space: {name} is given twice")
    return found


def _range(text: str, name: str, low: str, high: str, log: bool) -> Field:
    try:
        least, most = float(low), float(high)
    except ValueError:
        raise RecipeError(f"--space {text}: {low}..{high} are not two numbers") from None
    if not least < most or (log and least <= 0):
        raise RecipeError(f"--space {text}: the first must be below the second{', and above 0 for log' * log}")
    whole = all(re.fullmatch(r"-?\d+", each.strip()) for each in (low, high)) and name != "label_smoothing"
    return Field(name, None, least, most, log, whole and isinstance(_current(Recipe(), name), int))


def _value(name: str, text: str) -> Any:
    table: Any = parse_settings([f"{name}={text}"])
    for part in name.split("."):
        table = table[part]
    return table


def _current(recipe: Recipe, name: str) -> Any:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def field_names(changes: Mapping[str, Any], prefix: str = "") -> set[str]:
    """The names of the fields that nested changes of a recipe give a value: {"optimizer": {"momentum": 0.9}} gives
    optimizer.momentum."""
    names = set()
    for name, value in changes.items():
        names |= field_names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}"}
    return names


class Fitted(NamedTuple):
    """A search that fits the images and what the user has decided."""

    fields: list[Field]
    recipe: Recipe
    """The recipe to start from."""
    notes: list[str]
    """What was changed, one sentence each."""


def fit_space(recipe: Recipe, space: Sequence[str] | None, fixed: Collection[str], images: int) -> Fitted:
    """The fields to search.

    Fields that have a fixed value are not searched. If the user did not choose the batch size, no batch has more than a
    tenth of the training images.

    Args:
        recipe: The recipe to start from.
        space: The space that the user gives, as ``parse_space`` reads it; None for ``SPACE``.
        fixed: The names of the fields with a fixed value.
        images: The number of images that a trial is trained on.

    Raises:
        RecipeError: The space cannot be read, or nothing is left to search.
    """
    asked = parse_space(space or SPACE)
    taken_out = [field.name for field in asked if field.name in fixed]
    notes = []
    if space and taken_out:
        notes.append(f"not searched, because --set gives it a value: {', '.join(taken_out)}")
    fields = [field for field in asked if field.name not in fixed]
    chosen = "batch_size" in fixed or (space and any(field.name == "batch_size" for field in fields))
    if not chosen:
        largest = max(images // MIN_STEPS, 1)
        start = _halved(recipe.batch_size, largest)
        if start < recipe.batch_size:
            notes.append(
                f"batches of {start} instead of {recipe.batch_size}, because a trial trains on {images:,} images"
            )
            recipe = msgspec.structs.replace(recipe, batch_size=start)
        fields = [
            field if field.name != "batch_size" else field._replace(values=_batch_sizes(field, largest))
            for field in fields
        ]
        # A single size is no choice.
        for field in fields:
            if field.values is not None and len(field.values) == 1:
                recipe = msgspec.structs.replace(recipe, batch_size=field.values[0])
        fields = [field for field in fields if field.values is None or len(field.values) > 1]
    if not fields:
        raise RecipeError(
            "tune: --set gives a value to every field that would be searched; leave one out, or name others: --space"
        )
    return Fitted(fields, recipe, notes)


def _batch_sizes(field: Field, largest: int) -> tuple[int, ...]:
    """The batch sizes of a field, halved together until none is larger than ``largest``; 1 is only used alone."""
    assert field.values is not None
    top = _halved(max(field.values), largest)
    sizes = [top >> k for k in reversed(range(MAX_BATCHES))]
    return tuple(size for size in sizes if size > 1) or (1,)


def _halved(size: int, largest: int) -> int:
    """A batch size, halved until it is not larger than ``largest``."""
    while size > largest and size > 1:
        size //= 2
    return size


def first_value(field: Field) -> Any:
    """The value of a field with which a search starts: the first, or the lowest."""
    value = field.values[0] if field.values is not None else field.low
    return int(value) if field.whole else value
