"""What is found in a folder or list: files with classes and splits, and what cannot be used."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


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
        digests: The SHA-256 that each file had when the list was written, b"" if not known. Empty for a folder.
        empty: The folders of classes without any files.
        problems: What is skipped, and why.
        notes: How the layout was understood, where that is not obvious, one sentence each.
    """

    path: Path
    root: Path
    layout: str = ""
    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
