"""The images of a run: a known data set, images that a program supplies, or a folder; and a recipe that fits them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlpconv.data import ImageDataset, Splits, list_datasets, load_dataset
from mlpconv.data.folders.folder import NO_OPTIONS, FolderOptions, Loaded, scan_folder
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.models import create_model
from mlpconv.runs.data_files import SPLIT
from mlpconv.training.automatic import AUTO, resolve
from mlpconv.training.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""Called with a name, how much of it is done, and the total: bytes of a download, or images."""


class RunData(NamedTuple):
    """The images of a run."""

    splits: Splits
    recipe: Recipe
    """The recipe, with everything chosen that it leaves to the images."""
    name: str
    """What to load again."""
    validation: ImageDataset | None = None
    """The folder's validation images, or images held out of the training set."""
    loaded_folder: Loaded | None = None
    """The folder, if the images come from one."""
    chosen: str = ""
    """What was chosen to fit the images, in a sentence; empty if nothing was."""


def is_folder(data: str) -> bool:
    """Whether a recipe's ``data`` is a folder of images or a CSV file, not a known data set."""
    if data in list_datasets():
        return False
    path = Path(data).expanduser()
    return os.sep in data or data.endswith(".csv") or data.startswith("~") or path.exists()


def default_recipe(data: str | None) -> str:
    """The name of the default recipe for ``data``, which ``is_folder`` describes; None is the recipe's own data set."""
    return "folder" if data is not None and is_folder(data) else "quick"


def load_run_data(
    recipe: Recipe,
    data: Splits | None = None,
    directory: str | Path | None = None,
    options: FolderOptions = NO_OPTIONS,
    progress: Progress | None = None,
) -> RunData:
    """Load the images for a recipe.

    Args:
        recipe: The recipe.
        data: The images, if the caller has them; by default those that the recipe names.
        directory: The directory with a known data set's files.
        options: How a folder is read.
        progress: Called with what is fetched or read, what is done of it, and the total.

    Raises:
        DataError: As ``load_dataset`` and ``scan_folder``.
        NetworkError: The recipe's network is unknown.
    """
    if recipe.model != AUTO:
        create_model(recipe.model)  # a wrong name is found before a download starts
    if data is None and is_folder(recipe.data):
        return _folder(recipe, directory, options, progress)
    splits = data or load_dataset(recipe.data, directory=directory, progress=progress)
    side = min(splits.train.image_shape[:2])
    recipe, chosen = resolve(recipe, side, len(splits.train))
    # Images that the caller supplies are not those that the recipe names.
    return RunData(splits, recipe, splits.train.name.removesuffix("/train") if data else recipe.data, chosen=chosen)


def _folder(recipe: Recipe, directory: str | Path | None, options: FolderOptions, progress: Progress | None) -> RunData:
    if directory is not None:
        raise DataError(f"{recipe.data}: is a folder itself; leave --data-dir {directory} out")
    # The same split for every seed of a recipe: results on other test images could not be compared.
    folder = scan_folder(
        recipe.data,
        validation=recipe.validation,
        options=options._replace(max_pixels=recipe.max_pixels),
        progress=progress,
    )
    recipe, chosen = resolve(recipe, folder.typical_side, int((folder.splits == 0).sum()))
    size = recipe.image_size or max(create_model(recipe.model).input_size)
    largest = max(size, *(other for _, other in recipe.image_sizes), size)
    loaded = folder.load(folder.preprocess(largest, recipe.fit), progress)
    # The path is absolute, so that a later command may be called from any directory.
    recipe = msgspec.structs.replace(recipe, data=str(Path(recipe.data).expanduser().absolute()))
    return RunData(loaded.splits, recipe, recipe.data, loaded.validation, loaded, chosen)


def reload_run_data(
    name: str,
    classifier: Classifier,
    *,
    directory: str | Path | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Load a data set for a trained network.

    Args:
        name: A known data set, or a folder. A folder's images are loaded at the size that the network learned from,
            with the network's classes. The folder that it was trained on is split as it was then.
        classifier: The trained network.
        directory: The directory with a known data set's files.
        progress: As ``load_run_data`` takes it.
    """
    if not is_folder(name):
        return load_dataset(name, directory=directory, progress=progress)
    split = classifier.path / SPLIT
    trained_on = name == classifier.stored.data and split.exists()
    preprocess = classifier.file_preprocess
    folder = scan_folder(
        split if trained_on else name,
        class_names=classifier.class_names,
        options=FolderOptions(max_pixels=preprocess.max_pixels),
        progress=progress,
    )
    return folder.load(preprocess, progress).splits
