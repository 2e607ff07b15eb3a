"""Read the images and labels of a known data set from the contents of its files: one function per format."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from mlpconv.data.dataset import ImageDataset, Splits
from mlpconv.data.known.idx import parse_idx
from mlpconv.data.known.matlab import read_arrays
from mlpconv.data.known.source import Source
from mlpconv.errors import DataError

Contents = Mapping[str, bytearray]
"""The contents of the files of a data set, by role."""


def read_splits(source: Source, contents: Contents) -> Splits:
    """Read a data set from the contents of its files.

    Raises:
        DataError: The definition names an unknown format, the contents do not follow the format, or the number or size
            of the images is not the published one.
    """
    if source.format not in READERS:
        raise DataError(f"{source.name}: unknown format {source.format!r}; expected one of {', '.join(READERS)}")
    read = READERS[source.format]
    datasets = []
    for split, count in zip(("train", "test"), source.counts, strict=True):
        name = f"{source.name}/{split}"
        images, labels = read(source, contents, split)
        expected = (count, *source.image_shape)
        if images.shape != expected:
            raise DataError(
                f"{name}: expected images of shape {expected}, received {images.shape}; download the files again"
            )
        datasets.append(ImageDataset(images, labels.astype(np.int64), source.class_names, name))
    return Splits(*datasets)


def _read_idx(source: Source, contents: Contents, split: str) -> tuple[np.ndarray, np.ndarray]:
    """IDX files of images and of labels, as MNIST."""
    images = parse_idx(contents[f"{split}_images"], f"{source.name}/{split} images", expect_ndim=3)
    labels = parse_idx(contents[f"{split}_labels"], f"{source.name}/{split} labels", expect_ndim=1)
    return images[..., np.newaxis], labels


def _read_emnist(source: Source, contents: Contents, split: str) -> tuple[np.ndarray, np.ndarray]:
    """As `_read_idx`, but the images are transposed, and the labels of the letters start at 1."""
    images, labels = _read_idx(source, contents, split)
    return np.ascontiguousarray(images.transpose(0, 2, 1, 3)), labels.astype(np.int64) - ("letters" in source.name)


def _read_cifar(source: Source, contents: Contents, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Records of labels (one byte; for CIFAR-100 the coarse label, then the fine one) and three planes of pixels."""
    height, width, channels = source.image_shape
    labels = 2 if len(source.class_names) > 10 else 1
    raw = b"".join(contents[role] for role in sorted(contents) if role.startswith(split))
    size = labels + math.prod(source.image_shape)
    if len(raw) % size:
        raise DataError(
            f"{source.name}/{split}: expected records of {size:,} bytes, received {len(raw):,} bytes, which is not a "
            "multiple; download the files again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    planes = records[:, labels:].reshape(-1, channels, height, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, labels - 1]


def _read_svhn(source: Source, contents: Contents, split: str) -> tuple[np.ndarray, np.ndarray]:
    """A MATLAB file with X (height, width, channels, N) and y (N, 1), in which 10 stands for the digit 0."""
    name = f"{source.name}/{split}"
    limit = max(source.counts) * math.prod(source.image_shape)
    arrays = read_arrays(contents[split], f"{name} ({split}_32x32.mat)", limit)
    missing = [key for key in ("X", "y") if key not in arrays]
    if missing or arrays["X"].ndim != 4 or arrays["X"].dtype != np.uint8:
        raise DataError(
            f"{name}: expected X (uint8, 4 dimensions) and y, received {', '.join(arrays) or 'no arrays'}; download "
            "the files again"
        )
    labels = arrays["y"].reshape(-1).astype(np.int64)
    return np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)), np.where(labels == 10, 0, labels)


SplitReader = Callable[[Source, Contents, str], tuple[np.ndarray, np.ndarray]]
"""Reads one split ("train" or "test"): images, uint8 (N, H, W, C), and integer labels (N,), from 0."""

READERS: dict[str, SplitReader] = {
    "idx": _read_idx,
    "emnist": _read_emnist,
    "cifar": _read_cifar,
    "svhn": _read_svhn,
}
"""By `Source.format`."""
