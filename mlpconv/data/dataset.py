"""Labelled images in memory: what every data source gives and every back end takes."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mlpconv.data.memory_mapped import RELEASE_BYTES, choose, release
from mlpconv.errors import DataError

_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size with a label each. The arrays are not to be written to.

    Args:
        images: uint8 (N, H, W, C); kept as it is when contiguous, else copied.
        labels: int64 (N,), each from 0 to len(class_names) - 1.
        class_names: the name of each label.
        name: what errors and reports call this set, such as "fashion-mnist/train".

    Raises:
        DataError: another dtype or number of dimensions, no images, no classes, differing counts, or a label out of
            range (the first one is named by index and value).
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self):
        self._check("images", self.images, np.uint8, ("N", "H", "W", "C"))
        self._check("labels", self.labels, np.int64, ("N",))
        if 0 in self.images.shape:
            raise DataError(f"{self.name}: no images: expected 1 or more, received the shape {self.images.shape}")
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{self.name}: {len(self.images):,} images but {len(self.labels):,} labels; each image needs one: "
                "check that both come from the same split"
            )
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not self.class_names:
            raise DataError(f"{self.name}: no class names; give one for each label")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= self.num_classes))
        if len(wrong):
            raise DataError(
                f"{self.name}: label {self.labels[wrong[0]]} at index {wrong[0]} is outside 0 to "
                f"{self.num_classes - 1} ({self.num_classes} classes; {len(wrong):,} such labels); mend the labels or "
                "name every class"
            )
        object.__setattr__(self, "images", np.ascontiguousarray(self.images))
        object.__setattr__(self, "labels", np.ascontiguousarray(self.labels))

    def _check(self, what: str, array: np.ndarray, dtype: type[np.generic], axes: tuple[str, ...]) -> None:
        expected = f"{np.dtype(dtype)} ({', '.join(axes)})"
        if not isinstance(array, np.ndarray):
            raise DataError(f"{self.name}: {what}: expected a NumPy array, {expected}, received {type(array).__name__}")
        if array.dtype != dtype or array.ndim != len(axes):
            raise DataError(
                f"{self.name}: {what}: expected {expected}, received {array.dtype} {array.shape}; "
                "convert with .astype and .reshape"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.image_shape))
        return f"ImageDataset({self.name!r}, {len(self):,} images of {size}, {self.num_classes} classes)"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of images / 255 for each channel, correctly rounded."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of images / 255 for each channel (of all the pixels: divided by their number)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        mean, std = [], []
        for histogram in self._histograms():
            # In whole numbers, so nothing is lost before the last division.
            count = sum(histogram)
            total = sum(value * times for value, times in enumerate(histogram))
            squares = sum(value * value * times for value, times in enumerate(histogram))
            mean.append(total / (255 * count))
            std.append(math.sqrt((count * squares - total * total) / (255 * count) ** 2))
        return tuple(mean), tuple(std)

    def _histograms(self) -> list[list[int]]:
        pixels = self.images.reshape(-1, self.image_shape[2])
        counts = np.zeros((pixels.shape[1], 256), np.int64)
        # bincount widens its input to 8 bytes a value: in chunks, that stays small.
        for start in range(0, len(pixels), _CHUNK):
            for channel, values in enumerate(pixels[start : start + _CHUNK].T):
                counts[channel] += np.bincount(values, minlength=256)
            release(self.images)
        return counts.tolist()

    def subset(self, indices: Sequence[int] | np.ndarray, *, name: str | None = None) -> "ImageDataset":
        """The images at `indices` (integers, or a boolean mask), in that order, copied; the classes stay.

        Of many images in a file that is mapped, the copy is such a file too.

        Raises:
            DataError: no images are chosen.
            IndexError: an index is out of range.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            raise DataError(f"{self.name}: a subset of no images was asked for; choose 1 or more of {len(self):,}")
        return ImageDataset(
            choose(self.images, chosen), self.labels[chosen], self.class_names, name or f"{self.name} (subset)"
        )

    def fingerprint(self) -> str:
        """SHA-256 (hex) over shape, class names, images and labels; the name has no part in it."""
        head = json.dumps({"shape": self.images.shape, "class_names": self.class_names})
        digest = hashlib.sha256(head.encode())
        digest.update(b"\n")
        flat = self.images.reshape(-1)
        for start in range(0, len(flat), RELEASE_BYTES):
            digest.update(flat[start : start + RELEASE_BYTES].data)
            release(self.images)
        digest.update(self.labels.astype("<i8", copy=False).data)
        return digest.hexdigest()


class Splits(NamedTuple):
    """A data set as it is published. The test set chooses nothing: take a validation set from `train` (`hold_out`)."""

    train: ImageDataset
    test: ImageDataset


def hold_out(dataset: ImageDataset, count: int, seed: int) -> tuple[ImageDataset, ImageDataset]:
    """Split off exactly `count` images at random, each class in proportion: (the rest, the held out).

    The same dataset, count and seed give the same split with every NumPy. Both keep the dataset's order. A class loses
    its last image only where nothing else can make up the count.

    Args:
        dataset: what to split.
        count: 1 to len(dataset) - 1.
        seed: 0 or more.

    Raises:
        DataError: a count that leaves nothing on one side, or a negative seed.
    """
    if not 1 <= count < len(dataset):
        raise DataError(
            f"{dataset.name}: cannot hold out {count:,} of {len(dataset):,} images; choose 1 to {len(dataset) - 1:,}"
        )
    _check_seed(dataset, seed)
    held = held_out(dataset.labels, dataset.num_classes, count, seed)
    return (
        dataset.subset(~held, name=f"{dataset.name} (rest)"),
        dataset.subset(held, name=f"{dataset.name} (held out)"),
    )


def held_out(labels: np.ndarray, classes: int, count: int, seed: int) -> np.ndarray:
    """Which images ``hold_out`` splits off, bool (N,), from their labels alone."""
    held = np.zeros(len(labels), bool)
    quotas = _quotas(np.bincount(labels, minlength=classes).tolist(), count)
    for members, quota in zip(_shuffled(labels, classes, seed), quotas, strict=True):
        held[members[:quota]] = True
    return held


def shuffled_by_class(dataset: ImageDataset, seed: int) -> list[np.ndarray]:
    """For each class the indices of its images, in an order drawn from the seed."""
    _check_seed(dataset, seed)
    return _shuffled(dataset.labels, dataset.num_classes, seed)


def _check_seed(dataset: ImageDataset, seed: int) -> None:
    if seed < 0:
        raise DataError(f"{dataset.name}: expected a seed of 0 or more, received {seed}")


def _shuffled(labels: np.ndarray, classes: int, seed: int) -> list[np.ndarray]:
    # NumPy promises Philox's raw numbers for ever, but not what Generator.permutation makes of them.
    keys = np.random.Philox(key=seed).random_raw(len(labels))
    order = np.argsort(keys, kind="stable")
    return [order[labels[order] == label] for label in range(classes)]


def _quotas(sizes: list[int], count: int) -> list[int]:
    """Share `count` over classes of these sizes by largest remainder, emptying a class only as a last resort."""
    total = sum(sizes)
    quotas = [count * size // total for size in sizes]
    open_classes = [label for label, size in enumerate(sizes) if quotas[label] < size]
    open_classes.sort(key=lambda label: (sizes[label] - quotas[label] == 1, -(count * sizes[label] % total), label))
    for label in open_classes[: count - sum(quotas)]:
        quotas[label] += 1
    return quotas
