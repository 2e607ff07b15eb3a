"""The images of a run: a known data set, images that a program supplies, or a folder; and a recipe that fits them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mlpconv.data import ImageDataset, Splits, list_datasets, load_dataset
from mlpconv.data.folders.conflicts import Conflict
from mlpconv.data.folders.copies import Pictures, near_pairs
from mlpconv.data.folders.folder import (
    NO_OPTIONS,
    Folder,
    FolderOptions,
    Loaded,
    scan_folder,
)
from mlpconv.data.folders.listed import Listing, Problem
from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.measured import first_problems, folder_to_measure, load_listing, only_split
from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION
from mlpconv.data.folders.scan_listing import file_problems, scan_listing
from mlpconv.data.folders.splitting import EarlierSplit
from mlpconv.errors import DataError, RunError
from mlpconv.formatting import format_number, printable
from mlpconv.inference.classifier import Classifier
from mlpconv.models import create_model
from mlpconv.runs.data_files import SPLIT, read_conflicts, read_skipped, read_split
from mlpconv.runs.run import Run
from mlpconv.training.automatic import AUTO, NO_WISHES, Wishes, resolve
from mlpconv.training.recipe import Recipe

FOLDER = "folder"
"""The name of the default recipe for a folder of images."""
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


def same_path(one: str, other: str) -> bool:
    """Whether two names of data are those of the same folder or list; False if one is empty."""
    return bool(one and other) and Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def shadowed_folder(data: str) -> str:
    """A sentence if ``data`` is a known data set and there is also a folder or file of that name; else empty."""
    if data in list_datasets() and Path(data).exists():
        return f"{data} is the known data set, not the folder of that name; to use the folder: --data ./{data}"
    return ""


def default_recipe(data: str | None) -> str:
    """The name of the default recipe for ``data``, which ``is_folder`` describes; None is the recipe's own data set."""
    return FOLDER if data is not None and is_folder(data) else "quick"


def load_run_data(
    recipe: Recipe,
    data: Splits | None = None,
    directory: str | Path | None = None,
    options: FolderOptions = NO_OPTIONS,
    progress: Progress | None = None,
    resumed: Run | None = None,
    earlier: Sequence[EarlierSplit] = (),
    wishes: Wishes = NO_WISHES,
) -> RunData:
    """Load the images for a recipe.

    Args:
        recipe: The recipe.
        data: The images, if the caller has them; by default those that the recipe names.
        directory: The directory with a known data set's files.
        options: How a folder is read.
        progress: Called with what is fetched or read, what is done of it, and the total.
        resumed: The run that is to be resumed: its recorded split of a folder is used.
        earlier: The splits of other runs that a folder's split keeps.
        wishes: What may be chosen to fit the images, besides what the recipe leaves open.

    Raises:
        RunError: The folder of the resumed run has changed.
        DataError: As ``load_dataset`` and ``scan_folder``.
        NetworkError: The recipe's network is unknown.
    """
    if recipe.model != AUTO:
        create_model(recipe.model)  # a wrong name is found before a download starts
    if data is None and is_folder(recipe.data):
        return _folder(recipe, directory, options, progress, resumed, earlier, wishes)
    splits = data or load_dataset(recipe.data, directory=directory, progress=progress)
    side = min(splits.train.image_shape[:2])
    recipe, chosen = resolve(recipe, side, len(splits.train), wishes)
    if data is None and (note := shadowed_folder(recipe.data)):
        chosen = f"{chosen}; {note}" if chosen else note
    # Images that the caller supplies are not those that the recipe names.
    return RunData(splits, recipe, splits.train.name.removesuffix("/train") if data else recipe.data, chosen=chosen)


def _folder(
    recipe: Recipe,
    directory: str | Path | None,
    options: FolderOptions,
    progress: Progress | None,
    resumed: Run | None,
    earlier: Sequence[EarlierSplit],
    wishes: Wishes,
) -> RunData:
    if directory is not None:
        raise DataError(f"{recipe.data}: is a folder itself; leave --data-dir {directory} out")
    folder = None
    if resumed is not None and same_path(recipe.data, resumed.config.recipe.data):
        folder = _recorded_folder(resumed, progress)
    if folder is None:

        def validation(count: int, side: int) -> float:
            return (wishes.for_few(count, side) or recipe).validation

        # The same split for every seed of a recipe: results on other test images could not be compared.
        folder = scan_folder(
            recipe.data,
            validation=validation,
            options=options._replace(max_pixels=recipe.max_pixels),
            progress=progress,
            earlier=earlier,
        )
    recipe, size, chosen = choose_for_folder(recipe, folder, wishes)
    largest = max(size, *(other for _, other in recipe.image_sizes), size)
    loaded = folder.load(folder.preprocess(largest, recipe.fit), progress)
    # The path is absolute, so that a later command may be called from any directory.
    recipe = msgspec.structs.replace(recipe, data=str(Path(recipe.data).expanduser().absolute()))
    return RunData(loaded.splits, recipe, recipe.data, loaded.validation, loaded, chosen)


def choose_for_folder(recipe: Recipe, folder: Folder, wishes: Wishes) -> tuple[Recipe, int, str]:
    """The recipe with what it leaves to the images of a folder, the side in pixels of the network's input, and a
    description of the choice for people: see ``resolve``."""
    recipe, chosen = resolve(recipe, folder.typical_side, int((folder.splits == 0).sum()), wishes)
    return recipe, recipe.image_size or max(create_model(recipe.model).input_size), chosen


class Reloaded(NamedTuple):
    """Images to measure a trained network on."""

    dataset: ImageDataset
    problems: Sequence[Problem] = ()
    """Files that are missing or cannot be used, and why."""
    notes: Sequence[str] = ()
    """What to know about the result, one sentence each."""
    root: Path = Path()
    """The directory that ``files`` are relative to."""
    files: Sequence[str] = ()
    """The file of each image; empty if they are not files."""
    trained_on: bool = False
    """Whether the network was trained on these images."""
    conflicts: Sequence[Conflict] | None = None
    """The copies in different classes of the folder that the run was trained on; None of other images."""


def reload_run_data(
    classifier: Classifier,
    name: str | None = None,
    split: str | None = None,
    *,
    directory: str | Path | None = None,
    progress: Progress | None = None,
) -> Reloaded:
    """Load images to measure a trained network on.

    Of the folder that a run was trained on, exactly the images are loaded that its split.csv names; those that are
    missing or have changed are left out and returned as problems. Another folder is never split: see
    ``folder_to_measure``. Files are decoded at the size that the network learned from.

    Args:
        classifier: The trained network.
        name: A known data set, or a folder; by default what the network was trained on.
        split: "test", "train" or, of a folder, "validation"; by default "test", or everything in a folder without
            splits.
        directory: The directory with a known data set's files.
        progress: As ``load_run_data`` takes it.

    Raises:
        DataError: There are no such images, or what the network was trained on is not recorded.
        RunError: The run's split.csv is damaged.
    """
    stored = classifier.stored
    data = name or stored.data
    if not data:
        raise DataError(
            f"{classifier.path}: does not record what it was trained on; name a data set: --data fashion-mnist"
        )
    if not is_folder(data):
        if split == "validation":
            raise DataError(f"--split validation: {data} has test and train; only folders have validation images")
        splits = load_dataset(data, directory=directory, progress=progress)
        note = shadowed_folder(data)
        train = split == "train"
        dataset, notes = splits.train if train else splits.test, [note] if note else []
        return Reloaded(dataset, notes=notes, trained_on=train and data == stored.data)
    recorded = None
    if stored.data and is_folder(stored.data) and classifier.path.is_dir():
        recorded = read_split(classifier.path, stored.class_names, stored.data)
    if same_path(data, stored.data):
        if recorded is not None:
            return _recorded_images(classifier, recorded, split or TEST, progress)
        if name is None:
            raise DataError(
                f"{classifier.path}: does not record which images of {printable(data)} were held out for testing; to "
                "measure a folder of other images, or all of a folder: --data FOLDER"
            )
    measured = folder_to_measure(data, classifier.class_names, classifier.file_preprocess, split, progress)
    notes = []
    if recorded is not None:
        learned = {digest for digest, each in zip(recorded.digests, recorded.splits, strict=True) if each != TEST}
        if known := sum(digest in learned for digest in measured.digests if digest):
            notes.append(
                f"{format_number(known, 'of these images was', 'of these images were')} used to train or choose this "
                "network, so its accuracy on new images is lower"
            )
    return Reloaded(measured.dataset, measured.problems, notes, measured.root, measured.files)


def _recorded_images(classifier: Classifier, recorded: Listing, split: str, progress: Progress | None) -> Reloaded:
    listing = only_split(recorded, split)
    name = f"{printable(classifier.stored.data)}/{split}"
    if not listing.files:
        raise DataError(f"{classifier.path}: its {SPLIT} names no {split} images")
    try:
        measured = load_listing(listing, classifier.class_names, classifier.file_preprocess, name, progress)
    except DataError as error:
        raise DataError(
            f"{error}\nthe run's {SPLIT} says which images they are; put them back, or measure other images with --data"
        ) from None
    notes = []
    if lost := len(measured.problems):
        images = format_number(len(listing.files), f"{split} image")
        notes.append(
            f"{lost:,} of the {images} that the run's {SPLIT} names cannot "
            f"be used, so the accuracy is that of {len(measured.dataset):,}{first_problems(measured.problems)}"
        )
    conflicts = read_conflicts(classifier.path)
    return Reloaded(
        measured.dataset, measured.problems, notes, measured.root, measured.files, split == TRAIN, conflicts
    )


def _recorded_folder(run: Run, progress: Progress | None) -> Folder | None:
    """The folder of a run that is resumed, with the recorded split; None if the run did not record it."""
    data = run.config.data
    listing = read_split(run.path, data.class_names, run.config.recipe.data)
    if listing is None:
        return None
    max_pixels = run.config.recipe.max_pixels
    scanned = scan_listing(listing, progress=progress, max_pixels=max_pixels, compare=True)
    if problems := file_problems(listing, scanned):
        raise RunError(
            f"{run.path}: cannot be resumed, because {printable(run.config.recipe.data)} has changed since the run "
            f"started: {len(problems):,} of its {format_number(len(listing.files), 'image')} cannot be used"
            f"{first_problems(problems)}\nput the files back, or start another run: mlpconv train --from {run.path}"
        )
    splits = np.array([(TRAIN, VALIDATION, TEST).index(split or TRAIN) for split in listing.splits], np.int8)
    pictures = Pictures(scanned.digest, scanned.content, scanned.thumbnail)
    labels = {label: number for number, label in enumerate(data.class_names)}
    return Folder(
        Path(run.config.recipe.data),
        listing.root,
        f"as in {printable(run.path / SPLIT)}",
        data.class_names,
        listing.files,
        np.array([labels[label] for label in listing.classes], np.int64),
        splits,
        np.stack([scanned.height, scanned.width], 1),
        scanned.mode,
        pictures,
        near_pairs(pictures),
        [],
        _added_files(run, listing),
        bits=run.config.preprocess.bits,
        max_pixels=max_pixels,
    )


def _added_files(run: Run, recorded: Listing) -> list[str]:
    """A note on files that were added to the folder since the run started."""
    try:
        now = list_folder(run.config.recipe.data)
    except DataError:
        return []
    known = {str(recorded.root / file) for file in recorded.files}
    skipped = {path for path, _ in read_skipped(run)}
    added = [file for file in now.files if printable(file) not in skipped and str(now.root / file) not in known]
    if not added:
        return []
    files = format_number(len(added), "file was", "files were")
    return [f"{files} added to the folder since the run started and will not be used; first: {printable(added[0])}"]
