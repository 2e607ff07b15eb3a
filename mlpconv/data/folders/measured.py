"""Labeled images for a network whose classes are known: a folder to measure, or the recorded split of a run."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.folders.cache import decode_files
from mlpconv.data.folders.listed import Listing, Problem
from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.scan import Progress
from mlpconv.data.folders.scan_listing import file_problems, scan_listing
from mlpconv.errors import DataError
from mlpconv.formatting import format_number, printable

_MAX_LISTED = 5


@dataclass(eq=False)
class Measured:
    """Images to measure a network on.

    Attributes:
        dataset: The images.
        problems: What is missing or cannot be used, and why.
        digests: The SHA-256 of the file of each image.
        root: The directory that ``files`` are relative to.
        files: The file of each image.
    """

    dataset: ImageDataset
    problems: list[Problem]
    digests: list[bytes]
    root: Path
    files: list[str]


def folder_to_measure(
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    preprocess: Preprocess,
    split: str | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Load a folder or CSV list that a network is to be measured on. It is never split.

    A folder that contains the folders of classes, and a list without splits, is measured as a whole. In others,
    ``split`` chooses. A class may have no images.

    Args:
        path: The folder or CSV list.
        class_names: The classes of the network.
        preprocess: How its images are decoded.
        split: "train", "validation" or "test"; None for all images if there are no splits, and for "test" if there are.
        progress: Called as files are read and decoded.

    Raises:
        DataError: The folder has no such split, or a class that the network lacks, or no usable images.
    """
    listing = list_folder(path, known_classes=class_names)
    name = printable(listing.path)
    splits = sorted({each for each in listing.splits if each})
    if not splits and split is not None:
        raise DataError(
            f"{name}: has no splits, so there are no {split} images in it; leave --split out to measure all"
        )
    if splits:
        split = split or "test"
        if split not in splits:
            raise DataError(
                f"{name}: has no {split} images, only {' and '.join(splits)} images; choose with --split, or give a "
                "folder of classes to measure all of its images"
            )
        listing = only_split(listing, split)
    unknown = Counter(label for label in listing.classes if label not in class_names)
    if unknown:
        label, count = unknown.most_common(1)[0]
        others = f" (and {format_number(len(unknown) - 1, 'other', 'others')})" if len(unknown) > 1 else ""
        near = next((known for known in class_names if known.casefold() == label.casefold()), None)
        hint = f"; did you mean {near}?" if near else ""
        images = format_number(count, "image")
        raise DataError(
            f"{name}: the network has no class {label}{others}, of which there are {images}; its "
            f"classes are {_shortened(class_names)}{hint}; rename the folder of the class, or move it away"
        )
    return load_listing(listing, class_names, preprocess, f"{name}/{split}" if splits else name, progress)


def only_split(listing: Listing, split: str) -> Listing:
    """The files of a listing that belong to a split."""
    rows = [row for row, each in enumerate(listing.splits) if (each or "train") == split]
    return replace(
        listing,
        files=[listing.files[row] for row in rows],
        classes=[listing.classes[row] for row in rows],
        splits=[split] * len(rows),
        digests=[listing.digests[row] for row in rows] if listing.digests else [],
    )


def load_listing(
    listing: Listing, class_names: tuple[str, ...], preprocess: Preprocess, name: str, progress: Progress | None = None
) -> Measured:
    """Decode the files of a listing, all of whose classes are known.

    Args:
        listing: The files.
        class_names: The classes in the order of the labels.
        preprocess: How the images are decoded; it must have a source size.
        name: The name of the images in reports.
        progress: Called as files are read and decoded.

    Raises:
        DataError: None of the files can be used.
    """
    scanned = scan_listing(listing, progress=progress, max_pixels=preprocess.max_pixels)
    problems = listing.problems + file_problems(listing, scanned)
    good = np.flatnonzero(scanned.error == "")
    files = [listing.files[row] for row in good.tolist()]
    decoded = decode_files(listing.root, files, scanned.digest[good], preprocess, progress=progress)
    problems += [Problem(printable(files[index]), reason) for index, reason in sorted(decoded.errors.items())]
    kept = good[decoded.kept]
    if not len(kept):
        raise DataError(
            f"{name}: none of the {format_number(len(listing.files), 'image')} can be used{first_problems(problems)}"
        )
    numbers = {label: number for number, label in enumerate(class_names)}
    labels = np.array([numbers[listing.classes[row]] for row in kept.tolist()], np.int64)
    dataset = ImageDataset(decoded.images, labels, class_names, name)
    rows = kept.tolist()
    return Measured(
        dataset,
        problems,
        [scanned.digest[row].tobytes() for row in rows],
        listing.root,
        [listing.files[row] for row in rows],
    )


def first_problems(problems: Sequence[Problem]) -> str:
    """The first of some problems, as the end of a message."""
    lines = [f"\n  {problem.path}: {problem.reason}" for problem in problems[:_MAX_LISTED]]
    if (more := len(problems) - _MAX_LISTED) > 0:
        lines.append(f"\n  … and {more:,} more")
    return "".join([":", *lines]) if lines else ""


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (f" … ({len(names):,} in all)" if len(names) > _MAX_LISTED else "")
