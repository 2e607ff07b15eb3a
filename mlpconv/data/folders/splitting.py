"""Split the images of a folder where its layout does not, and keep the split of an earlier run.

One rule for all: an image that an earlier run recorded stays in its split, new images are drawn from each class in
proportion to its size, and copies of a picture are on the same side.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlpconv.data.folders.copies import Indices, held_out_groups
from mlpconv.errors import DataError
from mlpconv.formatting import first_names, format_number, printable

TEST_FRACTION = 0.15
"""Fraction of the images to hold out for testing if the layout has no test split."""
_TRAINING, _VALIDATION, _TEST = range(3)


class EarlierSplit(NamedTuple):
    """How an earlier run used its images.

    Attributes:
        run: The run, for messages.
        splits: The split of each image (0 train, 1 validation, 2 test) by the SHA-256 of its file.
        files: The path of each image, likewise, if the run was trained on the same folder; else empty.
        validation: The fraction of validation images that its recipe asked for.
        learned: Whether the new run starts from the weights of this run.
    """

    run: str
    splits: dict[bytes, int]
    files: dict[bytes, str]
    validation: float
    learned: bool


class ToSplit(NamedTuple):
    """The images that are split.

    Attributes:
        labels: int64 (N,), the class of each image.
        groups: int64 (N,), the number of the group of copies of each image.
        digests: uint8 (N, 32), the SHA-256 of each file.
    """

    labels: Indices
    groups: Indices
    digests: np.ndarray


def draw_splits(
    name: str,
    splits: np.ndarray,
    images: ToSplit,
    *,
    test: float,
    validation: float,
    seed: int,
    earlier: Sequence[EarlierSplit] = (),
) -> list[str]:
    """Move images from training into the splits that the layout lacks.

    Images that an earlier run recorded keep their split, and new copies of them follow them; the others are drawn so
    that each class has its share. If another fraction of validation images is asked for than in the earlier run, only
    its test images keep their split, and none of its other images becomes one.

    Args:
        name: The folder, for messages.
        splits: int8 (N,), 0 train, 1 validation, 2 test; changed here.
        images: The images.
        test: The fraction to hold out for testing; 0 if the layout has test images.
        validation: The fraction of the rest to hold out for validation; 0 for none, or if the layout has such images.
        seed: The seed of the choice.
        earlier: The earlier runs. If several recorded an image, the first counts.

    Returns:
        What was done, one sentence each.

    Raises:
        DataError: Too few images, or too few different ones, are left to hold out.
    """
    known = _known_splits(images, earlier)
    keep_validation = all(each.validation == validation for each in earlier)
    notes = []
    for number, fraction, purpose in ((_TEST, test, "testing"), (_VALIDATION, validation, "validation")):
        if not fraction:
            continue
        train = np.flatnonzero(splits == _TRAINING)
        count = round(fraction * len(train))
        way_out = ", or train without them: --validation 0" if number == _VALIDATION else ""
        if not 1 <= count < len(train):
            raise DataError(
                f"{name}: {format_number(len(train), 'image is', 'images are')} too few to hold out "
                f"{fraction:.0%} for {purpose}; add images, or put them into folders train/CLASS, val/CLASS and "
                f"test/CLASS{way_out}"
            )
        decided = np.where(known[train] < 0, -1, known[train] == number)
        if number == _VALIDATION and not keep_validation:
            decided[known[train] != _TEST] = -1
        # Different seeds, because the same draw from the remaining images would prefer the same positions.
        labels, groups, digests = (part[train] for part in images)
        held = held_out_groups(labels, groups, digests, count, seed + number, decided)
        if not held.any():
            if (decided >= 0).any():
                raise DataError(
                    f"{name}: no image for {purpose} of {first_names([each.run for each in earlier])} is left, and no "
                    f"new images can take their place; put them back, or add images{way_out}"
                )
            raise DataError(
                f"{name}: no images can be held out for {purpose}, because the images of each class are copies of each "
                f"other; add different images{way_out}"
            )
        splits[train[held]] = number
        kept = f", {int((decided == 1).sum()):,} of them as before" if (decided == 1).any() else ""
        held_out = format_number(int(held.sum()), "image")
        notes.append(f"{held_out} held out for {purpose}, each class in proportion (seed {seed}){kept}")
    if copies := len(images.groups) - len(np.unique(images.groups)):
        text = (
            f"{copies:,} images are copies or near copies of others" if copies > 1 else "1 image is a copy of another"
        )
        notes.append(f"{text}: copies are always on the same side of the split")
    return notes


def _known_splits(images: ToSplit, earlier: Sequence[EarlierSplit]) -> np.ndarray:
    """The split that an earlier run gave each image or a copy of it: int8 (N,), -1 for new images."""
    known = np.full(len(images.labels), -1, np.int8)
    if not earlier:
        return known
    for row, digest in enumerate(images.digests):
        known[row] = next((each.splits[key] for each in earlier if (key := digest.tobytes()) in each.splits), -1)
    # If copies of a new image are in several splits, it is used for training.
    recorded = known >= 0
    first = np.full(int(images.groups.max()) + 1, _TEST + 1)
    np.minimum.at(first, images.groups[recorded], known[recorded])
    follows = ~recorded & (first[images.groups] <= _TEST)
    known[follows] = first[images.groups[follows]]
    return known


def earlier_notes(splits: np.ndarray, digests: np.ndarray, earlier: Sequence[EarlierSplit]) -> list[str]:
    """What became of the images of earlier runs, one sentence each.

    Args:
        splits: int8 (N,), the split of each image.
        digests: uint8 (N, 32), the SHA-256 of each file.
        earlier: The earlier runs.
    """
    notes = []
    parts = {digest.tobytes(): split for digest, split in zip(digests, splits.tolist(), strict=True)}
    for each in earlier:
        there = [(split, parts[digest]) for digest, split in each.splits.items() if digest in parts]
        if not there:
            continue
        left = sum(before == _TEST != now for before, now in there)
        seen = sum(before != _TEST == now for before, now in there)
        if not left + seen:
            new = len(parts.keys() - each.splits.keys())
            added = f"; {format_number(new, 'image is', 'images are')} new" if new else ""
            kept = f"{format_number(len(there), 'image is', 'images are')} split as in {each.run}"
            if any(before != now for before, now in there):
                tested = format_number(sum(now == _TEST for _, now in there), "test image")
                kept = f"{tested} kept from {each.run}, its other images are split again"
            notes.append(kept + added)
        if left:
            images = format_number(left, "test image")
            notes.append(f"{images} of {each.run} are in another split here, as the folder says")
        if seen and each.learned:
            notes.append(
                f"{format_number(seen, 'test image was', 'test images were')} used to train or choose the weights of "
                f"{each.run}, so the test accuracy will be too high"
            )
        if lost := [file for digest, file in each.files.items() if digest not in parts]:
            images = format_number(len(lost), "image is", "images are")
            notes.append(f"{images} missing or changed since {each.run}; first: {printable(lost[0])}")
    return notes
