"""Understand a folder's layout: which folders are splits and which are classes; refuse what could be either."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from mlpconv.data.folders.names import TRAIN, class_name, is_filler, is_leftover, split_of
from mlpconv.errors import DataError
from mlpconv.formatting import first_names, printable

_RENAME = (
    "name the folders train, val and test, or list the images in a CSV file with the columns path, label and split"
)


@dataclass
class Layout:
    """How a folder is organized.

    Attributes:
        description: In words, such as "train/CLASS · test/CLASS".
        splits: The split of each folder that contains the folders of classes; empty if the folder itself contains them.
        skipped: Folders that are not used, and why.
        notes: What was decided, where that is not obvious, one sentence each.
    """

    description: str = "CLASS"
    splits: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Contents(NamedTuple):
    folders: dict[str, str]
    """The path of each folder by its name."""
    files: bool
    """Whether there are files, too."""


def _look(path: str) -> _Contents:
    folders, files = {}, False
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if is_leftover(entry.name):
                    continue
                if Path(entry.path).is_dir():
                    folders[entry.name] = entry.path
                else:
                    files = True
    except OSError:  # reported when its files are listed
        pass
    return _Contents(dict(sorted(folders.items())), files)


def find_layout(path: Path, folders: Mapping[str, str], known_classes: Collection[str] = ()) -> Layout:
    """Which of the folders in ``path`` are splits and which are classes.

    Args:
        path: The folder, for messages.
        folders: The path of each folder in it by its name.
        known_classes: The classes, if they are known. Folders with these names are classes.

    Raises:
        DataError: The folders look like splits, but not all of them are understood, or the folder contains one folder
            that contains the classes.
    """
    if folders and {class_name(name) for name in folders} <= set(known_classes):
        return Layout()
    contents = {name: _look(folder) for name, folder in folders.items()}
    splits = {name: split for name in folders if (split := split_of(name)) is not None}
    with_classes = [name for name in splits if contents[name].folders]
    finder = _Finder(path, folders, contents, splits, with_classes)
    if any(splits[name] == TRAIN for name in with_classes):
        return finder.splits_layout()
    finder.refuse_unclear_splits()
    if not known_classes:
        finder.refuse_folder_around_folder()
    layout = Layout()
    for name in splits:
        layout.notes.append(
            f"{printable(name)} is taken as a class, because its images are not in folders of classes; if it is a "
            f"split: {_RENAME}"
        )
    return layout


@dataclass
class _Finder:
    path: Path
    folders: Mapping[str, str]
    contents: dict[str, _Contents]
    splits: dict[str, str]
    with_classes: list[str]

    def refuse(self, text: str) -> NoReturn:
        raise DataError(f"{printable(self.path)}: {text}")

    def splits_layout(self) -> Layout:
        """The layout train/CLASS with other splits."""
        layout = Layout("")
        inner = {name: _descend(self.folders[name], self.splits[name]) for name in self.with_classes}
        classes = {
            label for name in self.with_classes if self.splits[name] == TRAIN for label in _look(inner[name]).folders
        }
        for name in self.folders:
            if name in self.with_classes:
                continue
            shared = classes & self.contents[name].folders.keys()
            if name in self.splits:
                if self.contents[name].files:
                    layout.skipped[name + "/"] = (
                        "its images are not in folders of classes, so nothing can be measured on them; mlpconv predict "
                        "classifies them"
                    )
            elif shared:
                self.refuse(
                    f"{printable(name)} contains folders of the same classes as the training images "
                    f"({_listed(shared)}), but its name is not that of a split; rename it to val or test, or "
                    "move it away"
                )
            else:
                layout.skipped[name + "/"] = "not inside the folder of a class"
        layout.splits = {inner[name]: self.splits[name] for name in self.with_classes}
        relative = [os.path.relpath(folder, Path(self.folders[name]).parent) for name, folder in inner.items()]
        layout.description = " · ".join(f"{printable(name)}/CLASS" for name in relative)
        for name in self.with_classes:
            others = [other for other in self.with_classes if self.splits[other] == self.splits[name]]
            if len(others) > 1 and others[0] == name:
                layout.notes.append(f"{_listed(others)} are used together, as the {self.splits[name]} split")
        return layout

    def refuse_unclear_splits(self) -> None:
        """Refuse a folder without a training split, if its folders look like splits."""
        others = [name for name in self.folders if name not in self.splits]
        if self.splits and not others and (len(self.splits) > 1 or self.with_classes):
            if not self.with_classes:
                self.refuse(
                    f"{_listed(self.splits)} look like splits, but their images are not in folders of classes; "
                    f"expected {next(iter(self.splits))}/CLASS/image.jpg, or a CSV file with the columns path, label "
                    "and split"
                )
            first = printable(self.path / self.with_classes[0])
            missing = f"{_listed(self.splits)} look like splits" if len(self.splits) > 1 else "it contains a split only"
            self.refuse(
                f"{missing}, and there is no training split with folders of classes; rename the folder of the training "
                f"images to train, or give one folder of classes alone: {first}"
            )
        inside = {name: set(self.contents[name].folders) for name in self.folders}
        for name in self.with_classes:
            if any(inside[name] & (inside[other] | {other}) for other in others):
                self.refuse(
                    f"{printable(name)} looks like a split that contains classes, next to {_listed(others)}, which "
                    f"look like classes or like a split in words that are not known; {_RENAME}"
                )
        self._refuse_equal_folders(inside)

    def _refuse_equal_folders(self, inside: dict[str, set[str]]) -> None:
        """Refuse folders that all contain folders of the same names: they may be splits."""
        most = max(inside.values(), key=len, default=set())
        if (
            len(inside) < 2
            or len(most) < 2
            or any(self.contents[name].files for name in inside)
            or any(len(names) < 2 or not names <= most for names in inside.values())
        ):
            return
        if all(split_of(name) for name in most):
            self.refuse(
                f"the classes contain the splits ({_listed(most)}); expected the splits to contain the classes: "
                "train/CLASS/image.jpg, or a CSV file with the columns path, label and split"
            )
        self.refuse(
            f"{_listed(inside)} contain folders of the same names ({_listed(most)}), so they may be splits or classes; "
            f"if they are splits, {_RENAME}; if they are classes, list the images in such a file"
        )

    def refuse_folder_around_folder(self) -> None:
        """Refuse a folder with a single folder in it that contains the classes, and name that one."""
        if len(self.folders) != 1:
            return
        ((name, current),) = self.folders.items()
        place, contents = self.path / name, self.contents[name]
        while not contents.files and len(contents.folders) == 1:
            ((name, current),) = contents.folders.items()
            place, contents = place / name, _look(current)
            if split_of(name) == TRAIN and contents.folders:  # train/CLASS without other splits
                place, contents = place.parent, _Contents({"": "", name: current}, False)
                break
        if len(contents.folders) > 1:
            self.refuse(
                f"it contains the single folder {printable(next(iter(self.folders)))}, and {printable(place)} contains "
                f"several; if those are the classes or splits, give that folder: {printable(place)}"
            )


def _descend(folder: str, split: str) -> str:
    """The folder that contains the classes of a split: train/train/CLASS and train/images/CLASS are understood."""
    contents = _look(folder)
    while not contents.files and len(contents.folders) == 1:
        ((name, inner),) = contents.folders.items()
        below = _look(inner)
        if not below.folders or not (split_of(name) == split or is_filler(name)):
            break
        folder, contents = inner, below
    return folder


def _listed(names: Collection[str]) -> str:
    return first_names([printable(name) for name in sorted(names)])
