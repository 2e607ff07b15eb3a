"""Report on a folder of images before training: counts, sizes, modes, duplicates and warnings."""

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.folders.conflicts import find_conflicts, in_words
from mlpconv.data.folders.copies import groups_of_copies, identical_groups, leaks
from mlpconv.data.folders.folder import Folder, Loaded
from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION
from mlpconv.data.folders.remedies import by_kind, kind_of
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release
from mlpconv.formatting import first_names, format_number, printable

FORMAT = 1
WARN_IMBALANCE = 3.0
"""Warn if the largest class has at least this many times the training images of the smallest."""
WARN_TRAINING_IMAGES = 20
"""Warn about classes with fewer training images."""
_MAX_CLASSES_IN_WARNING = 10
_SPLITS = (TRAIN, VALIDATION, TEST)


class Duplicates(NamedTuple):
    """Images that are copies of each other.

    Attributes:
        files: Their paths.
        splits: The split of each.
        labels: The class of each.
    """

    files: list[str]
    splits: list[str]
    labels: list[str]


def find_duplicates(loaded: Loaded) -> list[Duplicates]:
    """Groups of images with identical pixels at the size of training, even if their files differ, in folder order."""
    folder = loaded.folder
    positions: dict[bytes, list[int]] = {}
    position = 0
    for part in _datasets(loaded):
        if part is None:
            continue
        step = max(1, MAX_BYTES_BEFORE_RELEASE // int(np.prod(part.images.shape[1:])))
        for index in range(len(part)):
            digest = hashlib.blake2b(part.images[index].data, digest_size=16).digest()
            positions.setdefault(digest, []).append(position)
            position += 1
            if index % step == step - 1:
                release(part.images)
        release(part.images)
    groups = [group for group in positions.values() if len(group) > 1]
    return [_duplicates(folder, loaded.rows[group].tolist()) for group in groups]


def find_near_copies(loaded: Loaded) -> list[Duplicates]:
    """Groups of images that are nearly equal, though not all the same file, in folder order: see
    `copies.groups_of_copies`, by which copies are kept on one side of a split."""
    folder = loaded.folder
    groups = groups_of_copies(folder.pictures, folder.labels, folder.near_pairs)[loaded.rows]
    contents = identical_groups(folder.pictures)[loaded.rows]
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    found = [each for each in members if len(each) > 1 and len(np.unique(contents[each])) > 1]
    return [_duplicates(folder, loaded.rows[each].tolist()) for each in sorted(found, key=lambda each: each[0])]


def _duplicates(folder: Folder, rows: list[int]) -> Duplicates:
    return Duplicates(
        [printable(folder.files[row]) for row in rows],
        [_SPLITS[folder.splits[row]] for row in rows],
        [folder.class_names[folder.labels[row]] for row in rows],
    )


def _datasets(loaded: Loaded) -> tuple[ImageDataset, ImageDataset | None, ImageDataset]:
    """The data sets in the order of `_SPLITS`."""
    return loaded.splits.train, loaded.validation, loaded.splits.test


def check(loaded: Loaded, preprocess: Preprocess, chosen: str) -> dict[str, Any]:
    """Check the images of a folder.

    Args:
        loaded: The images.
        preprocess: How they were decoded.
        chosen: The network that suits them, for the report.

    Returns:
        The report, in the format of docs/json/data-check.schema.json.
    """
    folder, duplicates = loaded.folder, find_duplicates(loaded)
    classes = _classes(loaded)
    sizes, modes = folder.sizes[loaded.rows], folder.modes[loaded.rows]
    common = Counter(map(tuple, sizes.tolist())).most_common(5)
    messages = warnings(loaded)
    if count := len(loaded.problems):
        messages.append(f"{format_number(count, 'file or folder was', 'files or folders were')} skipped")
    return {
        "format": FORMAT,
        "path": folder.name,
        "layout": folder.layout,
        "images": {split: sum(row[split] for row in classes) for split in _SPLITS},
        "classes": classes,
        "imbalance": max(row[TRAIN] for row in classes) / min(row[TRAIN] for row in classes),
        "sizes": {
            "smallest": sizes[np.argmin(sizes.prod(1))].tolist(),
            "largest": sizes[np.argmax(sizes.prod(1))].tolist(),
            "typical_side": folder.typical_side,
            "common": [[*size, count] for size, count in common],
        },
        "modes": dict(Counter(modes.tolist()).most_common()),
        "skipped": [{**problem._asdict(), "kind": kind_of(problem).name} for problem in loaded.problems],
        "skipped_kinds": [
            {"kind": kind.name, "count": len(kind.problems), "remedy": kind.remedy} for kind in by_kind(loaded.problems)
        ],
        "duplicates": [group._asdict() for group in duplicates],
        "near_copies": [group._asdict() for group in find_near_copies(loaded)],
        "conflicts": [conflict._asdict() for conflict in find_conflicts(folder)],
        "notes": folder.notes,
        "chosen": chosen,
        "cache": {
            "path": str(loaded.place),
            "size": list(preprocess.source_size or ()),
            "bytes": len(loaded.rows) * int(np.prod((*(preprocess.source_size or ()), preprocess.channels))),
        },
        "warnings": messages,
    }


def _classes(loaded: Loaded) -> list[dict[str, Any]]:
    """The name of each class and the number of its images in each split."""
    names = loaded.folder.class_names
    counts = [
        np.bincount(part.labels, minlength=len(names)).tolist() if part is not None else [0] * len(names)
        for part in _datasets(loaded)
    ]
    return [
        {"name": name, **{split: count[label] for split, count in zip(_SPLITS, counts, strict=True)}}
        for label, name in enumerate(names)
    ]


def warnings(loaded: Loaded) -> list[str]:
    """What to know before training, one sentence each, the most important first."""
    messages = _copy_warnings(loaded.folder)
    classes = _classes(loaded)
    largest, smallest = max(classes, key=lambda row: row[TRAIN]), min(classes, key=lambda row: row[TRAIN])
    if (imbalance := largest[TRAIN] / smallest[TRAIN]) >= WARN_IMBALANCE:
        messages.append(
            f"{largest['name']} has {imbalance:.1f} times the training images of {smallest['name']}; "
            "training shows rare classes more often (--set balance=1 for all classes equally often)"
        )
    small = [row["name"] for row in classes if row[TRAIN] < WARN_TRAINING_IMAGES]
    if small:
        messages.append(
            f"fewer than {WARN_TRAINING_IMAGES} training images: {first_names(small, _MAX_CLASSES_IN_WARNING)}"
        )
    untested = [row["name"] for row in classes if not row[TEST]]
    if untested:
        messages.append(f"no test images: {first_names(untested, _MAX_CLASSES_IN_WARNING)}")
    return messages


def _copy_warnings(folder: Folder) -> list[str]:
    """What copies and near copies do to the measured accuracy."""
    messages = []
    found = leaks(folder.splits, folder.pictures, folder.near_pairs)
    if len(found):
        images = format_number(len(found), "picture is", "pictures are")
        messages.append(
            f"{images} both in training and in validation or testing (the same file, or nearly the same picture), so "
            f"the measured accuracy will be too high; keep each on one side; the first: {_pair(folder, found[0])}"
        )
    if found := find_conflicts(folder):
        images = format_number(len(found), "picture is", "pictures are")
        messages.append(
            f"{images} in more than one class; remove each from the wrong one; the first: {in_words(found[0])}"
        )
    return messages


def _pair(folder: Folder, rows: np.ndarray) -> str:
    return " = ".join(printable(folder.files[row]) for row in rows.tolist())
