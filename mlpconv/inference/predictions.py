"""Predictions for many image files: find them, classify them in batches, write one line for each."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from mlpconv.data.folders.listing import Problem
from mlpconv.data.image import read_image
from mlpconv.errors import DataError
from mlpconv.formatting import printable
from mlpconv.inference.classifier import Classifier, Prediction

BATCH_SIZE = 256
SUFFIXES = (".csv", ".jsonl")


class ImageFile(NamedTuple):
    """A file to classify."""

    path: str
    named: bool
    """Whether the user named the file; a file that was found in a folder may not be an image."""


def find_files(paths: Iterable[str]) -> list[ImageFile]:
    """List the files to classify, without duplicates and without names that start with a dot.

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
            globbed = sorted(glob.glob(path, recursive=True))
            expanded = (file for match in globbed for file in (_below(match) if os.path.isdir(match) else [match]))
            matches = [ImageFile(file, False) for file in expanded]
        if not matches:
            raise DataError(
                f"{printable(path)}: no files found; give images, folders, or a pattern such as 'photos/*.jpg'"
            )
        files += matches
    return list(dict.fromkeys(files))


def _below(folder: str) -> Iterator[str]:
    # Links to folders are not followed, since they may form a cycle.
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(directory, name) for name in sorted(files) if not name.startswith("."))


def predict_files(
    classifier: Classifier,
    files: list[ImageFile],
    *,
    top: int = 3,
    invert: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Prediction | Problem]:
    """Classify files in batches.

    Args:
        classifier: The trained network.
        files: The files.
        top: The number of most probable classes for each file.
        invert: Swap light and dark first.
        progress: Called after each batch with "predicting", the number of files done and the number of all files.

    Yields:
        For each file, in order, its prediction, or a Problem if it was found in a folder and cannot be read.

    Raises:
        DataError: A file that the user named cannot be read.
    """
    preprocess = classifier.file_preprocess
    for start in range(0, len(files), BATCH_SIZE):
        batch = files[start : start + BATCH_SIZE]
        pixels, problems = [], []
        for file in batch:
            try:
                if not file.named and not os.path.isfile(file.path):
                    raise DataError(f"{printable(file.path)}: not a file: a pipe, socket, device or broken link")
                pixels.append(read_image(file.path, preprocess))
                problems.append(None)
            except DataError as error:
                if file.named:
                    raise
                problems.append(Problem(printable(file.path), str(error).removeprefix(f"{printable(file.path)}: ")))
        predictions = iter(classifier.predict(np.stack(pixels), top=top, invert=invert) if pixels else ())
        for file, problem in zip(batch, problems, strict=True):
            yield problem or next(predictions)._replace(file=file.path)
        if progress:
            progress("predicting", min(start + BATCH_SIZE, len(files)), len(files))


class PredictionWriter:
    """Writes predictions as CSV or JSON lines, depending on the suffix of the file; a context manager.

    The file appears when the context ends without an exception. A CSV file has the columns file, label, probability,
    label_2, probability_2, …, and error for files that could not be read.

    Args:
        path: The file to write, with the suffix .csv or .jsonl.
        top: The number of classes for each file.

    Raises:
        DataError: The file has another suffix or cannot be written.
    """

    def __init__(self, path: Path, top: int) -> None:
        if path.suffix not in SUFFIXES:
            raise DataError(f"--out {printable(path)}: expected a name that ends in .csv or .jsonl")
        self.path, self.top = path, top
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._is_csv = path.suffix == ".csv"

    def __enter__(self) -> Self:
        try:
            self._file = self._part.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise DataError(
                f"--out {printable(self.path)}: cannot be written: {error.strerror}; choose another path"
            ) from None
        if self._is_csv:
            more = [name for k in range(2, self.top + 1) for name in (f"label_{k}", f"probability_{k}")]
            self._write_row(["file", "label", "probability", *more, "error"])
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if error_type is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, prediction: Prediction | Problem) -> None:
        """Write one line."""
        if not self._is_csv:
            self._file.write(json.dumps(as_json(prediction), ensure_ascii=False) + "\n")
        elif isinstance(prediction, Problem):
            self._write_row([prediction.path, *[""] * (2 * self.top), prediction.reason])
        else:
            cells = [cell for guess in prediction.top for cell in (guess.label, f"{guess.probability:.6f}")]
            self._write_row([prediction.file, *cells, *[""] * (2 * self.top - len(cells)), ""])

    def _write_row(self, cells: list[str]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(cells)


def as_json(prediction: Prediction | Problem) -> dict[str, Any]:
    """A line of JSON lines, and an element of the output of --json."""
    if isinstance(prediction, Problem):
        return {"file": prediction.path, "error": prediction.reason}
    return {
        "file": prediction.file,
        "top": [guess._asdict() for guess in prediction.top],
        "looks_inverted": prediction.looks_inverted,
    }
