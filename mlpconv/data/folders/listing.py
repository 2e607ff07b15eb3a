"""What is in a folder of images: files, their classes and splits, and what cannot be used."""

import csv
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlpconv.data.image import read_header
from mlpconv.errors import DataError
from mlpconv.formatting import printable

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_PATHS, _LABELS, _PARTS = (
    ("path", "file", "filename", "image"),
    ("label", "class", "category"),
    ("split", "set", "part"),
)


class Problem(NamedTuple):
    """Something in a folder that is not used. path: relative to the folder, as it can be printed."""

    path: str
    reason: str


@dataclass
class Listing:
    """The files of a folder or list. path: the folder, or the CSV file. root: what ``files`` are relative to. files,
    classes, splits: of each file, in step; a split is "" where the layout says none. problems: what is passed over."""

    path: Path
    root: Path
    layout: str = ""
    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def list_folder(path: str | os.PathLike[str], *, follow_links: bool = False) -> Listing:
    """List ``train/CLASS/…`` beside ``val/`` or ``test/``, a folder of ``CLASS/…``, or a CSV file of path and label.

    Files lie at any depth below their class's folder; what begins with a dot is not looked at. A class's name is its
    folder's in NFC. Links are followed inside the folder, and out of it only with ``follow_links``.

    Raises DataError where there is no such folder, or not one class in it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        _refuse_other_files(path)
        return _from_csv(path)
    if not path.is_dir():
        raise DataError(f"{printable(path)}: there is no such folder of images, and no such CSV file")
    root = path.resolve()
    listing = Listing(path, root)
    walk = _Walk(root, listing, follow_links)
    try:
        top = walk.entries(root)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror}; check its rights") from None
    folders = [entry for entry in top if walk.is_folder(entry)]
    names = {entry.name for entry in folders}
    loose = [entry.name for entry in top if entry.name not in names]
    parts = {entry.name: _SPLITS[entry.name.lower()] for entry in folders if entry.name.lower() in _SPLITS}
    if TRAIN in parts.values():
        listing.layout = " · ".join(f"{printable(name)}/CLASS" for name in parts)
        loose += [entry.name + "/" for entry in folders if entry.name not in parts]
        for entry in folders:
            if entry.name in parts:
                _classes(walk, entry.path, parts[entry.name])
    else:
        listing.layout = "CLASS"
        _classes(walk, str(root), "", folders)
    listing.problems += [
        Problem(printable(name), "lies beside the classes' folders, in none of them") for name in loose
    ]
    if not listing.files:
        raise DataError(
            f"{printable(path)}: holds no images in folders of classes; expected {printable(path)}/CLASS/image.jpg or "
            f"{printable(path)}/train/CLASS/image.jpg, or a CSV file with the columns path and label{_reasons(listing)}"
        )
    return listing


def _reasons(listing: Listing) -> str:
    lines = [f"\n  {problem.path}: {problem.reason}" for problem in listing.problems[:5]]
    return "".join(["; passed over:", *lines]) if lines else ""


def class_name(folder: str) -> str:
    """A class's name from its folder's: what cannot be printed escaped, accents composed."""
    return unicodedata.normalize("NFC", printable(folder))


class _Walk:
    """Goes through folders, each one once, and tells the listing what it passes over."""

    def __init__(self, root: Path, listing: Listing, follow_links: bool) -> None:
        self.root, self.listing, self.follow_links = root, listing, follow_links
        self.seen = {self._identity(os.stat(root)): "the folder itself"}

    @staticmethod
    def _identity(info: os.stat_result) -> tuple[int, int]:
        return info.st_dev, info.st_ino

    def relative(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def problem(self, path: str, reason: str) -> None:
        self.listing.problems.append(Problem(printable(self.relative(path)), reason))

    def entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """What is in a folder, by name, without links that must not be followed."""
        with os.scandir(folder) as found:
            visible = sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
        return [entry for entry in visible if not entry.is_symlink() or self._may_follow(entry)]

    def _may_follow(self, entry: os.DirEntry[str]) -> bool:
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            loop = isinstance(error, RuntimeError) or error.errno == 40
            self.problem(entry.path, "a link in a circle" if loop else "a link to nothing")
            return False
        if self.follow_links or target.is_relative_to(self.root):
            return True
        self.problem(entry.path, f"a link out of the folder, to {printable(target)}; --follow-links takes such")
        return False

    def is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:
            return False

    def files(self, folder: str) -> Iterator[str]:
        """Every file below a folder, relative to the root."""
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            try:
                info = os.stat(place)
                if (first := self.seen.get(self._identity(info))) is not None:
                    self.problem(place, f"a link to a folder that is read already: {first}")
                    continue
                self.seen[self._identity(info)] = printable(self.relative(place))
                inside = self.entries(place)
            except OSError as error:
                self.problem(place, f"cannot be read: {error.strerror}")
                continue
            below = []
            for entry in inside:
                if self.is_folder(entry):
                    below.append(entry.path)
                else:
                    yield self.relative(entry.path)
            waiting += reversed(below)


def _classes(walk: _Walk, folder: str, split: str, folders: list[os.DirEntry[str]] | None = None) -> None:
    listing = walk.listing
    if folders is None:
        try:
            inside = walk.entries(folder)
        except OSError as error:
            walk.problem(folder, f"cannot be read: {error.strerror}")
            return
        folders = [entry for entry in inside if walk.is_folder(entry)]
        names = {entry.name for entry in folders}
        for entry in inside:
            if entry.name not in names:
                walk.problem(entry.path, "lies beside the classes' folders, in none of them")
    for entry in folders:
        name, before = class_name(entry.name), len(listing.files)
        for file in walk.files(entry.path):
            listing.files.append(file)
            listing.classes.append(name)
            listing.splits.append(split)
        if len(listing.files) == before:
            listing.empty.append(f"{printable(walk.relative(entry.path))}")


def _refuse_other_files(path: Path) -> None:
    """Raise DataError for what is sometimes given in place of a CSV list."""
    try:
        packed = zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
        with path.open("rb") as file:
            picture = _is_image(file)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror or error}; check its rights") from None
    if packed:
        raise DataError(f"{printable(path)}: an archive; unpack it, and give the folder")
    if picture:
        raise DataError(f"{printable(path)}: an image; give the folder that holds the classes' folders")


def _is_image(file: BinaryIO) -> bool:
    try:
        read_header(file, "")
    except DataError:
        return False
    return True


def _from_csv(path: Path) -> Listing:
    listing = Listing(path, path.resolve().parent, "CSV")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            columns = [next((names[n] for n in known if n in names), None) for known in (_PATHS, _LABELS, _PARTS)]
            if columns[0] is None or columns[1] is None:
                raise DataError(
                    f"{printable(path)}: expected a CSV file whose first line names the columns path and label (and "
                    f"split), found {printable(', '.join(map(str, rows.fieldnames or ['nothing'])))}"
                )
            for row in rows:
                _add(listing, rows.line_num, *(row.get(column) if column else "" for column in columns))
    except (OSError, csv.Error) as error:
        raise DataError(f"{printable(path)}: cannot be read as CSV: {error}") from None
    if not listing.files:
        raise DataError(f"{printable(path)}: lists no images; give each a line of path and label")
    return listing


def _add(listing: Listing, line: int, file: str | None, label: str | None, part: str | None) -> None:
    where = f"{printable(listing.path)}, line {line}"
    if not file or not label or not label.strip():
        raise DataError(f"{where}: the {'label' if file else 'path'} is missing; each line needs both")
    split = (part or "").strip().lower()
    if split and split not in _SPLITS:
        raise DataError(f"{where}: the split {printable(split)!r} is none of train, validation and test")
    listing.files.append(file)
    listing.classes.append(class_name(label.strip()))
    listing.splits.append(_SPLITS.get(split, ""))
