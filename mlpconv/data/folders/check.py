"""Report on a folder of images before training: counts, sizes, modes, duplicates and warnings."""

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.folders.folder import Loaded
from mlpconv.data.folders.listing import TEST, TRAIN, VALIDATION
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release
from mlpconv.formatting import printable

FORMAT = 1
WARN_IMBALANCE = 3.0
"""Warn if the largest class has at least this many times the training images of the smallest."""
WARN_TRAINING_IMAGES = 20
"""Warn about classes with fewer training images."""
_MAX_CLASSES_IN_WARNING = 10
_SPLITS = (TRAIN, VALIDATION, TEST)


class Duplicates(NamedTuple):
    """Images with identical pixels.

    Attributes:
        files: Their paths.
        splits: The split of each.
        labels: The class of each.
    """

    files: list[str]
    splits: list[str]
    labels: list[str]

    @property
    def leaks(self) -> bool:
        """Whether a training image is also used for validation or testing."""
        return TRAIN in self.splits and len(set(self.splits)) > 1

    @property
    def contradicts(self) -> bool:
        """Whether they belong to different classes."""
        return len(set(self.labels)) > 1


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
    return [
        Duplicates(
            [printable(folder.files[row]) for row in rows],
            [_SPLITS[folder.splits[row]] for row in rows],
            [folder.class_names[folder.labels[row]] for row in rows],
        )
        for rows in (loaded.rows[group].tolist() for group in groups)
    ]


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
    counts = [
        np.bincount(part.labels, minlength=len(folder.class_names)).tolist() if part is not None else None
        for part in _datasets(loaded)
    ]
    classes = [
        {"name": name, **{split: count[label] if count else 0 for split, count in zip(_SPLITS, counts, strict=True)}}
        for label, name in enumerate(folder.class_names)
    ]
    sizes, modes = folder.sizes[loaded.rows], folder.modes[loaded.rows]
    common = Counter(map(tuple, sizes.tolist())).most_common(5)
    largest = max(row[TRAIN] for row in classes)
    smallest = min(row[TRAIN] for row in classes)
    report = {
        "format": FORMAT,
        "path": folder.name,
        "layout": folder.layout,
        "images": {split: sum(count) if count else 0 for split, count in zip(_SPLITS, counts, strict=True)},
        "classes": classes,
        "imbalance": largest / smallest,
        "sizes": {
            "smallest": sizes[np.argmin(sizes.prod(1))].tolist(),
            "largest": sizes[np.argmax(sizes.prod(1))].tolist(),
            "typical_side": folder.typical_side,
            "common": [[*size, count] for size, count in common],
        },
        "modes": dict(Counter(modes.tolist()).most_common()),
        "skipped": [problem._asdict() for problem in loaded.problems],
        "duplicates": [group._asdict() for group in duplicates],
        "notes": folder.notes,
        "chosen": chosen,
        "cache": {
            "path": str(loaded.place),
            "size": list(preprocess.source_size or ()),
            "bytes": len(loaded.rows) * int(np.prod((*(preprocess.source_size or ()), preprocess.channels))),
        },
    }
    return report | {"warnings": _warnings(report, duplicates)}


def _warnings(report: dict[str, Any], duplicates: list[Duplicates]) -> list[str]:
    """What to know before training, one sentence each, the most important first."""
    messages = []
    leaks = [group for group in duplicates if group.leaks]
    if leaks:
        messages.append(
            f"{_count_pictures(leaks)} both in training and in validation or testing, so the measured accuracy will be "
            f"too high; the first: {' = '.join(leaks[0].files[:2])}"
        )
    contradictions = [group for group in duplicates if group.contradicts]
    if contradictions:
        messages.append(
            f"{_count_pictures(contradictions)} in more than one class; the first: "
            f"{' = '.join(contradictions[0].files[:2])}"
        )
    classes = report["classes"]
    if report["imbalance"] >= WARN_IMBALANCE:
        largest, smallest = max(classes, key=lambda row: row[TRAIN]), min(classes, key=lambda row: row[TRAIN])
        messages.append(
            f"{largest['name']} has {report['imbalance']:.1f} times the training images of {smallest['name']}; "
            "training shows rare classes more often (--set balance=1 for all classes equally often)"
        )
    small = [row["name"] for row in classes if row[TRAIN] < WARN_TRAINING_IMAGES]
    if small:
        messages.append(f"fewer than {WARN_TRAINING_IMAGES} training images: {_shortened(small)}")
    untested = [row["name"] for row in classes if not row[TEST]]
    if untested:
        messages.append(f"no test images: {_shortened(untested)}")
    if report["skipped"]:
        messages.append(f"{len(report['skipped']):,} files or folders were skipped")
    return messages


def _count_pictures(duplicates: list[Duplicates]) -> str:
    return f"{len(duplicates):,} pictures are" if len(duplicates) > 1 else "1 picture is"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:_MAX_CLASSES_IN_WARNING]) + (" …" if len(names) > _MAX_CLASSES_IN_WARNING else "")
