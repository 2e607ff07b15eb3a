"""A folder of images as a data set: scanned, split, and decoded once into a memory-mapped cache."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpconv.arch.preprocess import MAX_PIXELS, Preprocess
from mlpconv.data.dataset import ImageDataset, Splits
from mlpconv.data.folders.cache import decode_files
from mlpconv.data.folders.copies import Pictures, groups_of_copies, near_pairs
from mlpconv.data.folders.listed import Listing, Problem
from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.names import TEST, TRAIN, VALIDATION, natural_order
from mlpconv.data.folders.scan import Progress, ScannedFiles
from mlpconv.data.folders.scan_listing import file_problems, scan_listing
from mlpconv.data.folders.splitting import TEST_FRACTION, EarlierSplit, ToSplit, draw_splits, earlier_notes
from mlpconv.data.image import depth
from mlpconv.errors import DataError
from mlpconv.formatting import first_names, format_number, printable

_SPLITS = (TRAIN, VALIDATION, TEST)
"""By their number in `Folder.splits`."""
_GRAY_MODES = ("1", "L", "LA", "La", "F", "I", "I;16", "I;16B", "I;16L")
_MAX_PROBLEMS_IN_ERROR = 20


class FolderOptions(NamedTuple):
    """How a folder of images is read."""

    strict: bool = False
    """Whether to refuse a folder if anything in it cannot be used."""
    follow_links: bool = False
    """Whether to follow symbolic links that point outside the folder."""
    max_pixels: int = MAX_PIXELS
    """The most pixels that an image may have."""


NO_OPTIONS = FolderOptions()


@dataclass(eq=False)
class Folder:
    """The usable images of a folder, sorted by split and then by path, before decoding.

    Attributes:
        path: The folder, or the CSV file, as given.
        root: The directory that `files` are relative to.
        layout: A description of the layout, such as "train/CLASS · test/CLASS".
        class_names: The name of each label.
        files: The paths of the images.
        labels: int64 (N,).
        splits: int8 (N,): 0 train, 1 validation, 2 test.
        sizes: int32 (N, 2), (height, width) after applying the EXIF orientation.
        modes: str (N,), Pillow's mode of each file.
        pictures: What finds copies among the images, and the SHA-256 of each file.
        near_pairs: int64 (P, 2), indices of near copies (see `copies.near_pairs`).
        problems: What is skipped, and why.
        notes: Decisions made for the user, one sentence each.
        cache: The cache directory (see `cache_directory`).
        strict: Whether to refuse files that cannot be decoded instead of skipping them.
        bits: The bits of gray values that files store in more than 8 (see `Preprocess`).
        max_pixels: Larger images are refused.
        drawn: Whether test images were held out, because the layout has none.
    """

    path: Path
    root: Path
    layout: str
    class_names: tuple[str, ...]
    files: list[str]
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    modes: np.ndarray
    pictures: Pictures
    near_pairs: np.ndarray
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    cache: str | os.PathLike[str] | None = None
    strict: bool = False
    bits: int = 16
    max_pixels: int = MAX_PIXELS
    drawn: bool = False

    @property
    def name(self) -> str:
        """The path, printable."""
        return printable(self.path)

    @property
    def digests(self) -> np.ndarray:
        """uint8 (N, 32), the SHA-256 of each file."""
        return self.pictures.digests

    @cached_property
    def colour(self) -> bool:
        """Whether any image may have colors."""
        return not set(np.unique(self.modes).tolist()) <= set(_GRAY_MODES)

    @cached_property
    def one_size(self) -> tuple[int, int] | None:
        """(height, width) if all images have the same size, else None."""
        first = self.sizes[0]
        return (int(first[0]), int(first[1])) if (self.sizes == first).all() else None

    @cached_property
    def typical_side(self) -> int:
        """The median of the shorter sides of the images, in pixels."""
        return int(np.median(self.sizes.min(1)))

    def preprocess(self, size: int, fit: str) -> Preprocess:
        """How to convert the files for a network with an input of ``size`` × ``size`` pixels.

        If all images have the same size and it is not larger, they keep it; else they become squares of ``size``.

        Args:
            size: In pixels.
            fit: How to make images square: see `Preprocess`.
        """
        same = self.one_size
        source = same if same is not None and max(same) <= size else (size, size)
        channels, rules = 3 if self.colour else 1, {"bits": self.bits, "max_pixels": self.max_pixels}
        return Preprocess.of_channels(size, channels, fit=fit, source_size=source, **rules)

    def load(self, preprocess: Preprocess, progress: Progress | None = None) -> "Loaded":
        """Decode the files, or read them from the cache.

        Raises:
            DataError: A class or split has no images left, the folder is ``strict`` and a file cannot be decoded, or
                the cache cannot be written.
        """
        decoded = decode_files(self.root, self.files, self.digests, preprocess, cache=self.cache, progress=progress)
        problems = [Problem(printable(self.files[index]), reason) for index, reason in sorted(decoded.errors.items())]
        if problems and self.strict:
            raise DataError(_strict_error(self.name, problems))
        labels, splits = self.labels[decoded.kept], self.splits[decoded.kept]
        bounds = np.searchsorted(splits, range(len(_SPLITS) + 1))
        sets: dict[str, ImageDataset] = {}
        for split, start, stop in zip(_SPLITS, bounds[:-1], bounds[1:], strict=True):
            if stop > start:
                sets[split] = ImageDataset(
                    decoded.images[start:stop], labels[start:stop], self.class_names, f"{self.name}/{split}"
                )
        for split in (TRAIN, TEST):
            if split not in sets:
                raise DataError(f"{self.name}: none of the images for {split} can be decoded{_first(problems)}")
        empty = sorted(set(range(len(self.class_names))) - set(np.unique(sets[TRAIN].labels).tolist()))
        if empty:
            names = ", ".join(self.class_names[label] for label in empty)
            raise DataError(f"{self.name}: none of the training images of {names} can be decoded{_first(problems)}")
        return Loaded(
            self,
            Splits(sets[TRAIN], sets[TEST]),
            sets.get(VALIDATION),
            decoded.kept,
            self.problems + problems,
            decoded.place,
        )


@dataclass(eq=False)
class Loaded:
    """The decoded images of a folder.

    Attributes:
        folder: The folder.
        splits: The images for training and for testing.
        validation: The images for validation, if any.
        rows: int64 (N,), the index in ``folder.files`` of each image: training, validation, test.
        problems: Everything that was skipped, and why.
        place: The directory with the decoded images.
    """

    folder: Folder
    splits: Splits
    validation: ImageDataset | None
    rows: np.ndarray
    problems: list[Problem]
    place: Path


def scan_folder(
    path: str | os.PathLike[str],
    *,
    validation: float | Callable[[int, int], float] = 0.0,
    seed: int = 0,
    options: FolderOptions = NO_OPTIONS,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    earlier: Sequence[EarlierSplit] = (),
) -> Folder:
    """Find the images of a folder or CSV list, read their headers, and split them.

    If the layout has no test split, its validation split is used for testing. If it has neither, a fraction of
    `TEST_FRACTION` of the images is held out for testing, from each class in proportion to its size. Copies of a
    picture are held out together (see `groups_of_copies`), and images of earlier runs stay in their splits (see
    `draw_splits`).

    Args:
        path: The folder or CSV file (see `list_folder` for the layouts).
        validation: Fraction of the images to hold out for validation if the layout has no validation split, or a
            function to it from the number of images that the layout does not give to testing, and their typical side.
        seed: Seed for the choice of held-out images; the same images and seed give the same split.
        options: How it is read.
        cache: The cache directory (see `cache_directory`).
        progress: Called as files are read.
        earlier: The splits of earlier runs to keep.

    Raises:
        DataError: The folder does not exist, has fewer than two classes, or has no usable images; its splits have no
            class in common; or the options are strict and something would be skipped.
    """
    strict, follow_links, max_pixels = options
    listing = list_folder(path, follow_links=follow_links)
    scanned = scan_listing(listing, cache, progress, max_pixels=max_pixels, compare=True)
    bits = _check_depth(scanned)
    name = printable(listing.path)
    problems = listing.problems + [Problem(folder, "the folder of a class, without files") for folder in listing.empty]
    good = scanned.error == ""
    problems += file_problems(listing, scanned)
    notes = list(listing.notes)
    if bits < 16:
        white = f"{(1 << bits) - 1:,}"
        notes.append(f"images that store more than 8 bits per value use {bits} of them: {white} becomes white")
    classes, splits = np.array(listing.classes, object), _named_splits(listing, good, notes)
    names = tuple(sorted({str(label) for label in classes[good & (splits <= 0)]}, key=natural_order))
    unknown = good & ~np.isin(classes, np.array(names, object))
    _check_case(name, names, sorted(set(classes[unknown].tolist())), notes)
    for label, count in Counter(classes[unknown].tolist()).items():
        files = f"its {count:,} files are" if count > 1 else "its file is"
        problems.append(Problem(label, f"a class that the training set lacks: {files} skipped"))
    if names and (good & (splits == 2)).any() and not (good & ~unknown & (splits == 2)).any():
        raise DataError(
            f"{name}: no test image is of a class of the training images ({first_names(names)}); the classes of the "
            f"test images are {first_names(sorted(set(classes[unknown].tolist())))}; give them the same names"
        )
    good &= ~unknown
    empty = set(listing.classes) - set(classes[good].tolist()) - set(classes[unknown].tolist())
    problems += [Problem(label, "an empty class: none of its files is a usable image") for label in sorted(empty)]
    _check_classes(name, names, problems)
    kept = np.flatnonzero(good)
    numbers = {label: number for number, label in enumerate(names)}
    labels = np.array([numbers[label] for label in classes[kept]], np.int64)
    splits = np.maximum(splits[kept], 0)
    pictures = Pictures(scanned.digest[kept], scanned.content[kept], scanned.thumbnail[kept])
    if strict and problems:
        raise DataError(_strict_error(name, problems))
    pairs = near_pairs(pictures)
    test = 0.0 if (splits == 2).any() else TEST_FRACTION
    if callable(validation):
        sides = np.minimum(scanned.height[kept], scanned.width[kept])
        validation = validation(int((splits < 2).sum()), int(np.median(sides)))
    validation = 0.0 if (splits == 1).any() else validation
    if test or validation:
        images = ToSplit(labels, groups_of_copies(pictures, labels, pairs), pictures.digests)
        notes += draw_splits(name, splits, images, test=test, validation=validation, seed=seed, earlier=earlier)
    notes += earlier_notes(splits, pictures.digests, earlier)
    order = np.lexsort((np.arange(len(kept)), splits))  # within a split, files keep their order
    kept = kept[order]
    return Folder(
        listing.path,
        listing.root,
        listing.layout,
        names,
        [listing.files[index] for index in kept.tolist()],
        labels[order],
        splits[order],
        np.stack([scanned.height[kept], scanned.width[kept]], 1),
        scanned.mode[kept],
        pictures.take(order),
        np.argsort(order)[pairs],
        problems,
        notes,
        cache,
        strict,
        bits,
        max_pixels,
        bool(test),
    )


def _check_depth(scanned: ScannedFiles) -> int:
    """The bits of gray values that are stored in more than 8: as many as the largest value of any file needs.

    Colors of 16 bits are decoded to their upper 8. If no file uses the upper bits, the files become errors.
    """
    deep = (scanned.error == "") & (scanned.largest > 0)
    gray = np.isin(scanned.mode, _GRAY_MODES)
    largest = int(scanned.largest[deep & ~gray].max(initial=0))
    if largest and (bits := depth(largest)) < 16:
        scanned.error[deep & ~gray] = (
            f"has 16 bits per color, but the images of the folder use only the lower {bits} (the largest value is "
            f"{largest:,}), so they would be almost black; save them with 8 bits per color, or with values up to 65,535"
        )
    return depth(int(scanned.largest[deep & gray].max(initial=0))) if (deep & gray).any() else 16


def _check_case(name: str, names: tuple[str, ...], unknown: list[str], notes: list[str]) -> None:
    """Refuse classes of other splits that differ from those of the training set by case alone."""
    by_folded = {label.casefold(): label for label in names}
    for label in unknown:
        if (other := by_folded.get(label.casefold())) is not None:
            raise DataError(
                f"{name}: the class {other} of the training images is called {label} in another split: the names "
                "differ only by case; give both folders the same name"
            )
    for label in names:
        if (other := by_folded[label.casefold()]) != label:
            notes.append(f"{label} and {other} are two classes, although their names differ only by case")


def _strict_error(name: str, problems: list[Problem]) -> str:
    lines = [f"  {problem.path}: {problem.reason}" for problem in problems[:_MAX_PROBLEMS_IN_ERROR]]
    count = format_number(len(problems), "file or folder", "files or folders")
    if (more := len(problems) - _MAX_PROBLEMS_IN_ERROR) > 0:
        lines.append(f"  … and {more:,} more: mlpconv data check lists them")
    return "\n".join(
        [
            f"{name}: --strict, and {count} cannot be used:",
            *lines,
        ]
    )


def _first(problems: list[Problem]) -> str:
    return f"; the first: {problems[0].path}: {problems[0].reason}" if problems else ""


def _named_splits(listing: Listing, good: np.ndarray, notes: list[str]) -> np.ndarray:
    """The split that the layout gives each file: int8 (N,), -1 for none."""
    table = {"": -1, **{name: number for number, name in enumerate(_SPLITS)}}
    splits = np.array([table[split] for split in listing.splits], np.int8)
    if (splits >= 0).any():
        splits[splits < 0] = 0
    if not (good & (splits == 2)).any() and (good & (splits == 1)).any():
        splits[splits == 1] = 2
        notes.append("there is no test set: the validation set is used for testing, and for nothing else")
    return splits


def _check_classes(name: str, names: tuple[str, ...], problems: list[Problem]) -> None:
    if not names:
        raise DataError(f"{name}: none of its files is a usable training image{_first(problems)}")
    if len(names) == 1:
        raise DataError(
            f"{name}: has a single class, {names[0]}; expected two or more to train on, each in a folder of its name; "
            "to measure a trained network on one: mlpconv evaluate RUN --data FOLDER"
        )
