"""Which image file a run used for what, and which files it skipped: split.csv and skipped.csv."""

import csv
import io
import os
from pathlib import Path

from mlpconv.data.folders.folder import Loaded
from mlpconv.data.folders.listing import TEST, TRAIN, VALIDATION
from mlpconv.errors import RunError
from mlpconv.files import write_atomic
from mlpconv.runs.run import Run

SPLIT, SKIPPED = "split.csv", "skipped.csv"


def save_data_files(run: Path, loaded: Loaded) -> None:
    """Write into a run which file was used for what (``split.csv``, which is a data set itself), and what was passed
    over (``skipped.csv``). Raises OSError."""
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


def _write(path: Path, titles, rows) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_skipped(run: Run) -> list[tuple[str, str]]:
    """What was passed over in a run's folder: path and reason. Raises RunError for a damaged list."""
    path = run.path / SKIPPED
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error) as error:
        raise RunError(f"{path}: damaged: {error}; remove it to do without") from None
