"""A cleaned list of a folder: its usable images, with one of each group of copies."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpconv.data.folders.copies import Indices, groups_of_copies
from mlpconv.data.folders.folder import Folder, Loaded
from mlpconv.data.folders.lists import DIGEST_COLUMN
from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION
from mlpconv.files import csv_line

_SPLITS = (TRAIN, VALIDATION, TEST)


class CleanedList(NamedTuple):
    """A list that `--data` accepts."""

    content: bytes
    """CSV with the columns path, label, split (if the layout of the folder has splits) and sha256."""
    images: int
    """The number of images in it."""
    copies: int
    """The number of copies and near copies that are left out."""


def cleaned_list(loaded: Loaded, directory: Path) -> CleanedList:
    """The images of a folder that can be decoded, with one of each group of copies and near copies.

    Of copies, one in the test set is kept, else one in the validation set; among these, one of the class that most of
    the copies are in; among these, the one with the most pixels, else the first.

    Args:
        loaded: The images.
        directory: The directory that the list will be in; paths are relative to it if the folder is inside, else
            absolute.
    """
    folder = loaded.folder
    kept = one_of_each_group(folder, loaded.rows)
    root = folder.root.resolve()
    prefix = os.path.relpath(root, directory.resolve()) if root.is_relative_to(directory.resolve()) else str(root)
    titles = ["path", "label", *([] if folder.drawn else ["split"]), DIGEST_COLUMN]
    lines = [csv_line(titles)]
    for row in kept.tolist():
        path = str(Path(prefix, folder.files[row]))
        split = [] if folder.drawn else [_SPLITS[folder.splits[row]]]
        lines.append(
            csv_line([path, folder.class_names[folder.labels[row]], *split, folder.digests[row].tobytes().hex()])
        )
    content = "".join(lines).encode("utf-8", "surrogateescape")
    return CleanedList(content, len(kept), len(loaded.rows) - len(kept))


def one_of_each_group(folder: Folder, rows: Indices) -> Indices:
    """Of some images of a folder, those that `cleaned_list` keeps, in the order of the folder."""
    groups = groups_of_copies(folder.pictures, folder.labels, folder.near_pairs)[rows]
    labels, pixels = folder.labels[rows], folder.sizes[rows].astype(np.int64).prod(1)
    # How many copies of an image are in its class.
    pairs = groups * len(folder.class_names) + labels
    _, of_pair, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    splits = np.zeros_like(labels) if folder.drawn else folder.splits[rows].astype(np.int64)
    order = np.lexsort((rows, -pixels, -counts[of_pair], -splits, groups))
    first = np.ones(len(rows), bool)
    first[1:] = groups[order][1:] != groups[order][:-1]
    return np.sort(rows[order[first]])
