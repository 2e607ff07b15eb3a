"""Copies of a picture that are in different classes of a folder: at least one of the labels is wrong."""

from typing import NamedTuple

from mlpconv.data.folders.copies import conflicts
from mlpconv.data.folders.folder import Folder
from mlpconv.formatting import printable


class Conflict(NamedTuple):
    """Two files that are copies of one picture and are in different classes. Paths are relative to the folder."""

    path: str
    label: str
    copy: str
    copy_label: str
    kind: str
    """"equal", or "near" for pictures that are nearly equal: saved again in another format, size or quality."""


def in_words(conflict: Conflict) -> str:
    """Both files with their classes: "a/1.jpg (a) = b/2.jpg (b)", with ≈ for near copies."""
    sign = "=" if conflict.kind == "equal" else "≈"
    return f"{conflict.path} ({conflict.label}) {sign} {conflict.copy} ({conflict.copy_label})"


def find_conflicts(folder: Folder) -> list[Conflict]:
    """The copies in different classes, in the order of the folder."""
    files, names, labels = folder.files, folder.class_names, folder.labels
    found = conflicts(folder.pictures, labels, folder.near_pairs)
    return [
        Conflict(
            printable(files[one]),
            names[labels[one]],
            printable(files[other]),
            names[labels[other]],
            "equal" if equal else "near",
        )
        for (one, other), equal in zip(found.pairs.tolist(), found.equal.tolist(), strict=True)
    ]
