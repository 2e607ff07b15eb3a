"""Recipes: everything that determines a training run besides the images."""

import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from mlpconv.arch.preprocess import MAX_PIXELS, MAX_SIDE, Fit
from mlpconv.backends.base import Precision
from mlpconv.backends.weights import INITIALIZERS, Initializer, named_initializer
from mlpconv.errors import RecipeError, unknown
from mlpconv.optimizers import Optimizer, default_settings

FINE_TUNING = 10
"""By what the learning rate is divided where training starts from the weights of another run."""
MAX_EPOCHS = 1_000_000
"""The most epochs of a recipe."""


class Augmentation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How training images vary. Pixels are those of the images at the size in which they are stored."""

    flip: bool | Literal["alternate"] = False
    """Mirror images left to right.

    - true: half of the images of each step, at random.
    - "alternate": half of the images in the first epoch, at random; then each image in every second epoch, so that two
      consecutive epochs show both sides of each image (Jordan 2024, arXiv:2404.00498).
    """
    shift: int = 0
    """The most pixels by which an image is shifted in each direction."""
    erase: int = 0
    """The side in pixels of a square that is erased at a random position; 0 is off."""
    mixup: float = 0.0
    """α of the Beta distribution of mixup (Zhang et al. 2017, arXiv:1710.09412), drawn once a batch; 0 is off."""
    crop: float = 0.0
    """The smallest share of an image's area that a random crop keeps, with an aspect ratio from 3:4 to 4:3 of the
    image's; what is kept is enlarged to the size of the image (Szegedy et al. 2015, arXiv:1409.4842). 0 is off."""
    color: float = 0.0
    """The most by which brightness, contrast and saturation are multiplied: by factors from 1 − color to 1 + color."""
    cutmix: float = 0.0
    """α of the Beta distribution of CutMix (Yun et al. 2019, arXiv:1905.04899), drawn once a batch; 0 is off."""

    def __post_init__(self) -> None:
        if self.shift < 0 or self.erase < 0 or not 0 <= self.mixup < float("inf"):
            raise RecipeError("augmentation: shift, erase and mixup must be at least 0 and finite")
        if not (0 <= self.crop <= 1 and 0 <= self.color <= 1 and 0 <= self.cutmix < float("inf")):
            raise RecipeError("augmentation: crop and color are 0 to 1, and cutmix is at least 0 and finite")
        if self.mixup and self.cutmix:
            raise RecipeError("augmentation: mixup and cutmix both mix two images; give one of them")
        if max(self.shift, self.erase) > MAX_SIDE:
            raise RecipeError(f"augmentation: shift and erase are pixels of an image, at most {MAX_SIDE}")


Schedule = Literal["constant", "one-cycle", "linear", "steps"]
TroublePolicy = Literal["repair", "stop", "ignore"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to train, on which data, and how.

    Every field has a default; ``change`` returns a recipe with other values. The test set is not used for any choice.

    Example:
        >>> import mlpconv
        >>> recipe = mlpconv.Recipe(model="nin_28", epochs=5, batch_size=64, learning_rate=0.05, normalize="data")
        >>> recipe.optimizer.name, recipe.schedule
        ('sgd', 'constant')
    """

    model: str = "nin"
    """A registered name, a JSON file, module:function, or "auto": chosen to fit the images (training/automatic.py)."""
    data: str = "fashion-mnist"
    """A known data set, a folder of images, or a CSV file of paths and labels."""
    epochs: int = 10
    """The number of epochs; ``min_steps`` may add some."""
    batch_size: int = 128
    """The images of a step."""
    optimizer: Optimizer = Optimizer()
    """The optimizer and its settings; ``change`` also accepts a name."""
    learning_rate: float = 0.1
    """The peak of the schedule."""
    schedule: Schedule = "constant"
    """The learning rate over the run.

    - "constant": always the peak.
    - "one-cycle": up linearly over the first ``warmup`` of all steps, then down by a cosine to 0.
    - "linear": the same with a linear descent.
    - "steps": a tenth of the peak after three fifths of all steps, a hundredth after four fifths.
    """
    warmup: float = 0.25
    """The share of all steps in which "one-cycle" and "linear" rise."""
    image_size: int | None = None
    """The side in pixels of the network's input; None is the network's default."""
    image_sizes: tuple[tuple[float, int], ...] = ()
    """(epoch, size) pairs: from that epoch on, whole or not, training images are resized to that size.

    Evaluation uses ``image_size``.
    """
    normalize: Literal["none", "data"] = "none"
    """The scale of values: "none" leaves them in 0..1 as the chapter does; "data" subtracts the training set's mean
    and divides by its standard deviation."""
    fit: Fit = "squash"
    """How images that are not square become square: see ``Preprocess``."""
    max_pixels: int = MAX_PIXELS
    """The most pixels of an image file of a folder, in training and afterwards; larger ones are refused."""
    antialias: bool = True
    """Whether images are smoothed when they are made smaller."""
    initializer: Initializer = INITIALIZERS["xavier"]
    """The first weights; ``change`` also accepts a name."""
    augmentation: Augmentation = Augmentation()
    """How training images vary."""
    label_smoothing: float = 0.0
    """The share of the target probability that is spread evenly over all classes."""
    balance: float = 0.0
    """How evenly the classes are shown: 0 shows each image once an epoch, 1 each class equally often.

    Between them, a class of n images is shown in proportion to n to the power 1 − balance.
    """
    pretrained: str = ""
    """A run or a classifier file from which the weights of all layers before the last block are taken, as far as the
    networks agree."""
    fit_head: bool = False
    """Whether the last block starts from a regularized fit on the features of the layers before it.

    ``change`` sets it, and a tenth of the learning rate, where it sets ``pretrained``. Without the fit, the last block
    starts from ``initializer``.
    """
    freeze: bool = False
    """Whether only the last block is trained: by the fit alone, while all other layers stay as in ``pretrained``."""
    seed: int = 0
    """The seed of weights, order, augmentation and dropout."""
    precision: Precision | None = None
    """The number type of the computation; None is the fastest one that the device supports."""
    on_trouble: TroublePolicy = "repair"
    """What to do when training diverges, learns nothing or loses a class: "repair" it, "stop" with TrainingFailed, or
    "ignore" it and only record it."""
    validation: float = 0.0
    """The share of the training images that is held out, the same ones for every seed.

    The run's weights are those of the epoch that does best on them; without them, those of the last epoch.
    """
    target_accuracy: float | None = None
    """Training ends with the epoch that reaches this accuracy on the validation images."""
    patience: int = 0
    """Training ends after this number of epochs without a better validation accuracy; 0 is no limit."""
    min_steps: int = 0
    """The fewest steps of a run: if ``epochs`` have fewer, there are more epochs, and ``patience`` and the starts in
    ``image_sizes`` grow in proportion."""

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("patience", 0), ("min_steps", 0)):
            if getattr(self, field) < least:
                raise RecipeError(f"{field} must be at least {least}, not {reprlib.repr(getattr(self, field))}")
        for field, most in (("epochs", MAX_EPOCHS), ("batch_size", 2**31), ("patience", 2**31), ("min_steps", 2**31)):
            if getattr(self, field) > most:
                raise RecipeError(f"{field} must be at most {most}, not {reprlib.repr(getattr(self, field))}")
        if self.image_size is not None and not 1 <= self.image_size <= MAX_SIDE:
            least = "at least 1" if self.image_size < 1 else f"at most {MAX_SIDE}"
            raise RecipeError(f"image_size must be {least}, not {reprlib.repr(self.image_size)}")
        if not 1 <= self.max_pixels < 1 << 31:
            raise RecipeError(f"max_pixels must be at least 1 and below 2**31, not {self.max_pixels}")
        if not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"learning_rate must be above 0 and finite, not {self.learning_rate}")
        if not 0 <= self.warmup <= 1:
            raise RecipeError(f"warmup is a share of all steps, 0 to 1, not {self.warmup}")
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        if not 0 <= self.balance <= 1:
            raise RecipeError(f"balance must be 0 to 1, not {self.balance}")
        if self.seed >= 2**63:
            raise RecipeError(f"seed must be below 2**63, not {reprlib.repr(self.seed)}")
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
        possible = all(0 <= start <= MAX_EPOCHS and 1 <= size <= MAX_SIDE for start, size in self.image_sizes)
        if starts != sorted(set(starts)) or not possible:
            shown = reprlib.repr(self.image_sizes)
            raise RecipeError(f"image_sizes are (epoch, size) pairs with rising epochs, not {shown}")


def change(recipe: Recipe, changes: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """The recipe with some fields changed.

    ``initializer`` and ``optimizer`` also take a name; another optimizer starts from its own defaults. Another model
    drops ``image_size`` and ``image_sizes`` unless they are given too, as they were chosen for the model before, and
    another ``image_size`` drops ``image_sizes``. With ``pretrained``, the last block starts from a fit, and the
    learning rate is a tenth unless it is given. With ``freeze``, the fit is all of the training, and no images are held
    out; if ``epochs`` are given instead, a recipe that freezes layers no longer does. If ``epochs`` are given,
    ``min_steps`` no longer adds to them. Without validation images there is no ``patience``.

    Args:
        recipe: The recipe to start from.
        changes: Values by field; those of nested fields are tables.
        place: Where the changes come from, for error messages.

    Raises:
        RecipeError: A field does not exist, or a value does not fit; the message names it.
    """
    # Field by field: to_builtins leaves a default table out, and a change of one of its keys would lose the others.
    values = {name: msgspec.to_builtins(getattr(recipe, name)) for name in recipe.__struct_fields__}
    if changes.get("model", recipe.model) != recipe.model:
        for key in ("image_size", "image_sizes"):
            values.pop(key, None)
    if changes.get("image_size", recipe.image_size) != recipe.image_size:
        values.pop("image_sizes", None)
    if "epochs" in changes:
        values.pop("min_steps", None)
    if "validation" in changes and not changes["validation"]:
        values.pop("patience", None)
    if "pretrained" in changes and bool(changes["pretrained"]) != bool(recipe.pretrained):
        values["fit_head"] = bool(changes["pretrained"])
        if changes["pretrained"]:
            values["learning_rate"] /= FINE_TUNING
        else:
            values.pop("freeze", None)
    if recipe.freeze and "freeze" not in changes and changes.get("epochs", 1) != 1:
        values["freeze"] = False
    elif changes.get("freeze", recipe.freeze) is True:
        if changes.get("epochs", 1) != 1:
            raise RecipeError(f"{place}: with freeze, the last block is fitted in one go; leave epochs out")
        if not recipe.freeze:
            for key in ("validation", "patience", "target_accuracy", "image_sizes"):
                values.pop(key, None)
            values |= {"epochs": 1, "min_steps": 0, "fit_head": True}
    _merge(values, changes, Recipe, place)
    try:
        return msgspec.convert(values, Recipe)
    except (msgspec.ValidationError, RecipeError) as error:
        raise RecipeError(f"{place}: {error}") from None


def _merge(values: dict[str, Any], changes: Mapping[str, Any], struct: type, place: str) -> None:
    hints = get_type_hints(struct)
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
            # Another optimizer does not have the settings of the one before, such as momentum.
            before = values.get(key, {}).get("name", "sgd")
            if isinstance(value, Mapping) and value.get("name", before) != before:
                values[key] = dict(default_settings(value["name"]))
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
    """The strings that a field accepts, if its type is a Literal or contains one."""
    types = (hint, *get_args(hint))
    return next((get_args(option) for option in types if get_origin(option) is Literal), ())


def parse_settings(settings: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Read changes of a recipe from settings such as "optimizer.momentum=0.9".

    Args:
        settings: Settings key=value; keys may have dots, values are TOML (strings need no quotes).
        option: The option that they come from, for error messages.

    Raises:
        RecipeError: A setting has no key, or two settings contradict each other.
    """
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


def initializer_name(initializer: Initializer) -> str:
    """The name of an initializer, or that of its distribution if it has none."""
    return next((name for name, value in INITIALIZERS.items() if value == initializer), initializer.weights)


def describe(recipe: Recipe, name: str) -> str:
    """A recipe in one line, for people."""
    momentum = f" momentum {recipe.optimizer.momentum:g}" if recipe.optimizer.momentum else ""
    change = recipe.augmentation
    flips = ["alternating flips" if change.flip == "alternate" else "flips"] * bool(change.flip)
    augmentation = flips + [f"shifts ±{change.shift}"] * bool(change.shift)
    augmentation += [f"erasing {change.erase}"] * bool(change.erase) + [f"mixup {change.mixup:g}"] * bool(change.mixup)
    augmentation += [f"crops of at least {change.crop:g}"] * bool(change.crop)
    augmentation += [f"colors ±{change.color:g}"] * bool(change.color) + [f"CutMix {change.cutmix:g}"] * bool(
        change.cutmix
    )
    smoothing = [f"label smoothing {recipe.label_smoothing:g}"] * bool(recipe.label_smoothing)
    sizes = [size for _, size in recipe.image_sizes]
    sizes += [recipe.image_size] * bool(recipe.image_size and recipe.image_size not in sizes[-1:])
    enlarged = [" → ".join(f"{size}×{size}" for size in sizes)] * bool(sizes)
    epochs = f"{recipe.patience} epoch{'s' * (recipe.patience > 1)}"
    patience = [f"stops after {epochs} without improvement"] * bool(recipe.patience)
    if recipe.freeze:
        parts = ["last block fitted on frozen features", *enlarged, *flips, f"seed {recipe.seed}"]
        return f"{name}: {', '.join(parts)}"
    parts = [
        f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)}",
        *enlarged,
        f"batch {recipe.batch_size}",
        f"{recipe.optimizer.rule.label}{momentum} {recipe.learning_rate:g} {recipe.schedule}",
        f"{initializer_name(recipe.initializer)} start",
        *augmentation,
        *smoothing,
        *patience,
        f"seed {recipe.seed}",
    ]
    return f"{name}: {', '.join(parts)}"


def differences(old: Recipe, new: Recipe) -> dict[str, str]:
    """The fields that differ, with their values: {"learning_rate": "0.1, now 0.05"}."""
    return {
        field: f"{as_text(getattr(old, field))}, now {as_text(getattr(new, field))}"
        for field in Recipe.__struct_fields__
        if getattr(old, field) != getattr(new, field)
    }


def to_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML, which ``read_recipe`` reads; fields that are None are omitted."""
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
    """The value of a field as ``--set`` accepts it."""
    # Numbers, strings, booleans and lists are the same in JSON and TOML.
    return "none" if value is None else msgspec.json.encode(value).decode()


def fields(recipe: Recipe) -> dict[str, str]:
    """Every field with its value as text; names of nested fields have a dot: {"optimizer.momentum": "0.9"}."""
    return dict(_fields(recipe, ""))


def _fields(value: msgspec.Struct, prefix: str) -> Iterable[tuple[str, str]]:
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if isinstance(inner, msgspec.Struct):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner if isinstance(inner, str) else as_text(inner)
