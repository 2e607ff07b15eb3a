"""List the files of a folder or CSV list with their classes and splits, and what cannot be used."""

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
_SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""The split that a folder or a value in a CSV file means, by its name in lower case."""
_PATH_COLUMNS = ("path", "file", "filename", "image")
_LABEL_COLUMNS = ("label", "class", "category")
_SPLIT_COLUMNS = ("split", "set", "part")
_MAX_PROBLEMS_IN_ERROR = 5
_OUTSIDE_CLASSES = "not inside the folder of a class"


class Problem(NamedTuple):
    """A file or folder that is skipped.

    Attributes:
        path: Relative to the folder, printable.
        reason: Why it is skipped.
    """

    path: str
    reason: str


@dataclass
class Listing:
    """The files of a folder or CSV list.

    Attributes:
        path: The folder, or the CSV file.
        root: The directory that `files` are relative to.
        layout: A description of the layout, such as "train/CLASS · test/CLASS".
        files: The path of each file.
        classes: The class of each file.
        splits: The split of each file, "" if the layout does not specify it.
        empty: The folders of classes without any files.
        problems: What is skipped, and why.
    """

    path: Path
    root: Path
    layout: str = ""
    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def list_folder(path: str | os.PathLike[str], *, follow_links: bool = False) -> Listing:
    """List the image files of a folder or CSV list.

    The layouts are ``train/CLASS/…`` with ``val/CLASS/…`` and ``test/CLASS/…`` (both optional), ``CLASS/…``, or a CSV
    file with the columns path, label and (optional) split. Files may be at any depth below the folder of their class;
    names that start with a dot are ignored. The name of a class is that of its folder, in Unicode normalization form C.

    Args:
        path: The folder or CSV file.
        follow_links: Whether to follow symbolic links that point outside the folder; others are always followed.

    Raises:
        DataError: The folder does not exist, cannot be read, or has no classes.
    """
    path = Path(path).expanduser()
    if path.is_file():
        _refuse_other_files(path)
        return _from_csv(path)
    if not path.is_dir():
        raise DataError(f"{printable(path)}: there is no such folder of images or CSV file; check the path")
    root = path.resolve()
    listing = Listing(path, root)
    walk = _Walk(root, listing, follow_links)
    try:
        top = walk.entries(root)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror}; check its permissions") from None
    folders = [entry for entry in top if walk.is_folder(entry)]
    names = {entry.name for entry in folders}
    outside = [entry.name for entry in top if entry.name not in names]
    splits = {entry.name: _SPLIT_NAMES[entry.name.lower()] for entry in folders if entry.name.lower() in _SPLIT_NAMES}
    if TRAIN in splits.values():
        listing.layout = " · ".join(f"{printable(name)}/CLASS" for name in splits)
        outside += [entry.name + "/" for entry in folders if entry.name not in splits]
        for entry in folders:
            if entry.name in splits:
                _list_classes(walk, entry.path, splits[entry.name])
    else:
        listing.layout = "CLASS"
        _list_classes(walk, str(root), "", folders)
    listing.problems += [Problem(printable(name), _OUTSIDE_CLASSES) for name in outside]
    if not listing.files:
        raise DataError(
            f"{printable(path)}: no images in folders of classes; expected {printable(path)}/CLASS/image.jpg, "
            f"{printable(path)}/train/CLASS/image.jpg, or a CSV file with the columns path and label{_reasons(listing)}"
        )
    return listing


def _reasons(listing: Listing) -> str:
    lines = [f"\n  {problem.path}: {problem.reason}" for problem in listing.problems[:_MAX_PROBLEMS_IN_ERROR]]
    return "".join(["; skipped:", *lines]) if lines else ""


def class_name(folder: str) -> str:
    """The name of a class from that of its folder, with unprintable characters escaped and accents composed."""
    return unicodedata.normalize("NFC", printable(folder))


class _Walk:
    """Visits each folder once, and adds what it skips to the problems of a listing."""

    def __init__(self, root: Path, listing: Listing, follow_links: bool) -> None:
        self.root, self.listing, self.follow_links = root, listing, follow_links
        self.visited = {self._identity(os.stat(root)): "the folder itself"}

    @staticmethod
    def _identity(info: os.stat_result) -> tuple[int, int]:
        return info.st_dev, info.st_ino

    def relative(self, path: str) -> str:
        """A path relative to the root."""
        return os.path.relpath(path, self.root)

    def problem(self, path: str, reason: str) -> None:
        """Add a problem to the listing."""
        self.listing.problems.append(Problem(printable(self.relative(path)), reason))

    def entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """The content of a folder, sorted by name, without links that must not be followed."""
        with os.scandir(folder) as content:
            visible = sorted((e for e in content if not e.name.startswith(".")), key=lambda entry: entry.name)
        return [entry for entry in visible if not entry.is_symlink() or self._may_follow(entry)]

    def _may_follow(self, entry: os.DirEntry[str]) -> bool:
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            loop = isinstance(error, RuntimeError) or error.errno == 40
            self.problem(entry.path, "a circular link" if loop else "a broken link")
            return False
        if self.follow_links or target.is_relative_to(self.root):
            return True
        self.problem(entry.path, f"a link out of the folder, to {printable(target)}; to follow it, use --follow-links")
        return False

    def is_folder(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry is a folder, or a link to one."""
        try:
            return entry.is_dir()
        except OSError:
            return False

    def files(self, folder: str) -> Iterator[str]:
        """Every file below a folder, relative to the root."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                info = os.stat(current)
                if (first := self.visited.get(self._identity(info))) is not None:
                    self.problem(current, f"a link to a folder that was already read: {first}")
                    continue
                self.visited[self._identity(info)] = printable(self.relative(current))
                entries = self.entries(current)
            except OSError as error:
                self.problem(current, f"cannot be read: {error.strerror}")
                continue
            subfolders = []
            for entry in entries:
                if self.is_folder(entry):
                    subfolders.append(entry.path)
                else:
                    yield self.relative(entry.path)
            waiting += reversed(subfolders)


def _list_classes(walk: _Walk, folder: str, split: str, folders: list[os.DirEntry[str]] | None = None) -> None:
    """Add the files of all classes in ``folder``, whose folders may have been listed already."""
    listing = walk.listing
    if folders is None:
        try:
            entries = walk.entries(folder)
        except OSError as error:
            walk.problem(folder, f"cannot be read: {error.strerror}")
            return
        folders = [entry for entry in entries if walk.is_folder(entry)]
        names = {entry.name for entry in folders}
        for entry in entries:
            if entry.name not in names:
                walk.problem(entry.path, _OUTSIDE_CLASSES)
    for entry in folders:
        name, before = class_name(entry.name), len(listing.files)
        for file in walk.files(entry.path):
            listing.files.append(file)
            listing.classes.append(name)
            listing.splits.append(split)
        if len(listing.files) == before:
            listing.empty.append(f"{printable(walk.relative(entry.path))}")


def _refuse_other_files(path: Path) -> None:
    """Raise DataError for other files that users pass instead of a CSV list: archives and images."""
    try:
        packed = zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
        with path.open("rb") as file:
            picture = _is_image(file)
    except OSError as error:
        raise DataError(
            f"{printable(path)}: cannot be read: {error.strerror or error}; check its permissions"
        ) from None
    if packed:
        raise DataError(f"{printable(path)}: an archive; unpack it, and specify the folder")
    if picture:
        raise DataError(f"{printable(path)}: an image; specify the folder that contains the folders of the classes")


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
            columns = [
                next((names[n] for n in known if n in names), None)
                for known in (_PATH_COLUMNS, _LABEL_COLUMNS, _SPLIT_COLUMNS)
            ]
            if columns[0] is None or columns[1] is None:
                raise DataError(
                    f"{printable(path)}: expected a CSV file whose first line has the columns path and label (and "
                    f"split), received {printable(', '.join(map(str, rows.fieldnames or ['nothing'])))}"
                )
            for row in rows:
                _add(listing, rows.line_num, *(row.get(column) if column else "" for column in columns))
    except (OSError, csv.Error) as error:
        raise DataError(f"{printable(path)}: cannot be read as CSV: {error}; save it as CSV in UTF-8") from None
    if not listing.files:
        raise DataError(f"{printable(path)}: lists no images; add a line with path and label for each")
    return listing


def _add(listing: Listing, line: int, file: str | None, label: str | None, split_name: str | None) -> None:
    where = f"{printable(listing.path)}, line {line}"
    if not file or not label or not label.strip():
        raise DataError(f"{where}: the {'label' if file else 'path'} is missing; each line needs both")
    split = (split_name or "").strip().lower()
    if split and split not in _SPLIT_NAMES:
        raise DataError(f"{where}: expected the split train, validation or test, received {printable(split)!r}")
    listing.files.append(file)
    listing.classes.append(class_name(label.strip()))
    listing.splits.append(_SPLIT_NAMES.get(split, ""))
