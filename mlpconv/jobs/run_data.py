"""What a run learns from: a known data set, images given by a program, or a folder; and a recipe that fits it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlpconv.data import ImageDataset, Splits, list_datasets, load_dataset
from mlpconv.data.folders.folder import Loaded, scan_folder
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.models import create_model
from mlpconv.runs.data_files import SPLIT
from mlpconv.training.automatic import AUTO, resolve
from mlpconv.training.recipe import Recipe

Progress = Callable[[str, int, int], None]


class Options(NamedTuple):
    """How a folder is read. strict: refuse it where anything cannot be used. follow_links: also links out of it."""

    strict: bool = False
    follow_links: bool = False


DEFAULT_OPTIONS = Options()


class RunData(NamedTuple):
    """recipe: with everything chosen. name: what to load again. validation: what the folder has, or held out of it.
    loaded: the folder, where it is one. chosen: in a sentence, what was chosen for the images; empty for nothing."""

    splits: Splits
    recipe: Recipe
    name: str
    validation: ImageDataset | None = None
    loaded: Loaded | None = None
    chosen: str = ""


def is_folder(data: str) -> bool:
    """Whether a recipe's ``data`` means a folder of images or a CSV file, and no known data set."""
    if data in list_datasets():
        return False
    path = Path(data).expanduser()
    return os.sep in data or data.endswith(".csv") or data.startswith("~") or path.exists()


def default_recipe(data: str | None) -> str:
    """The name of the recipe that is meant where none is given. data: as is_folder's; None where that is not said."""
    return "own" if data is not None and is_folder(data) else "quick"


def load_run_data(
    recipe: Recipe,
    data: Splits | None,
    directory: str | Path | None,
    options: Options,
    progress: Progress | None,
) -> RunData:
    """Load what a recipe is to learn from. data: given by the caller, else by the recipe's name. directory: of a known
    data set's files. Raises DataErrors as `load_dataset` and `scan_folder`, NetworkError for an unknown network."""
    if recipe.model != AUTO:
        create_model(recipe.model)  # a wrong name is found before a download begins
    if data is None and is_folder(recipe.data):
        return _folder(recipe, directory, options, progress)
    splits = data or load_dataset(recipe.data, directory=directory, progress=progress)
    side = min(splits.train.image_shape[:2])
    recipe, said = resolve(recipe, side, len(splits.train))
    # Images of one's own are not what the recipe names.
    return RunData(splits, recipe, splits.train.name.removesuffix("/train") if data else recipe.data, chosen=said)


def _folder(recipe: Recipe, directory: str | Path | None, options: Options, progress: Progress | None) -> RunData:
    if directory is not None:
        raise DataError(f"{recipe.data}: is a folder itself; leave --data-dir {directory} out")
    # The same split for every seed of a recipe: results on other test images could not be compared.
    folder = scan_folder(
        recipe.data,
        validation=recipe.validation,
        strict=options.strict,
        follow_links=options.follow_links,
        progress=progress,
    )
    recipe, said = resolve(recipe, folder.typical_side, int((folder.splits == 0).sum()))
    size = recipe.image_size or max(create_model(recipe.model).input_size)
    largest = max(size, *(each for _, each in recipe.image_sizes), size)
    loaded = folder.load(folder.preprocess(largest, recipe.fit), progress)
    # One and the same folder, whatever directory a later command is called from.
    recipe = msgspec.structs.replace(recipe, data=str(Path(recipe.data).expanduser().absolute()))
    return RunData(loaded.splits, recipe, recipe.data, loaded.validation, loaded, said)


def reload_run_data(
    name: str,
    classifier: Classifier,
    *,
    directory: str | Path | None = None,
    progress: Progress | None = None,
) -> Splits:
    """A data set for a network that is trained: a known one, or a folder, whose images come at the size that the
    network learnt from, with its classes. The folder that it was trained on is split as it was then."""
    if not is_folder(name):
        return load_dataset(name, directory=directory, progress=progress)
    kept = classifier.path / SPLIT
    own = name == classifier.stored.data and kept.exists()
    folder = scan_folder(kept if own else name, class_names=classifier.class_names, progress=progress)
    return folder.load(classifier.file_preprocess, progress).splits
