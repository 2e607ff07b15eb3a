"""The lists of image files in a run directory: how each was used (split.csv), which were skipped (skipped.csv), and
which are copies of each other in different classes (conflicts.csv)."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlpconv.data.folders.conflicts import Conflict, find_conflicts
from mlpconv.data.folders.folder import Loaded
from mlpconv.data.folders.listed import Listing
from mlpconv.data.folders.lists import DIGEST_COLUMN, read_list
from mlpconv.data.folders.measured import only_split
from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION
from mlpconv.errors import DataError, RunError
from mlpconv.files import csv_line, write_atomic
from mlpconv.formatting import printable
from mlpconv.runs.run import Run

SPLIT, SKIPPED, CONFLICTS = "split.csv", "skipped.csv", "conflicts.csv"


def save_data_files(run: Path, loaded: Loaded) -> None:
    """Write split.csv, which can itself be used as a data set, skipped.csv if files were skipped, and conflicts.csv if
    there are copies in different classes.

    Raises:
        OSError: A file cannot be written.
    """
    folder = loaded.folder
    names = (TRAIN, VALIDATION, TEST)
    _write(
        run / SPLIT,
        ("path", "label", "split", DIGEST_COLUMN),
        (
            (
                os.path.join(folder.root, folder.files[row]),
                folder.class_names[folder.labels[row]],
                names[folder.splits[row]],
                folder.digests[row].tobytes().hex(),
            )
            for row in loaded.rows.tolist()
        ),
    )
    if loaded.problems:
        _write(run / SKIPPED, ("path", "reason"), loaded.problems)
    if found := find_conflicts(folder):
        _write(run / CONFLICTS, Conflict._fields, found)


def _write(path: Path, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = "".join(csv_line(row) for row in (titles, *rows))
    write_atomic(path, text.encode("utf-8", "surrogateescape"))


def read_split(run: Path, class_names: Sequence[str], folder: str) -> Listing | None:
    """The files of a run as split.csv records them; None if the run has no such file.

    Args:
        run: The run directory.
        class_names: The classes of the run.
        folder: The folder that the run was trained on. If all files are in it, their paths become relative to it.

    Raises:
        RunError: split.csv cannot be read, or names a class that the run does not have.
    """
    path = run / SPLIT
    if not path.is_file():
        return None
    try:
        listing = read_list(path, exact=True)
    except DataError as error:
        raise RunError(f"{error}; the split of the run is not known without it") from None
    if unknown := sorted(set(listing.classes) - set(class_names)):
        raise RunError(f"{path}: damaged: the run has no class {printable(unknown[0])}; restore the file")
    root = os.path.join(Path(folder).resolve(), "")
    if all(file.startswith(root) for file in listing.files):
        listing.root, listing.files = Path(root), [file.removeprefix(root) for file in listing.files]
    return listing


def read_files(run: Run, split: str) -> list[str]:
    """The path of each image of a split, in the order of the data set, relative to the folder if all are in it, and
    printable; empty if the run's images are not files. Raises RunError if split.csv is damaged."""
    data = run.config.data
    listing = read_split(run.path, data.class_names, data.name)
    return [printable(file) for file in only_split(listing, split).files] if listing is not None else []


def read_skipped(run: Run) -> list[tuple[str, str]]:
    """The path and reason of each file that the run skipped. Raises RunError if the list is damaged."""
    return [(path, reason) for path, reason in _read(run.path / SKIPPED, ("path", "reason"))]


def read_conflicts(run: Path) -> list[Conflict]:
    """The copies in different classes of the folder that a run was trained on. Raises RunError if the list is damaged.

    Args:
        run: The run directory.
    """
    return [Conflict(*cells) for cells in _read(run / CONFLICTS, Conflict._fields)]


def _read(path: Path, titles: Sequence[str]) -> list[list[str]]:
    """The cells of each row of a list; empty if there is no such list. Raises RunError if it is damaged."""
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [[row[title] for title in titles] for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error) as error:
        raise RunError(f"{path}: damaged: {error}; remove it to continue without it") from None
    if any(cell is None for row in rows for cell in row):
        raise RunError(f"{path}: damaged: a row is too short; remove it to continue without it")
    return rows
