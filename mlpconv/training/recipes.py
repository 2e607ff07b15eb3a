"""The named recipes: the source of each, and the result to expect."""

import logging
import tomllib
from pathlib import Path

import msgspec

from mlpconv.backends.weights import INITIALIZERS
from mlpconv.errors import RecipeError, unknown
from mlpconv.optimizers import Optimizer
from mlpconv.training.recipe import Augmentation, Recipe, change

PHOTOS = "photos"
"""The name of the recipe for few images."""
_log = logging.getLogger(__name__)


class Named(msgspec.Struct, frozen=True):
    """A named recipe."""

    recipe: Recipe
    source: str
    """Where it comes from."""
    expect: str
    """The result to expect, in which time on which hardware."""
    target: float | None = None
    """The test accuracy that the median of its seeds must reach; None if there is none."""


# As the chapter trains: in float32, and a run that collapses is not repaired.
_CHAPTER = Recipe(
    epochs=10,
    batch_size=128,
    learning_rate=0.1,
    initializer=INITIALIZERS["xavier"],
    precision="float32",
    on_trouble="ignore",
)
_COLLAPSE = "often loses classes: see docs/exercises/collapse.md, measured on a shortened version"

_FAST = Recipe(
    model="nin_fast",
    epochs=1,
    optimizer=Optimizer("muon", momentum=0.9, nesterov=True, weight_decay=0.05, ns_steps=3),
    learning_rate=0.03,
    schedule="one-cycle",
    warmup=0.1,
    normalize="data",
    initializer=INITIALIZERS["identity"],
    label_smoothing=0.05,
    min_steps=300,
)

_FOLDER = Recipe(
    model="auto",
    epochs=30,
    optimizer=Optimizer("adamw", weight_decay=0.05),
    learning_rate=2e-3,
    schedule="one-cycle",
    normalize="data",
    initializer=INITIALIZERS["he"],
    augmentation=Augmentation(flip=True, shift=4),
    label_smoothing=0.1,
    balance=0.5,
    min_steps=1500,
    validation=0.1,
    patience=10,
)

RECIPES: dict[str, Named] = {
    "quick": Named(
        Recipe(
            epochs=1,
            optimizer=Optimizer("muon", momentum=0.95, nesterov=True, weight_decay=0.05),
            learning_rate=3e-3,
            schedule="one-cycle",
            warmup=0.4,
            image_size=131,
            image_sizes=((0.0, 70), (0.25, 99), (0.65, 131)),
            normalize="data",
            initializer=INITIALIZERS["identity"],
            label_smoothing=0.05,
            min_steps=300,
        ),
        source=(
            "mlpconv; the chapter's network on images that grow to 131×131, where its class maps are 3×3; with Muon "
            "and a start near the identity, with every class alive"
        ),
        expect=(
            "0.904 test accuracy (median of five seeds, lowest 0.902) in 195 seconds on two CPU cores with bfloat16, "
            "in 289 seconds with AVX2 alone"
        ),
        target=0.90,
    ),
    "study": Named(
        Recipe(
            epochs=3,
            optimizer=Optimizer("adamw", weight_decay=0.05),
            learning_rate=2e-3,
            schedule="one-cycle",
            image_size=70,
            normalize="data",
            initializer=INITIALIZERS["open"],
            augmentation=Augmentation(flip=True),
            label_smoothing=0.05,
            min_steps=300,
        ),
        source="mlpconv; what `mlpconv study` changes one thing of: the chapter's network at 70×70 with AdamW",
        expect="0.904 test accuracy (median of five seeds, lowest 0.903) in 112 seconds on two CPU cores with bfloat16",
        target=0.90,
    ),
    "fast": Named(
        msgspec.structs.replace(_FAST, model="nin_tiny"),
        source="mlpconv; the network `nin_tiny`, which is made for it",
        expect=(
            "0.908 test accuracy (median of five seeds, lowest 0.904) in 15 seconds on two CPU cores with bfloat16, "
            "in 18 seconds with AVX2 alone"
        ),
        target=0.90,
    ),
    "fast-92": Named(
        _FAST,
        source="mlpconv; the network `nin_fast`, which is made for it",
        expect=(
            "0.923 test accuracy (median of five seeds, lowest 0.921) in 31 seconds on two CPU cores with bfloat16, "
            "in 46 seconds with AVX2 alone"
        ),
        target=0.92,
    ),
    "fast-935": Named(
        msgspec.structs.replace(_FAST, epochs=4, augmentation=Augmentation(flip="alternate")),
        source="mlpconv; the network `nin_fast` for longer, with flips",
        expect=(
            "0.937 test accuracy (median of five seeds, lowest 0.935) in 128 seconds on two CPU cores with bfloat16, "
            "in 180 seconds with AVX2 alone"
        ),
        target=0.935,
    ),
    "folder": Named(
        _FOLDER,
        source="mlpconv; what --data DIR takes: a network that fits the images, rare classes shown more often",
        expect=(
            "depends on the images; CIFAR-10 as JPEG files: 0.858 test accuracy (seed 0) in 23 minutes on two CPU "
            "cores with bfloat16"
        ),
    ),
    PHOTOS: Named(
        msgspec.structs.replace(
            _FOLDER,
            model="nin_photo",
            pretrained="nin_photo",
            fit_head=True,
            freeze=True,
            epochs=10,
            batch_size=32,
            learning_rate=1e-4,
            min_steps=300,
            validation=0.0,
            patience=0,
        ),
        source="mlpconv; what --data DIR takes for few images: `nin_photo` with the start weights of the package",
        expect=(
            "depends on the images; 298 stamps in 12 classes: 0.843 test accuracy (mean of five splits) in 9 seconds "
            "on two CPU cores with bfloat16, in 13 seconds with AVX2 alone"
        ),
    ),
    "modern": Named(
        Recipe(
            model="nin_32",
            data="cifar10",
            epochs=60,
            optimizer=Optimizer("adamw", weight_decay=0.05),
            learning_rate=3e-3,
            schedule="one-cycle",
            normalize="data",
            initializer=INITIALIZERS["he"],
            augmentation=Augmentation(flip=True, shift=4, erase=8),
            label_smoothing=0.1,
        ),
        source="mlpconv; the paper's idea with batch normalisation, AdamW and one cycle (arXiv:1803.09820)",
        expect="not measured yet",
    ),
    "paper": Named(
        Recipe(
            model="nin_cifar10",
            data="cifar10",
            epochs=200,
            optimizer=Optimizer("sgd", momentum=0.9, weight_decay=1e-4),
            learning_rate=0.05,
            schedule="steps",
            normalize="data",
            initializer=INITIALIZERS["normal"],
            augmentation=Augmentation(flip=True, shift=4),
        ),
        source=(
            "after Lin, Chen, Yan 2013 (arXiv:1312.4400): dropout, weight decay, batches of 128, a rate that falls "
            "twice to a tenth, shifts and flips; unlike it, each channel is normalised where the paper normalises "
            "contrast and whitens by ZCA, and the rate falls at fixed steps, not by hand; with a rate of 0.1 or He's "
            "start, all classes die"
        ),
        expect="not measured here; the paper: 0.912 test accuracy with augmentation on CIFAR-10",
    ),
    "d2l": Named(_CHAPTER, "Dive into Deep Learning, NiN, PyTorch and MXNet: SGD 0.1, 10 epochs", _COLLAPSE),
    "d2l-2023": Named(
        msgspec.structs.replace(_CHAPTER, learning_rate=0.05),
        "Dive into Deep Learning, 2023 edition: SGD 0.05, 10 epochs",
        _COLLAPSE,
    ),
    "gluonbook": Named(
        msgspec.structs.replace(_CHAPTER, epochs=3),
        "the chapter's first edition in Gluon: SGD 0.1 and Xavier, 3 epochs",
        "not measured; its steps are the first three epochs of d2l, which " + _COLLAPSE,
    ),
    "d2lzh": Named(
        msgspec.structs.replace(
            _CHAPTER,
            epochs=5,
            batch_size=32,
            optimizer=Optimizer("adam"),
            learning_rate=0.002,
            initializer=INITIALIZERS["torch"],
        ),
        "the chapter as the Chinese edition's readers train it in PyTorch: Adam 0.002, batch 32, 5 epochs",
        "not measured; the result depends on the seed",
    ),
}


RENAMED = {"own": "folder"}
"""Old names of recipes, which are accepted for one version, and their new names."""


def get_recipe(name: str) -> Recipe:
    """A recipe by its name, or from a TOML file (a path that ends in .toml).

    Raises:
        RecipeError: There is no such recipe; the message names the nearest. Or the file cannot be read.

    Example:
        >>> import mlpconv
        >>> recipe = mlpconv.get_recipe("quick")
        >>> recipe.epochs, recipe.image_size, recipe.optimizer.name
        (1, 131, 'muon')
    """
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    if name in RENAMED:
        _log.warning("the recipe %s is now %s; the old name will be removed in the next version", name, RENAMED[name])
        name = RENAMED[name]
    if name not in RECIPES:
        raise RecipeError(
            f"{unknown('recipe', name, RECIPES)}; for a recipe of your own, give a TOML file (recipe.toml)"
        )
    return RECIPES[name].recipe


def read_recipe(path: Path) -> Recipe:
    """A recipe from a TOML file with fields of Recipe, and ``base`` for the named recipe that it changes.

    Raises:
        RecipeError: The file cannot be read, or has a field or value that does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    base = table.pop("base", None)
    start = Recipe() if base is None else get_recipe(str(base))
    return change(start, table, place=str(path))
