"""The lists of image files in a run directory: how each was used (split.csv), and which were skipped (skipped.csv)."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlpconv.data.folders.folder import Loaded
from mlpconv.data.folders.listing import TEST, TRAIN, VALIDATION
from mlpconv.errors import RunError
from mlpconv.files import write_atomic
from mlpconv.runs.run import Run

SPLIT, SKIPPED = "split.csv", "skipped.csv"


def save_data_files(run: Path, loaded: Loaded) -> None:
    """Write split.csv, which can itself be used as a data set, and skipped.csv if files were skipped.

    Raises:
        OSError: A file cannot be written.
    """
    folder = loaded.folder
    names = (TRAIN, VALIDATION, TEST)
    _write(
        run / SPLIT,
        ("path", "label", "split"),
        (
            (
                os.path.join(folder.root, folder.files[row]),
                folder.class_names[folder.labels[row]],
                names[folder.splits[row]],
            )
            for row in loaded.rows.tolist()
        ),
    )
    if loaded.problems:
        _write(run / SKIPPED, ("path", "reason"), loaded.problems)


def _write(path: Path, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_skipped(run: Run) -> list[tuple[str, str]]:
    """The path and reason of each file that the run skipped. Raises RunError if the list is damaged."""
    path = run.path / SKIPPED
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error) as error:
        raise RunError(f"{path}: damaged: {error}; remove it to continue without it") from None
