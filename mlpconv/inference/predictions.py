"""Predictions for many files: found in folders and by patterns, made in batches, written line by line."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpconv.data.folders.listing import Problem
from mlpconv.data.image import read_image
from mlpconv.errors import DataError
from mlpconv.formatting import printable
from mlpconv.inference.classifier import Classifier, Prediction

BATCH = 256
FORMATS = (".csv", ".jsonl")


class File(NamedTuple):
    """An image to look at. named: whether the user named it; what only lies in a folder may be no image."""

    path: str
    named: bool


def find_files(places: Iterable[str]) -> list[File]:
    """The files that places mean, in their order: a file, a folder with all below it, or a pattern with * ? [ ].

    What begins with a dot is left out. Raises DataError for a place that means nothing.
    """
    found: list[File] = []
    for place in places:
        if os.path.isdir(place):
            inside = [File(path, False) for path in _below(place)]
        elif os.path.lexists(place) or not glob.has_magic(place):
            inside = [File(place, True)]
        else:
            matches = sorted(glob.glob(place, recursive=True))
            paths = (path for match in matches for path in (_below(match) if os.path.isdir(match) else [match]))
            inside = [File(path, False) for path in paths]
        if not inside:
            raise DataError(
                f"{printable(place)}: means no file; give images, folders, or a pattern such as 'photos/*.jpg'"
            )
        found += inside
    return list(dict.fromkeys(found))


def _below(folder: str) -> Iterator[str]:
    # Links to folders are not followed: they may lead in a circle.
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(place, name) for name in sorted(files) if not name.startswith("."))


def predict_files(
    classifier: Classifier,
    files: list[File],
    *,
    top: int = 3,
    invert: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Prediction | Problem]:
    """What the classifier says of each file, in order; a Problem for what lies in a folder and cannot be read.

    Raises DataError for a file that the user named and that cannot be read.
    """
    preprocess = classifier.reading
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        pixels, outcome = [], []
        for file in batch:
            try:
                if not file.named and not os.path.isfile(file.path):
                    raise DataError(f"{printable(file.path)}: not a file: a pipe, socket, device, or a link to nothing")
                pixels.append(read_image(file.path, preprocess))
                outcome.append(None)
            except DataError as error:
                if file.named:
                    raise
                outcome.append(Problem(printable(file.path), str(error).removeprefix(f"{printable(file.path)}: ")))
        said = iter(())
        if pixels:
            said = iter(classifier.predict(np.stack(pixels), top=top, invert=invert))
        for file, problem in zip(batch, outcome, strict=True):
            yield problem or next(said)._replace(file=file.path)
        if progress:
            progress("predicting", min(start + BATCH, len(files)), len(files))


class Lines:
    """Writes predictions as CSV or as JSON lines, by the name's end; whole at the end or not at all.

    CSV has the columns file, label, probability, label_2, probability_2 … and error for what could not be read. Raises
    DataError for another ending or where it cannot be written.
    """

    def __init__(self, path: Path, top: int) -> None:
        if path.suffix not in FORMATS:
            raise DataError(f"--out {printable(path)}: predictions are written as .csv or .jsonl; end the name so")
        self.path, self.top = path, top
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._write = self._csv if path.suffix == ".csv" else self._json

    def __enter__(self) -> "Lines":
        try:
            self._file = self._part.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise DataError(
                f"--out {printable(self.path)}: cannot be written: {error.strerror}; give another place"
            ) from None
        if self.path.suffix == ".csv":
            more = [name for k in range(2, self.top + 1) for name in (f"label_{k}", f"probability_{k}")]
            self._row(["file", "label", "probability", *more, "error"])
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)

    def put(self, one: Prediction | Problem) -> None:
        """One more line."""
        self._write(one)

    def _row(self, cells: list[object]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(cells)

    def _csv(self, one: Prediction | Problem) -> None:
        if isinstance(one, Problem):
            self._row([one.path, *[""] * (2 * self.top), one.reason])
            return
        cells: list[object] = [cell for guess in one.top for cell in (guess.label, f"{guess.probability:.6f}")]
        self._row([one.file, *cells, *[""] * (2 * self.top - len(cells)), ""])

    def _json(self, one: Prediction | Problem) -> None:
        self._file.write(json.dumps(as_json(one), ensure_ascii=False) + "\n")


def as_json(one: Prediction | Problem) -> dict[str, Any]:
    """A line of JSON lines, and an element of --json."""
    if isinstance(one, Problem):
        return {"file": one.path, "error": one.reason}
    return {"file": one.file, "top": [guess._asdict() for guess in one.top], "looks_inverted": one.looks_inverted}
