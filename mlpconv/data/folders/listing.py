"""List the files of a folder or CSV list with their classes and splits, and what cannot be used."""

import os
import tarfile
import zipfile
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from mlpconv.data.folders.layout import find_layout
from mlpconv.data.folders.listed import Listing, Problem
from mlpconv.data.folders.lists import read_list
from mlpconv.data.folders.names import ClassNames, is_leftover
from mlpconv.data.image import read_header
from mlpconv.errors import DataError
from mlpconv.formatting import printable

_MAX_PROBLEMS_IN_ERROR = 5
_OUTSIDE_CLASSES = "not inside the folder of a class"


def list_folder(
    path: str | os.PathLike[str], *, follow_links: bool = False, known_classes: Collection[str] = ()
) -> Listing:
    """List the image files of a folder or CSV list.

    The layouts are ``train/CLASS/…`` with ``val/CLASS/…`` and ``test/CLASS/…`` (both optional), ``CLASS/…``, or a CSV
    file (see `read_list`). Folders of splits may have other names that mean the same (see `split_of`). Files may be at
    any depth below the folder of their class; hidden names, and names that systems leave behind, are ignored. The name
    of a class is that of its folder, in Unicode normalization form C.

    Args:
        path: The folder or CSV file.
        follow_links: Whether to follow symbolic links that point outside the folder; others are always followed.
        known_classes: If the classes are known, a folder with the name of one is a class, whatever else it could be.

    Raises:
        DataError: The folder does not exist, cannot be read, has no classes, has splits that are not understood, or has
            two folders whose names would become one class.
    """
    path = Path(path).expanduser()
    if path.is_file():
        _refuse_other_files(path)
        return read_list(path)
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
    layout = find_layout(path, {entry.name: entry.path for entry in folders}, known_classes)
    listing.layout = layout.description
    listing.notes += layout.notes
    listing.problems += [Problem(printable(name), reason) for name, reason in layout.skipped.items()]
    if layout.splits:
        for folder, split in layout.splits.items():
            _list_classes(walk, folder, split)
    else:
        _list_classes(walk, str(root), "", folders)
    walk.read_links()
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


class _Walk:
    """Visits each folder once, and adds what it skips to the problems of a listing."""

    def __init__(self, root: Path, listing: Listing, follow_links: bool) -> None:
        self.root, self.listing, self.follow_links = root, listing, follow_links
        self.visited = {self._identity(os.stat(root)): "the folder itself"}
        self.class_names = ClassNames("folders", "rename one of them, or put their files into one folder")
        self.links: deque[tuple[str, str, str]] = deque()
        """Links to folders, each with the class and split of its files. They are read last, so that a folder is read
        where it is, and not where a link to it is found first."""

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
            visible = sorted((e for e in content if not is_leftover(e.name)), key=lambda entry: entry.name)
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

    def add_files(self, folder: str, name: str, split: str) -> None:
        """Add every file below a folder to the listing, except for links to folders, which are remembered."""
        for file in self._files(folder, name, split):
            self.listing.files.append(file)
            self.listing.classes.append(name)
            self.listing.splits.append(split)

    def read_links(self) -> None:
        """Add the files of the remembered links to folders."""
        while self.links:
            self.add_files(*self.links.popleft())

    def _files(self, folder: str, name: str, split: str) -> Iterator[str]:
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
                if not self.is_folder(entry):
                    yield self.relative(entry.path)
                elif entry.is_symlink():
                    self.links.append((entry.path, name, split))
                else:
                    subfolders.append(entry.path)
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
        shown, before = walk.relative(entry.path), len(listing.files)
        name = walk.class_names.name(entry.name, folder, printable(listing.path), shown)
        if entry.is_symlink():
            walk.links.append((entry.path, name, split))
            continue
        links = len(walk.links)
        walk.add_files(entry.path, name, split)
        if len(listing.files) == before and len(walk.links) == links:
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
