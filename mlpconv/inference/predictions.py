"""Predictions for many image files: find them, classify them in batches, write one line for each."""

import glob
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from mlpconv.data.folders.names import is_leftover
from mlpconv.data.folders.workers import read_images
from mlpconv.errors import DataError
from mlpconv.files import atomic_file, csv_line, unwritable
from mlpconv.formatting import json_text, printable
from mlpconv.inference.classifier import Classifier, Prediction

SUFFIXES = (".csv", ".jsonl")
_SPECIAL = "not a file: a pipe, socket, device or broken link"


class ImageFile(NamedTuple):
    """A file to classify."""

    path: str
    named: bool
    """Whether the user named the file; a file that was found in a folder may not be an image."""


class Unreadable(NamedTuple):
    """A file that cannot be classified."""

    file: str
    reason: str
    """Why not."""


def find_files(paths: Iterable[str]) -> list[ImageFile]:
    """List the files to classify, without duplicates.

    What systems leave behind, and hidden names, are left out where they are found in a folder or by a pattern (see
    `is_leftover`), as in training. A file or folder that is named is always taken.

    Args:
        paths: Files, folders (for all files below them) or patterns with * ? [ ].

    Raises:
        DataError: A path or pattern matches no file.
    """
    files: list[ImageFile] = []
    for path in paths:
        if os.path.isdir(path):
            matches = [ImageFile(file, False) for file in _below(path)]
        elif os.path.lexists(path) or not glob.has_magic(path):
            matches = [ImageFile(path, True)]
        else:
            globbed = sorted(match for match in glob.glob(path, recursive=True) if not _leads_to_leftover(match, path))
            expanded = (file for match in globbed for file in (_below(match) if os.path.isdir(match) else [match]))
            matches = [ImageFile(file, False) for file in expanded]
        if not matches:
            raise DataError(
                f"{printable(path)}: no files found; give images, folders, or a pattern such as 'photos/*.jpg'"
            )
        files += matches
    named = {file.path for file in files if file.named}
    return [ImageFile(path, path in named) for path in dict.fromkeys(file.path for file in files)]


def _leads_to_leftover(match: str, pattern: str) -> bool:
    """Whether a path that a pattern matches has a part that a system left, and that the pattern does not ask for."""
    asked = [part for part in Path(pattern).parts if part.startswith(".") or not glob.has_magic(part)]
    return any(is_leftover(part) and not any(fnmatchcase(part, each) for each in asked) for part in Path(match).parts)


def _below(folder: str) -> Iterator[str]:
    # Links to folders are not followed, since they may form a cycle.
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        yield from (os.path.join(directory, name) for name in sorted(files) if not is_leftover(name))


def predict_files(
    classifier: Classifier,
    files: list[ImageFile],
    *,
    top: int = 3,
    invert: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Prediction | Unreadable]:
    """Classify files in batches.

    Args:
        classifier: The trained network.
        files: The files.
        top: The number of most probable classes for each file.
        invert: Swap light and dark first.
        progress: Called after each batch with "predicting", the number of files done and the number of all files.

    Yields:
        For each file, in order, its prediction, or why it cannot be read.
    """
    preprocess, size = classifier.file_preprocess, classifier.batch_size
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        special = {file.path for file in batch if not file.named and not os.path.isfile(file.path)}
        readable = [file.path for file in batch if file.path not in special]
        images = dict(zip(readable, read_images(readable, preprocess), strict=True))
        pixels, unreadable = [], []
        for file in batch:
            image = images.get(file.path, _SPECIAL)
            if isinstance(image, np.ndarray):
                pixels.append(image)
                unreadable.append(None)
            else:
                unreadable.append(Unreadable(file.path, str(image).removeprefix(f"{printable(file.path)}: ")))
        predictions = iter(classifier.predict(np.stack(pixels), top=top, invert=invert) if pixels else ())
        for file, problem in zip(batch, unreadable, strict=True):
            yield problem or next(predictions)._replace(file=file.path)
        if progress:
            progress("predicting", min(start + size, len(files)), len(files))


@contextmanager
def open_predictions(path: Path, top: int) -> Iterator["PredictionWriter"]:
    """Open a file of predictions, which appears when the block ends without an exception.

    Args:
        path: The file to write: CSV or JSON lines, by its suffix .csv or .jsonl.
        top: The number of classes for each file.

    Raises:
        DataError: The file has another suffix or cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"--out {printable(path)}: expected a name that ends in .csv or .jsonl")
    if path.is_dir():
        raise DataError(f"--out {printable(path)}: is a directory; expected the name of a file")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(atomic_file(path))
        except OSError as error:
            raise DataError(unwritable(f"--out {printable(path)}", error)) from None
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        yield PredictionWriter(text, top, is_csv=path.suffix == ".csv")
        text.detach()  # flushes; atomic_file closes the file


class PredictionWriter:
    """Writes predictions as CSV or as JSON lines.

    CSV has the columns file, label, probability, label_2, probability_2, …, and error for files that could not be read.

    Args:
        file: The file to write.
        top: The number of classes for each file.
        is_csv: Whether to write CSV.
    """

    def __init__(self, file: TextIO, top: int, *, is_csv: bool) -> None:
        self._file, self.top, self._is_csv = file, top, is_csv
        if is_csv:
            more = [name for k in range(2, top + 1) for name in (f"label_{k}", f"probability_{k}")]
            self._write_row(["file", "label", "probability", *more, "error"])

    def write(self, prediction: Prediction | Unreadable) -> None:
        """Write one line."""
        if not self._is_csv:
            self._file.write(json_text(as_json(prediction)) + "\n")
        elif isinstance(prediction, Unreadable):
            self._write_row([prediction.file, *[""] * (2 * self.top), prediction.reason])
        else:
            cells = [cell for guess in prediction.top for cell in (guess.label, f"{guess.probability:.6f}")]
            self._write_row([prediction.file, *cells, *[""] * (2 * self.top - len(cells)), ""])

    def _write_row(self, cells: list[str]) -> None:
        self._file.write(csv_line(cells))


def as_json(prediction: Prediction | Unreadable) -> dict[str, Any]:
    """A line of JSON lines, and an element of the output of --json."""
    if isinstance(prediction, Unreadable):
        return {"file": prediction.file, "error": prediction.reason}
    return {
        "file": prediction.file,
        "top": [guess._asdict() for guess in prediction.top],
        "looks_inverted": prediction.looks_inverted,
    }
