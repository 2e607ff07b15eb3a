"""Labeled images in memory: what every source of data returns and every back end accepts."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mlpconv.data.batches import Batches
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release, take_images
from mlpconv.errors import DataError

_HISTOGRAM_CHUNK_PIXELS = 1 << 20


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, each with a label. Do not modify the arrays.

    Args:
        images: uint8 (N, H, W, C); used without copying if contiguous, else copied.
        labels: int64 (N,), each from 0 to len(class_names) - 1.
        class_names: The name of each label.
        name: The name in errors and reports, such as "fashion-mnist/train".

    Raises:
        DataError: An array has another dtype or number of dimensions, the images or class names are empty, the numbers
            of images and labels differ, or a label is out of range (the message gives the first one).

    Example:
        >>> import numpy as np
        >>> from mlpconv import ImageDataset
        >>> images = np.zeros((4, 28, 28, 1), dtype=np.uint8)
        >>> images[2:] = 255
        >>> dataset = ImageDataset(images, np.array([0, 0, 1, 1]), ("dark", "light"), "mine/train")
        >>> dataset
        ImageDataset('mine/train', 4 images of 28×28×1, 2 classes)
        >>> dataset.mean
        (0.5,)
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self):
        self._check_array("images", self.images, np.dtype(np.uint8), ("N", "H", "W", "C"))
        self._check_array("labels", self.labels, np.dtype(np.int64), ("N",))
        if 0 in self.images.shape:
            raise DataError(f"{self.name}: expected 1 or more images, received an array of shape {self.images.shape}")
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{self.name}: {len(self.images):,} images but {len(self.labels):,} labels; check that both are of the "
                "same split"
            )
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not self.class_names:
            raise DataError(f"{self.name}: expected a class name for each label, received none")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= self.num_classes))
        if len(wrong):
            raise DataError(
                f"{self.name}: label {self.labels[wrong[0]]} at index {wrong[0]} is outside 0 to "
                f"{self.num_classes - 1} ({self.num_classes} classes; {len(wrong):,} such labels); correct the labels, "
                "or add the missing class names"
            )
        object.__setattr__(self, "images", np.ascontiguousarray(self.images))
        object.__setattr__(self, "labels", np.ascontiguousarray(self.labels))

    def _check_array(self, field: str, array: object, dtype: np.dtype, axes: tuple[str, ...]) -> None:
        expected = f"{dtype} ({', '.join(axes)})"
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"{self.name}: {field}: expected a NumPy array, {expected}, received {type(array).__name__}"
            )
        if array.dtype != dtype or array.ndim != len(axes):
            raise DataError(
                f"{self.name}: {field}: expected {expected}, received {array.dtype} {array.shape}; "
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
        """Number of classes."""
        return len(self.class_names)

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of images / 255 in each channel, correctly rounded."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of images / 255 in each channel (divided by the number of pixels)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        mean, std = [], []
        for histogram in self._histograms():
            # In integers, so that only the last division rounds.
            count = sum(histogram)
            total = sum(value * occurrences for value, occurrences in enumerate(histogram))
            squares = sum(value * value * occurrences for value, occurrences in enumerate(histogram))
            mean.append(total / (255 * count))
            std.append(math.sqrt((count * squares - total * total) / (255 * count) ** 2))
        return tuple(mean), tuple(std)

    def _histograms(self) -> list[list[int]]:
        pixels = self.images.reshape(-1, self.image_shape[2])
        counts = np.zeros((pixels.shape[1], 256), np.int64)
        # In chunks, because bincount converts its input to 8 bytes per value.
        for start in range(0, len(pixels), _HISTOGRAM_CHUNK_PIXELS):
            for channel, values in enumerate(pixels[start : start + _HISTOGRAM_CHUNK_PIXELS].T):
                counts[channel] += np.bincount(values, minlength=256)
            release(self.images)
        return counts.tolist()

    def subset(self, indices: Sequence[int] | np.ndarray, *, name: str | None = None) -> "ImageDataset":
        """A copy of the images at `indices`, in that order, with the same classes.

        Args:
            indices: Integers, or a boolean mask.
            name: The name of the subset; by default derived from this one's.

        Raises:
            DataError: `indices` is empty.
            IndexError: An index is out of range.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            raise DataError(f"{self.name}: expected 1 or more of {len(self):,} images for a subset, received none")
        return ImageDataset(
            take_images(self.images, chosen), self.labels[chosen], self.class_names, name or f"{self.name} (subset)"
        )

    def batches(self, batch_size: int, **options: Any) -> Batches:
        """Batches (X, y) of the images, for a training loop of your own.

        Args:
            batch_size: The images of a batch.
            options: ``resize``: side in pixels, or (height, width); ``shuffle``: whether each iteration has another
                order, determined by ``seed``; ``layout``: "NCHW" or "NHWC"; ``convert``: a function for X and y, such
                as ``torch.from_numpy``.
        """
        return Batches(self, batch_size, **options)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the shape, class names, images and labels, but not of the name."""
        head = json.dumps({"shape": self.images.shape, "class_names": self.class_names})
        digest = hashlib.sha256(head.encode())
        digest.update(b"\n")
        flat = self.images.reshape(-1)
        for start in range(0, len(flat), MAX_BYTES_BEFORE_RELEASE):
            digest.update(flat[start : start + MAX_BYTES_BEFORE_RELEASE].data)
            release(self.images)
        digest.update(self.labels.astype("<i8", copy=False).data)
        return digest.hexdigest()


class Splits(NamedTuple):
    """A data set as published.

    Never use the test set for choices; split a validation set off `train` (see `hold_out`).

    Example:
        >>> import mlpconv
        >>> digits = mlpconv.load_dataset("digits")
        >>> few = mlpconv.Splits(digits.train.subset(range(500)), digits.test)
        >>> len(few.train), len(few.test)
        (500, 360)
    """

    train: ImageDataset
    """The training images."""
    test: ImageDataset
    """The test images."""

    def batches(self, batch_size: int, *, shuffle: bool = True, **options: Any) -> tuple[Batches, Batches]:
        """Batches of the training images and of the test images, for a training loop of your own.

        Args:
            batch_size: The images of a batch.
            shuffle: Whether each iteration over the training images has another order.
            options: ``resize``, ``seed``, ``layout`` and ``convert``: see ``ImageDataset.batches``.
        """
        return self.train.batches(batch_size, shuffle=shuffle, **options), self.test.batches(batch_size, **options)


def hold_out(dataset: ImageDataset, count: int, seed: int) -> tuple[ImageDataset, ImageDataset]:
    """Split off exactly `count` random images, from each class in proportion to its size.

    The same dataset, count and seed give the same split with every version of NumPy. Both parts keep the order of the
    dataset. A class loses its last image only if the count cannot be reached otherwise.

    Args:
        dataset: The data set to split.
        count: 1 to len(dataset) - 1.
        seed: 0 or more.

    Returns:
        The remaining images, and the images held out.

    Raises:
        DataError: The count would leave one part empty, or the seed is negative.
    """
    if not 1 <= count < len(dataset):
        raise DataError(
            f"{dataset.name}: cannot hold out {count:,} of {len(dataset):,} images; expected 1 to {len(dataset) - 1:,}"
        )
    _check_seed(dataset, seed)
    held = held_out(dataset.labels, dataset.num_classes, count, seed)
    return (
        dataset.subset(~held, name=f"{dataset.name} (rest)"),
        dataset.subset(held, name=f"{dataset.name} (held out)"),
    )


def held_out(labels: np.ndarray, classes: int, count: int, seed: int) -> np.ndarray:
    """Which images `hold_out` splits off, as a mask, bool (N,), from their labels alone."""
    held = np.zeros(len(labels), bool)
    quotas = quotas_by_class(np.bincount(labels, minlength=classes).tolist(), count)
    for members, quota in zip(_shuffled(labels, classes, seed), quotas, strict=True):
        held[members[:quota]] = True
    return held


def shuffled_by_class(dataset: ImageDataset, seed: int) -> list[np.ndarray]:
    """The indices of the images of each class, shuffled with the seed."""
    _check_seed(dataset, seed)
    return _shuffled(dataset.labels, dataset.num_classes, seed)


def _check_seed(dataset: ImageDataset, seed: int) -> None:
    if seed < 0:
        raise DataError(f"{dataset.name}: expected a seed of 0 or more, received {seed}")


def _shuffled(labels: np.ndarray, classes: int, seed: int) -> list[np.ndarray]:
    # NumPy guarantees the raw numbers of Philox in all versions, but not the result of Generator.permutation.
    keys = np.random.Philox(key=seed).random_raw(len(labels))
    order = np.argsort(keys, kind="stable")
    return [order[labels[order] == label] for label in range(classes)]


def quotas_by_class(sizes: list[int], count: int) -> list[int]:
    """Distribute `count` over classes of these sizes by largest remainder, emptying a class only as a last resort."""
    total = sum(sizes)
    quotas = [count * size // total for size in sizes]
    open_classes = [label for label, size in enumerate(sizes) if quotas[label] < size]
    open_classes.sort(key=lambda label: (sizes[label] - quotas[label] == 1, -(count * sizes[label] % total), label))
    for label in open_classes[: count - sum(quotas)]:
        quotas[label] += 1
    return quotas
