"""Copies of a picture: find them, and hold out images so that no copy is left in the training set.

Copies are files with equal contents, or pictures that are equal or nearly equal in small: saved again in another
format, size or quality, or a little brighter. Mirrored, turned and cropped pictures are not recognized.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.data.dataset import quotas_by_class

SIDE = 16
"""Side in pixels of the gray thumbnails that are compared."""
MIN_CORRELATION = 0.996
"""Thumbnails are nearly equal from this correlation on."""
_MIN_VARIANCE = 16
"""Thumbnails with less are not compared, because they correlate with almost everything."""
_MAX_BITS = 6
"""Hashes of nearly equal thumbnails differ in at most this many of 64 bits."""
_NEIGHBOURS = 12
"""The number of following images in each sorted order that an image is compared with, which bounds the work."""
_BAND_BITS = 16
_SMALL_GROUP = 4
"""Near copies may always be in groups of this size."""
_CHUNK = 1 << 14
_BITS_OF_16 = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)

Indices = npt.NDArray[np.int64]


class Pictures(NamedTuple):
    """What is compared of N images.

    Attributes:
        digests: uint8 (N, 32), the SHA-256 of each file.
        contents: uint8 (N, 16), a digest of the size of each image and of its pixels in small.
        thumbnails: uint8 (N, SIDE × SIDE), gray.
    """

    digests: np.ndarray
    contents: np.ndarray
    thumbnails: np.ndarray

    def take(self, rows: Indices) -> "Pictures":
        """Some of the images, in the order of ``rows``."""
        return Pictures(self.digests[rows], self.contents[rows], self.thumbnails[rows])


def identical_groups(pictures: Pictures) -> Indices:
    """The number of the group of each image: images in a group are files with equal contents."""
    return _numbered(pictures.digests)


def equal_pairs(pictures: Pictures) -> Indices:
    """Pairs of images, int64 (P, 2), that are equal: each image with the next one that is the same file or has the same
    pixels in small."""
    return _chains(_numbered(pictures.contents))


def near_pairs(pictures: Pictures) -> Indices:
    """Pairs of images, int64 (P, 2), that are equal or nearly equal but not the same file, the most similar first.

    Images whose 64-bit hash agrees in a quarter of its bits are neighbours in a sorted order; neighbours are compared.
    Of many images that look alike, only some pairs are found.
    """
    first_of = np.unique(identical_groups(pictures), return_index=True)[1].astype(np.int64)
    distinct = pictures.take(first_of)
    equal = _chains(_numbered(distinct.contents))
    alike, correlation = _alike(distinct.thumbnails)
    pairs = np.concatenate([equal, alike])
    similarity = np.concatenate([np.full(len(equal), 2.0), correlation])
    pairs = np.sort(first_of[pairs], 1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))]
    return pairs[np.sort(np.unique(pairs[:, 0] * len(pictures.digests) + pairs[:, 1], return_index=True)[1])]


def _distinct(pairs: Indices) -> Indices:
    """The distinct pairs, the smaller index first."""
    count = int(pairs.max()) + 1 if len(pairs) else 1
    numbers = np.sort(pairs.min(1) * count + pairs.max(1))  # faster than NumPy's unique, which hashes
    numbers = numbers[np.diff(numbers, prepend=-1) > 0]
    return np.stack([numbers // count, numbers % count], 1)


def _numbered(rows: np.ndarray) -> Indices:
    """Number the distinct rows of uint8 (N, B): int64 (N,)."""
    if not len(rows):
        return np.empty(0, np.int64)
    values = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel()
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _chains(groups: Indices) -> Indices:
    """The pairs of each member of a group with the next one."""
    order = np.argsort(groups, kind="stable")
    same = np.flatnonzero(groups[order][1:] == groups[order][:-1])
    return np.stack([order[same], order[same + 1]], 1)


def _alike(thumbnails: np.ndarray) -> tuple[Indices, np.ndarray]:
    """Pairs of nearly equal thumbnails, and their correlation."""
    totals, spreads = _in_chunks(_moments, thumbnails, 2).T
    rows = np.flatnonzero(spreads // thumbnails.shape[1] ** 2 >= _MIN_VARIANCE)
    hashes = _hashes(thumbnails[rows])
    candidates = []
    for band in range(64 // _BAND_BITS):
        turned = (hashes << np.uint64(band * _BAND_BITS)) | (hashes >> np.uint64((64 - band * _BAND_BITS) % 64))
        order = np.argsort(turned, kind="stable")
        bits = hashes[order]
        for step in range(1, min(_NEIGHBOURS + 1, len(rows))):
            near = np.flatnonzero(_count_bits(bits[step:] ^ bits[:-step]) <= _MAX_BITS)
            candidates.append(np.stack([order[near], order[near + step]], 1))
    if not candidates:
        return np.empty((0, 2), np.int64), np.empty(0, np.float64)
    pairs = _distinct(np.concatenate(candidates))
    left, right = rows[pairs].T
    products = _in_chunks(lambda some: _products(thumbnails, rows[some]), pairs)
    cross = thumbnails.shape[1] * products - totals[left] * totals[right]
    correlation = cross / np.sqrt(spreads[left].astype(np.float64) * spreads[right])
    kept = correlation >= MIN_CORRELATION
    return rows[pairs[kept]].astype(np.int64), correlation[kept]


def _in_chunks(compute: Callable[[np.ndarray], Indices], rows: np.ndarray, columns: int = 0) -> Indices:
    """Compute one integer, or some columns of them, for each row; for some rows at a time, because they are converted
    to larger numbers."""
    parts = [compute(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, columns) if columns else 0, np.int64)


def _moments(thumbnails: np.ndarray) -> Indices:
    """The sum of the values of each thumbnail, and N² times their variance, int64 (N, 2)."""
    totals = thumbnails.sum(1, dtype=np.int64)
    squares = _dot(thumbnails, thumbnails)
    return np.stack([totals, thumbnails.shape[1] * squares - totals**2], 1)


def _products(thumbnails: np.ndarray, pairs: Indices) -> Indices:
    """The dot product of the thumbnails of each pair, int64 (P,)."""
    return _dot(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])


def _dot(left: np.ndarray, right: np.ndarray) -> Indices:
    """The dot product of each row of bytes with that of the other array, int64 (N,).

    All sums are integers below 2²⁴, which float32 holds exactly, so the result is the same on every machine.
    """
    assert left.shape[1] * 255**2 < 1 << 24
    return np.einsum("ij,ij->i", left.astype(np.float32), right.astype(np.float32)).astype(np.int64)


def _count_bits(values: npt.NDArray[np.uint64]) -> np.ndarray:
    # NumPy's bitwise_count is not in the versions that MXNet needs.
    return _BITS_OF_16[values.view(np.uint16).reshape(-1, 4)].sum(1, dtype=np.int64)


def _hashes(thumbnails: np.ndarray) -> npt.NDArray[np.uint64]:
    """64 bits for each thumbnail: which eighths by eighths of it are brighter than their mean. The bits are mixed, so
    that each quarter of them comes from all parts of the picture."""
    blocks = thumbnails.reshape(-1, 8, SIDE // 8, 8, SIDE // 8).sum((2, 4), dtype=np.int64).reshape(-1, 64)
    bits = blocks * 64 > blocks.sum(1, keepdims=True)
    mixed = np.ascontiguousarray(bits[:, np.arange(64).reshape(-1, 4).T.ravel()])
    return np.packbits(mixed, axis=1).view(">u8").ravel().astype(np.uint64)


class Conflicts(NamedTuple):
    """Pairs of copies that are in different classes.

    Attributes:
        pairs: int64 (P, 2), the images of each pair, the smaller index first, in the order of the first.
        equal: bool (P,), whether they are the same file or have the same pixels in small, not only nearly.
    """

    pairs: Indices
    equal: np.ndarray


def conflicts(pictures: Pictures, labels: Indices, pairs: Indices) -> Conflicts:
    """Copies and near copies of a picture that are in different classes.

    Of a picture with many copies, some pairs are found, at least one if they are in several classes.

    Args:
        pictures: The images.
        labels: The class of each.
        pairs: Their `near_pairs`.
    """
    alike = _distinct(np.concatenate([equal_pairs(pictures), pairs]))
    alike = alike[labels[alike[:, 0]] != labels[alike[:, 1]]]
    equal = (pictures.contents[alike[:, 0]] == pictures.contents[alike[:, 1]]).all(1)
    return Conflicts(alike, equal)


def groups_of_copies(pictures: Pictures, labels: Indices, pairs: Indices) -> Indices:
    """The number of the group of each image: images in a group are copies, which must be on the same side of a split.

    Files with equal contents are always in one group. Near copies are added to it, the most similar first, while it has
    at most a tenth of the images of a class, because otherwise a class in which all images look alike (frames of a
    video) would be one group.

    Args:
        pictures: The images.
        labels: The class of each.
        pairs: Their `near_pairs`.
    """
    groups = identical_groups(pictures)
    limit = np.maximum(np.bincount(labels) // 10, _SMALL_GROUP)
    return _united(groups, pairs, limit[labels[pairs]].min(1))


def leaks(splits: np.ndarray, pictures: Pictures, pairs: Indices) -> Indices:
    """Images outside the training set that are copies of training images: pairs, int64 (P, 2), of such an image and of
    a training image.

    Args:
        splits: The split of each image; 0 is training.
        pictures: The images.
        pairs: Their `near_pairs`.
    """
    groups = _united(identical_groups(pictures), pairs)
    training = np.flatnonzero(splits == 0)
    first = np.full(int(groups.max()) + 1 if len(groups) else 0, -1)
    first[groups[training[::-1]]] = training[::-1]
    others = np.flatnonzero(splits != 0)
    return np.stack([others, first[groups[others]]], 1)[first[groups[others]] >= 0]


def _united(groups: Indices, pairs: Indices, limits: Indices | None = None) -> Indices:
    """Unite the groups of each pair in turn, unless they would have more members than its limit."""
    count = int(groups.max()) + 1 if len(groups) else 0
    parent = list(range(count))
    size = np.bincount(groups, minlength=count).tolist()

    def find(group: int) -> int:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    ends = groups[pairs]
    step = max(count, _CHUNK)
    for start in range(0, len(pairs), step):
        # Most pairs of many images that look alike are united already, or too large: groups never get smaller.
        roots, sizes = _roots(parent), np.array(size, np.int64)
        a, b = roots[ends[start : start + step]].T
        open_ = a != b
        if limits is not None:
            open_ &= sizes[a] + sizes[b] <= limits[start : start + step]
        for index in (start + np.flatnonzero(open_)).tolist():
            first, second = sorted((find(int(ends[index, 0])), find(int(ends[index, 1]))))
            if first != second and (limits is None or size[first] + size[second] <= limits[index]):
                parent[second] = first
                size[first] += size[second]
    return _roots(parent)[groups]


def _roots(parent: Sequence[int]) -> Indices:
    """The last ancestor of each group."""
    roots = np.array(parent, np.int64)
    while not np.array_equal(above := roots[roots], roots):
        roots = above
    return roots


def held_out_groups(
    labels: Indices,
    groups: Indices,
    digests: np.ndarray,
    count: int,
    seed: int,
    decided: np.ndarray | None = None,
) -> np.ndarray:
    """Which images to hold out, as a mask, bool (N,): whole groups, from each class in proportion to its size.

    The choice depends on the contents of the files and the seed, not on names or order. If there are no groups of
    several images, exactly ``count`` images are held out, otherwise as many as whole groups allow. No class with two or
    more groups loses all images.

    Args:
        labels: The class of each image, 0 or more.
        groups: The group of each image.
        digests: uint8 (N, 32), the SHA-256 of each file.
        count: The number of images to hold out, 1 to N - 1.
        seed: The seed of the choice, 0 or more.
        decided: int8 (N,), 1 for images that are held out and 0 for images that are not, whatever the rest needs; -1
            for the others. By default -1 for all.
    """
    sizes = np.bincount(labels)
    classes = len(sizes)
    quotas = quotas_by_class(sizes.tolist(), count)
    rows = np.arange(len(labels)) if decided is None else np.flatnonzero(decided < 0)
    members = [rows[group] for group in _members(groups[rows])]
    start = seed.to_bytes(8, "little")
    keys = {row: hashlib.blake2b(digests[row].tobytes(), digest_size=16, key=start).digest() for row in rows.tolist()}
    order = sorted(range(len(members)), key=lambda group: min(keys[row] for row in members[group].tolist()))
    held = np.zeros(len(labels), bool) if decided is None else decided == 1
    taken = np.bincount(labels[held], minlength=classes).tolist()
    left_out: list[int] = []
    for group in order:
        found = np.bincount(labels[members[group]], minlength=classes).tolist() if len(members[group]) > 1 else None
        wanted = list(enumerate(found)) if found else [(int(labels[members[group][0]]), 1)]
        if all(taken[label] + number <= quotas[label] for label, number in wanted if number):
            held[members[group]] = True
            for label, number in wanted:
                taken[label] += number
        elif len(members[group]) > 1:
            left_out.append(group)
    for group in sorted(left_out, key=lambda group: len(members[group])):
        found = np.bincount(labels[members[group]], minlength=classes)
        concerned = np.flatnonzero(found)
        # A class of which nothing could be held out, because its groups are larger than its share.
        if any(quotas[label] and not taken[label] for label in concerned) and all(
            2 * (taken[label] + found[label]) <= sizes[label] for label in concerned
        ):
            held[members[group]] = True
            for label in concerned:
                taken[label] += int(found[label])
    return held


def _members(groups: Indices) -> Sequence[Indices]:
    if not len(groups):
        return []
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
