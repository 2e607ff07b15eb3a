"""What a folder of images holds, before one trains on it: counts, sizes, modes, and what is wrong with it."""

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.data.folders.folder import Loaded
from mlpconv.data.folders.listing import TEST, TRAIN, VALIDATION
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release
from mlpconv.formatting import printable

FORMAT = 1
IMBALANCE = 3.0
"""From here on the largest class is so many times the smallest that one should know."""
FEW = 20
"""Fewer training images of a class than this teach little."""
_SPLITS = (TRAIN, VALIDATION, TEST)


class Twins(NamedTuple):
    """The same picture several times. files: their paths; splits, labels: of each."""

    files: list[str]
    splits: list[str]
    labels: list[str]

    @property
    def leaks(self) -> bool:
        """Whether training has seen what it is measured on."""
        return TRAIN in self.splits and len(set(self.splits)) > 1

    @property
    def contradicts(self) -> bool:
        return len(set(self.labels)) > 1


def find_twins(loaded: Loaded) -> list[Twins]:
    """Images that are equal in every pixel at the size of training, whatever their files are, in the folder's order."""
    folder, parts = loaded.folder, [part for part in _in_order(loaded) if part is not None]
    seen: dict[bytes, list[int]] = {}
    place = 0
    for part in parts:
        row = int(np.prod(part.images.shape[1:]))
        step = max(1, MAX_BYTES_BEFORE_RELEASE // row)
        for index in range(len(part)):
            digest = hashlib.blake2b(part.images[index].data, digest_size=16).digest()
            seen.setdefault(digest, []).append(place)
            place += 1
            if index % step == step - 1:
                release(part.images)
        release(part.images)
    groups = [rows for rows in seen.values() if len(rows) > 1]
    return [
        Twins(
            [printable(folder.files[row]) for row in rows],
            [_SPLITS[folder.splits[row]] for row in rows],
            [folder.class_names[folder.labels[row]] for row in rows],
        )
        for rows in (loaded.rows[group].tolist() for group in groups)
    ]


def _in_order(loaded: Loaded):
    return loaded.splits.train, loaded.validation, loaded.splits.test


def check(loaded: Loaded, preprocess: Preprocess, chosen: str) -> dict[str, Any]:
    """The report as docs/json/data-check.schema.json describes it. chosen: the network that fits, in words."""
    folder, twins = loaded.folder, find_twins(loaded)
    counts = [
        np.bincount(part.labels, minlength=len(folder.class_names)).tolist() if part is not None else None
        for part in _in_order(loaded)
    ]
    classes = [
        {"name": name, **{split: 0 if of is None else of[label] for split, of in zip(_SPLITS, counts, strict=True)}}
        for label, name in enumerate(folder.class_names)
    ]
    sizes, modes = folder.sizes[loaded.rows], folder.modes[loaded.rows]
    common = Counter(map(tuple, sizes.tolist())).most_common(5)
    largest = max(each[TRAIN] for each in classes)
    smallest = min(each[TRAIN] for each in classes)
    report = {
        "format": FORMAT,
        "path": folder.name,
        "layout": folder.layout,
        "images": {split: 0 if of is None else sum(of) for split, of in zip(_SPLITS, counts, strict=True)},
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
        "duplicates": [{"files": each.files, "splits": each.splits, "labels": each.labels} for each in twins],
        "notes": folder.notes,
        "chosen": chosen,
        "cache": {
            "path": str(loaded.place),
            "size": list(preprocess.source_size or ()),
            "bytes": len(loaded.rows) * int(np.prod((*(preprocess.source_size or ()), preprocess.channels))),
        },
    }
    return report | {"warnings": warnings(report, twins)}


def warnings(report: dict[str, Any], twins: list[Twins]) -> list[str]:
    """What one should know before training, a sentence each, the worst first."""
    said = []
    leaks = [each for each in twins if each.leaks]
    if leaks:
        first = leaks[0]
        said.append(
            f"{_pictures(len(leaks))} in training and again in what training is measured on, so accuracy will "
            f"look better than it is; the first: {' = '.join(first.files[:2])}"
        )
    contradictions = [each for each in twins if each.contradicts]
    if contradictions:
        first = contradictions[0]
        said.append(
            f"{_pictures(len(contradictions))} in more than one class; the first: {' = '.join(first.files[:2])}"
        )
    if report["imbalance"] >= IMBALANCE:
        classes = report["classes"]
        most, least = max(classes, key=lambda c: c[TRAIN]), min(classes, key=lambda c: c[TRAIN])
        said.append(
            f"{most['name']} has {report['imbalance']:.1f} times the training images of {least['name']}; balance shows "
            "rare classes more often (--set balance=1 for all equally often)"
        )
    few = [each["name"] for each in report["classes"] if each[TRAIN] < FEW]
    if few:
        said.append(f"fewer than {FEW} training images: {', '.join(few[:10])}{' …' if len(few) > 10 else ''}")
    untested = [each["name"] for each in report["classes"] if not each[TEST]]
    if untested:
        said.append(f"no test image: {', '.join(untested[:10])}{' …' if len(untested) > 10 else ''}")
    if report["skipped"]:
        said.append(f"{len(report['skipped']):,} things were passed over")
    return said


def _pictures(count: int) -> str:
    return f"{count:,} pictures stand" if count > 1 else "1 picture stands"
