"""A folder of images as a data set: scanned, split, and decoded once into a cache that is mapped into memory."""

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.data.dataset import ImageDataset, Splits, held_out
from mlpconv.data.folders.cache import decode_files, folders_directory
from mlpconv.data.folders.listing import TEST, TRAIN, VALIDATION, Listing, Problem, list_folder
from mlpconv.data.folders.scan import Progress, scan
from mlpconv.errors import DataError
from mlpconv.formatting import printable

TEST_SHARE = 0.15
_ORDER = (TRAIN, VALIDATION, TEST)
_GREY = ("1", "L", "LA", "La")


@dataclass(eq=False)
class Folder:
    """The usable images of a folder, by split and then by path; nothing is decoded yet.

    files: relative to ``root``. labels: int64 (N,). splits: int8 (N,), 0 train, 1 validation, 2 test. sizes: int32
    (N, 2), (height, width) as one sees the image. modes: Pillow's. digests: uint8 (N, 32), SHA-256 of each file.
    problems: what is passed over, and why. notes: what was decided for the user.
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
    digests: np.ndarray
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    cache: str | os.PathLike[str] | None = None
    strict: bool = False

    @property
    def name(self) -> str:
        return printable(self.path)

    @cached_property
    def colour(self) -> bool:
        """Whether any image may have colours."""
        return bool(set(np.unique(self.modes).tolist()) - set(_GREY) - {"F", "I", "I;16", "I;16B", "I;16L"})

    @cached_property
    def one_size(self) -> tuple[int, int] | None:
        """(height, width) where all images have the same."""
        first = self.sizes[0]
        return (int(first[0]), int(first[1])) if (self.sizes == first).all() else None

    @cached_property
    def typical_side(self) -> int:
        """The median of the images' shorter sides in pixels."""
        return int(np.median(self.sizes.min(1)))

    def preprocess(self, size: int, fit: str) -> Preprocess:
        """How the files become images for a network of ``size`` pixels: images of one size that are no larger keep it,
        all others become squares of ``size``."""
        same = self.one_size
        source = same if same is not None and max(same) <= size else (size, size)
        channels = 3 if self.colour else 1
        zeros, ones = (0.0,) * channels, (1.0,) * channels
        mode = "RGB" if self.colour else "L"
        return Preprocess(size=size, mode=mode, fit=fit, mean=zeros, std=ones, source_size=source)  # pyright: ignore[reportArgumentType]

    def load(self, preprocess: Preprocess, progress: Progress | None = None) -> "Loaded":
        """Decode the files, or take them from the cache. Raises DataError where too little is left, or, where the
        folder is ``strict``, for any file that cannot be decoded."""
        decoded = decode_files(self.root, self.files, self.digests, preprocess, cache=self.cache, progress=progress)
        problems = [Problem(printable(self.files[index]), reason) for index, reason in sorted(decoded.errors.items())]
        if problems and self.strict:
            raise DataError(refusal(self.name, problems))
        labels, splits = self.labels[decoded.kept], self.splits[decoded.kept]
        bounds = np.searchsorted(splits, range(len(_ORDER) + 1))
        sets: dict[str, ImageDataset] = {}
        for number, split in enumerate(_ORDER):
            begin, end = bounds[number], bounds[number + 1]
            if end > begin:
                images, own = decoded.images[begin:end], labels[begin:end]
                sets[split] = ImageDataset(images, own, self.class_names, f"{self.name}/{split}")
        for split in (TRAIN, TEST):
            if split not in sets:
                raise DataError(f"{self.name}: not one image for {split} can be decoded{_first(problems)}")
        lost = sorted(set(range(len(self.class_names))) - set(np.unique(sets[TRAIN].labels).tolist()))
        if lost:
            names = ", ".join(self.class_names[label] for label in lost)
            raise DataError(f"{self.name}: no training image of {names} can be decoded{_first(problems)}")
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
    """A folder's images. rows: int64 (N,), which file of the folder each image is, train first. problems: everything
    that was passed over. place: where the decoded images are kept."""

    folder: Folder
    splits: Splits
    validation: ImageDataset | None
    rows: np.ndarray
    problems: list[Problem]
    place: Path


def scan_folder(
    path: str | os.PathLike[str],
    *,
    test: float = TEST_SHARE,
    validation: float = 0.0,
    seed: int = 0,
    class_names: tuple[str, ...] | None = None,
    strict: bool = False,
    follow_links: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Folder:
    """Find the images of a folder or a CSV list, read what they say of themselves, and split them where need be.

    Args:
        path: see `list_folder` for the layouts.
        test, validation: shares to hold out, each class in proportion, where the layout has no such split; 0 holds none
            out for validation. A validation set without a test set becomes the test set.
        seed: chooses what is held out; the same files and seed give the same split.
        class_names: the classes to expect, in their order; by default those found, sorted.
        strict: refuse a folder of which anything is passed over.
        follow_links: also links out of the folder.
        cache: the cache to use (see `cache_directory`).
        progress: called as files are read.

    Raises:
        DataError: no such folder, fewer than two classes, nothing usable, or `strict` and something is not.
    """
    listing = list_folder(path, follow_links=follow_links)
    facts = scan(listing.root, listing.files, folders_directory(cache), progress)
    name = printable(listing.path)
    problems = listing.problems + [Problem(folder, "a class's folder without files") for folder in listing.empty]
    good = facts.error == ""
    problems += [Problem(printable(listing.files[index]), str(facts.error[index])) for index in np.flatnonzero(~good)]
    notes: list[str] = []
    classes, splits = np.array(listing.classes, object), _named_splits(listing, good, notes)
    names = class_names or tuple(sorted({str(each) for each in classes[good & (splits <= 0)]}))
    unknown = good & ~np.isin(classes, np.array(names, object))
    for other, count in Counter(classes[unknown].tolist()).items():
        problems.append(Problem(other, f"a class that training does not have: {count:,} files are left out"))
    good &= ~unknown
    without = set(listing.classes) - set(classes[good].tolist()) - set(classes[unknown].tolist())
    problems += [Problem(each, "an empty class: none of its files is a usable image") for each in sorted(without)]
    _check_classes(name, names, problems)
    kept = np.flatnonzero(good)
    numbers = {each: number for number, each in enumerate(names)}
    labels = np.array([numbers[each] for each in classes[kept]], np.int64)
    parts = _split(name, labels, splits[kept], len(names), test, validation, seed, notes, problems)
    files = [listing.files[index] for index in kept]
    order = np.lexsort((np.arange(len(files)), parts))  # files are in order already
    kept = kept[order]
    if strict and problems:
        raise DataError(refusal(name, problems))
    return Folder(
        listing.path,
        listing.root,
        listing.layout,
        names,
        [files[index] for index in order],
        labels[order],
        parts[order],
        np.stack([facts.height[kept], facts.width[kept]], 1),
        facts.mode[kept],
        facts.digest[kept],
        problems,
        notes,
        cache,
        strict,
    )


def refusal(name: str, problems: list[Problem]) -> str:
    """What --strict says."""
    more = f"\n  … and {len(problems) - 20:,} more: mlpconv data check lists them" if len(problems) > 20 else ""
    lines = "".join(f"\n  {problem.path}: {problem.reason}" for problem in problems[:20])
    return f"{name}: --strict, and {len(problems):,} things in it cannot be used:{lines}{more}"


def _first(problems: list[Problem]) -> str:
    return f"; the first: {problems[0].path}: {problems[0].reason}" if problems else ""


def _named_splits(listing: Listing, good: np.ndarray, notes: list[str]) -> np.ndarray:
    """int8: as the layout says, -1 where it says nothing."""
    table = {"": -1, **{name: number for number, name in enumerate(_ORDER)}}
    splits = np.array([table[each] for each in listing.splits], np.int8)
    if (splits >= 0).any():
        splits[splits < 0] = 0
    if not (good & (splits == 2)).any() and (good & (splits == 1)).any():
        splits[splits == 1] = 2
        notes.append("there is no test set: the validation set takes its place, and chooses nothing")
    return splits


def _check_classes(name: str, names: tuple[str, ...], problems: list[Problem]) -> None:
    if not names:
        raise DataError(f"{name}: not one of its files is a usable training image{_first(problems)}")
    if len(names) == 1:
        raise DataError(
            f"{name}: has a single class, {names[0]}; to tell apart there must be two or more: a folder for each"
        )


def _split(
    name: str,
    labels: np.ndarray,
    parts: np.ndarray,
    classes: int,
    test: float,
    validation: float,
    seed: int,
    notes: list[str],
    problems: list[Problem],
) -> np.ndarray:
    """int8: 0 train, 1 validation, 2 test, with what the layout does not have held out of the training images."""
    parts = np.maximum(parts, 0)
    for number, share, what in ((2, test, "testing"), (1, validation, "validation")):
        train = np.flatnonzero(parts == 0)
        if not share or (parts == number).any():
            continue
        count = round(share * len(train))
        if not 1 <= count < len(train):
            raise DataError(
                f"{name}: {len(train):,} images are too few to hold {share:.0%} of them out for {what}; add images, or "
                f"say which are for {what}: train/CLASS beside test/CLASS and val/CLASS{_first(problems)}"
            )
        # Another seed than the test set's: the same draw over the rest would favour the same places.
        held = held_out(labels[train], classes, count, seed + number)
        parts[train[held]] = number
        notes.append(f"{count:,} images held out for {what}, each class in proportion (seed {seed})")
    return parts
