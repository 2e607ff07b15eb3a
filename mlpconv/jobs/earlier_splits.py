"""The splits of earlier runs that a new run keeps, so that no image is both learned from and tested on."""

from collections.abc import Sequence
from pathlib import Path

from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION
from mlpconv.data.folders.splitting import EarlierSplit
from mlpconv.inference.classifier import is_file
from mlpconv.jobs.run_data import is_folder, same_path
from mlpconv.models import shipped_weights
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.runs.data_files import read_split
from mlpconv.runs.job import CONFIG
from mlpconv.runs.run import Run
from mlpconv.training.recipe import Recipe


def earlier_splits(recipe: Recipe, start: str | None, repeated: Run | None = None) -> list[EarlierSplit]:
    """The recorded splits of the runs that a new run is made from.

    Args:
        recipe: The recipe of the new run. If its data is not a folder, there is nothing to keep.
        start: The run or classifier file whose weights it starts from; None for that of ``recipe.pretrained``.
        repeated: The run whose recipe it repeats.

    Returns:
        For each run that recorded one, its split; that of the weights first.

    Raises:
        RunError: There is no such run, or its split is damaged.
    """
    if not is_folder(recipe.data):
        return []
    source = start or recipe.pretrained
    if source and shipped_weights(source) is not None:
        source = ""  # they learned from no folder
    runs = [(_run_of(source), True)] if source else []
    found: dict[Path, EarlierSplit] = {}
    for run, learned in [*runs, (repeated, False)]:
        if run is not None and run.path.resolve() not in found and (split := _recorded(run, recipe.data, learned)):
            found[run.path.resolve()] = split
    return list(found.values())


def unknown_split(recipe: Recipe, start: StoredClassifier | None, earlier: Sequence[EarlierSplit]) -> list[str]:
    """A sentence if the start weights learned from the same folder, and it is not known from which of its images."""
    known = any(each.learned for each in earlier)
    if start is None or known or not is_folder(recipe.data) or not same_path(start.data, recipe.data):
        return []
    return [
        f"{start.path} learned from images of this folder and does not record from which, so it may know the test "
        "images, and the test accuracy may be too high"
    ]


def _run_of(source: str) -> Run | None:
    """The run that a classifier belongs to; None for a file that is not in the directory of a run."""
    if not is_file(source):
        return Run(source)
    place = Path(source).parent
    return Run(place) if (place / CONFIG).is_file() else None


def _recorded(run: Run, data: str, learned: bool) -> EarlierSplit | None:
    config = run.config
    listing = read_split(run.path, config.data.class_names, config.recipe.data)
    if listing is None:
        return None
    splits: dict[bytes, int] = {}
    files: dict[bytes, str] = {}
    for digest, split, file in zip(listing.digests, listing.splits, listing.files, strict=True):
        if digest:
            number = (TRAIN, VALIDATION, TEST).index(split or TRAIN)
            splits[digest] = min(number, splits.get(digest, number))  # a file in two splits was learned from
            files[digest] = file
    if not same_path(data, config.recipe.data):
        files.clear()
    return EarlierSplit(str(run.path), splits, files, config.recipe.validation, learned)
